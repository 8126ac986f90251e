//! Letters between ranks of an MPI job, by blocking calls from several threads at once.

use mpi::Tag as MpiTag;
use mpi::point_to_point::{Destination as _, MatchedReceiveVec as _, Source as _};
use mpi::topology::{Communicator as _, SimpleCommunicator};

use super::{Link, Tag};
use crate::manifest::NodeId;
use crate::transport::TransportError;

/// This rank's end. A communicator of one's own can't be shared by threads, the world's can; what
/// travels there besides is told apart by its tags.
#[derive(Clone, Copy, Debug)]
pub(in crate::baseline) struct MpiLink;

impl Link for MpiLink {
    fn send(&self, to: NodeId, tag: Tag, bytes: &[u8]) -> Result<(), TransportError> {
        SimpleCommunicator::world().process_at_rank(rank(to)).send_with_tag(bytes, number(tag));
        Ok(())
    }

    fn receive(&self, tag: Tag) -> Result<(NodeId, Vec<u8>), TransportError> {
        let world = SimpleCommunicator::world();
        let probed = world.any_process().matched_probe_with_tag(number(tag));
        let (bytes, status) = probed.matched_receive_vec();
        let from = u32::try_from(status.source_rank()).expect("senders are ranks");
        Ok((NodeId(from), bytes))
    }

    fn receive_from(&self, from: NodeId, tag: Tag) -> Result<Vec<u8>, TransportError> {
        let world = SimpleCommunicator::world();
        let probed = world.process_at_rank(rank(from)).matched_probe_with_tag(number(tag));
        Ok(probed.matched_receive_vec().0)
    }
}

fn rank(node: NodeId) -> std::ffi::c_int {
    std::ffi::c_int::try_from(node.0).expect("ranks are numbered as MPI does")
}

/// Tags of this engine; its first is not the one that everybody uses.
fn number(tag: Tag) -> MpiTag {
    match tag {
        Tag::Word => 301,
        Tag::Answer => 302,
        Tag::Request => 303,
        Tag::Segment => 304,
    }
}
