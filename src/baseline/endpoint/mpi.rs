//! Messages between ranks of an MPI job, by blocking calls from several threads at once
//! (`MPI_THREAD_MULTIPLE`).

use mpi::Tag as MpiTag;
use mpi::datatype::Equivalence as _;
use mpi::point_to_point::{Destination as _, MatchedReceiveVec as _, Source, Status};
use mpi::topology::{Communicator as _, SimpleCommunicator};

use super::{Endpoint, Length, Tag};
use crate::manifest::NodeId;
use crate::transport::TransportError;

/// This rank's end. It uses the world communicator: the binding's handle of any other one is not `Sync`.
/// Tags tell its messages from all others there.
#[derive(Clone, Copy, Debug)]
pub(in crate::baseline) struct MpiEndpoint;

impl Endpoint for MpiEndpoint {
    fn send(&self, to: NodeId, tag: Tag, bytes: &[u8]) -> Result<(), TransportError> {
        SimpleCommunicator::world().process_at_rank(rank(to)).send_with_tag(bytes, number(tag));
        Ok(())
    }

    fn receive(&self, tag: Tag, length: Length) -> Result<(NodeId, Vec<u8>), TransportError> {
        let (bytes, status) = take(&SimpleCommunicator::world().any_process(), tag, length);
        let from = u32::try_from(status.source_rank()).expect("senders are ranks");
        Ok((NodeId(from), bytes))
    }

    fn receive_from(
        &self,
        from: NodeId,
        tag: Tag,
        length: Length,
    ) -> Result<Vec<u8>, TransportError> {
        let world = SimpleCommunicator::world();
        Ok(take(&world.process_at_rank(rank(from)), tag, length).0)
    }
}

// Waits for a message, in the buffer that is ready for it where its length allows: that saves MPI
// one of its own.
fn take(source: &impl Source, tag: Tag, length: Length) -> (Vec<u8>, Status) {
    match length {
        // `MPI_Mprobe` and `MPI_Mrecv`: with two threads in one rank a plain probe could see a message that
        // the other thread then receives.
        Length::Any => source.matched_probe_with_tag(number(tag)).matched_receive_vec(),
        Length::AtMost(bytes_max) => {
            let mut bytes = vec![0_u8; bytes_max];
            let status = source.receive_into_with_tag(&mut bytes[..], number(tag));
            let count = status.count(u8::equivalent_datatype());
            bytes.truncate(usize::try_from(count).expect("counts are not negative"));
            (bytes, status)
        }
    }
}

fn rank(node: NodeId) -> std::ffi::c_int {
    std::ffi::c_int::try_from(node.0).expect("ranks are numbered as MPI does")
}

/// The tags begin above 300, away from 0, which most programs use.
fn number(tag: Tag) -> MpiTag {
    match tag {
        Tag::ToTracker => 301,
        Tag::FromTracker => 302,
        Tag::Request => 303,
        Tag::Segment => 304,
    }
}
