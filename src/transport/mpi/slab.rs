//! Requests in flight, each with the memory that MPI reads or writes: the only place that calls
//! MPI with pointers, and one of the two that are unsafe.
//!
//! Invariant: the memory of a request stays where it is until MPI has finished with it: it is
//! owned by the slab meanwhile, and all of it is on the heap or in the arena, so that moving an
//! owner does not move the bytes.
#![expect(unsafe_code, reason = "MPI takes pointers")]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use mpi::ffi;
use mpi::raw::AsRaw as _;
use mpi::topology::SimpleCommunicator;

use super::super::TransportError;
use crate::manifest::{NodeId, SegmentId};
use crate::store::{SealedSegment, VacantSlot};

/// What a request belongs to.
#[derive(Debug)]
pub(super) enum Owner {
    Receive {
        from: NodeId,
        segment: SegmentId,
        slot: VacantSlot,
    },
    Serve {
        to: NodeId,
        segment: SegmentId,
        payload: SealedSegment,
    },
    Message {
        buffer: Box<[u8]>,
        len: usize,
    },
    /// A receive for one message: its place in the order of posting.
    Inbox {
        turn: u64,
        buffer: Box<[u8]>,
    },
}

impl Owner {
    // The bytes that MPI reads or writes, and how many. A slot and a payload lie in an arena that
    // they keep alive, a buffer on the heap: they stay in place wherever the owner is moved.
    fn bytes(&mut self) -> (*mut u8, usize) {
        match self {
            Self::Receive { slot, .. } => {
                let bytes = slot.bytes_mut();
                (bytes.as_mut_ptr(), bytes.len())
            }
            Self::Serve { payload, .. } => {
                let bytes = payload.bytes();
                (bytes.as_ptr().cast_mut(), bytes.len())
            }
            Self::Message { buffer, len } => (buffer.as_mut_ptr(), *len),
            Self::Inbox { buffer, .. } => (buffer.as_mut_ptr(), buffer.len()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    /// When its memory is free again.
    Standard,
    /// When the receive that it fits has begun, too.
    Synchronous,
}

/// How MPI is told to send.
type SendFunction = unsafe extern "C" fn(
    *const c_void,
    c_int,
    ffi::MPI_Datatype,
    c_int,
    c_int,
    ffi::MPI_Comm,
    *mut ffi::MPI_Request,
) -> c_int;

/// A request that has ended.
#[derive(Debug)]
pub(super) struct CompletedRequest {
    pub(super) owner: Owner,
    /// Who sent it, for receives.
    pub(super) source: c_int,
    /// Bytes received, for receives.
    pub(super) count: usize,
    pub(super) cancelled: bool,
}

/// Requests and the owners of their memory, at the same places of two lists.
pub(super) struct Slab {
    requests: Vec<ffi::MPI_Request>,
    owners: Vec<Owner>,
    /// What a test found, kept to be used again.
    indices: Vec<c_int>,
    statuses: Vec<MaybeUninit<ffi::MPI_Status>>,
    /// Places that have ended, with where the test lists them; likewise used again.
    order: Vec<(usize, usize)>,
}

impl Slab {
    pub(super) fn new() -> Self {
        let (requests, owners) = (Vec::new(), Vec::new());
        let (indices, statuses, order) = (Vec::new(), Vec::new(), Vec::new());
        Self { requests, owners, indices, statuses, order }
    }

    pub(super) fn receive(
        &mut self,
        comm: ffi::MPI_Comm,
        from: c_int,
        tag: c_int,
        mut owner: Owner,
    ) -> Result<(), TransportError> {
        let (start, len) = owner.bytes();
        let mut request = MaybeUninit::uninit();
        // SAFETY: the bytes are valid for writes of `len` and stay in place and unread until the
        // request ends, as the slab keeps their owner (see the module).
        let code = unsafe {
            ffi::MPI_Irecv(start.cast(), count(len), byte(), from, tag, comm, request.as_mut_ptr())
        };
        self.enter("MPI_Irecv", code, request, owner)
    }

    pub(super) fn send(
        &mut self,
        comm: ffi::MPI_Comm,
        to: c_int,
        tag: c_int,
        mode: Mode,
        mut owner: Owner,
    ) -> Result<(), TransportError> {
        let (start, len) = owner.bytes();
        let mut request = MaybeUninit::uninit();
        let (name, send) = match mode {
            Mode::Standard => ("MPI_Isend", ffi::MPI_Isend as SendFunction),
            Mode::Synchronous => ("MPI_Issend", ffi::MPI_Issend as SendFunction),
        };
        // SAFETY: the bytes are valid for reads of `len` and stay in place and unwritten until
        // the request ends, as the slab keeps their owner (see the module).
        let code = unsafe {
            send(start.cast_const().cast(), count(len), byte(), to, tag, comm, request.as_mut_ptr())
        };
        self.enter(name, code, request, owner)
    }

    /// Asks MPI to give up the first request whose owner fits; it ends like the others.
    pub(super) fn cancel(&mut self, fits: impl Fn(&Owner) -> bool) -> Result<(), TransportError> {
        let Some(place) = self.owners.iter().position(fits) else { return Ok(()) };
        // SAFETY: every request in the list is active.
        let code = unsafe { ffi::MPI_Cancel(&raw mut self.requests[place]) };
        check("MPI_Cancel", code)
    }

    /// Takes out the requests that have ended.
    pub(super) fn poll(
        &mut self,
        mut ended: impl FnMut(CompletedRequest),
    ) -> Result<(), TransportError> {
        let active = self.requests.len();
        if active == 0 {
            return Ok(());
        }
        self.indices.resize(active, 0);
        self.statuses.resize_with(active, MaybeUninit::uninit);
        let mut found = 0;
        // SAFETY: the three lists have `active` places, and all requests are active.
        let code = unsafe {
            ffi::MPI_Testsome(
                count(active),
                self.requests.as_mut_ptr(),
                &raw mut found,
                self.indices.as_mut_ptr(),
                self.statuses.as_mut_ptr().cast(),
            )
        };
        check("MPI_Testsome", code)?;
        let found = usize::try_from(found).unwrap_or(0);
        // Swap-remove keeps the list dense, so that `MPI_Testsome` looks at active requests only.
        // From the last place on, so that removing one does not move another that ended too.
        let listed = self.indices[..found].iter().zip(0..);
        let places = listed.map(|(&place, at)| (usize::try_from(place).unwrap_or(0), at));
        self.order.clear();
        self.order.extend(places);
        self.order.sort_unstable();
        while let Some((place, at)) = self.order.pop() {
            // SAFETY: MPI wrote a status for each request that it found ended.
            let status = unsafe { self.statuses[at].assume_init() };
            self.requests.swap_remove(place);
            let owner = self.owners.swap_remove(place);
            ended(read(owner, &status)?);
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }

    fn enter(
        &mut self,
        call: &'static str,
        code: c_int,
        request: MaybeUninit<ffi::MPI_Request>,
        owner: Owner,
    ) -> Result<(), TransportError> {
        check(call, code)?;
        // SAFETY: a call that succeeded has written the request.
        self.requests.push(unsafe { request.assume_init() });
        self.owners.push(owner);
        Ok(())
    }
}

impl Drop for Slab {
    /// Memory that MPI still uses is never freed.
    fn drop(&mut self) {
        self.owners.drain(..).for_each(std::mem::forget);
    }
}

impl std::fmt::Debug for Slab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slab({} requests)", self.owners.len())
    }
}

fn read(owner: Owner, status: &ffi::MPI_Status) -> Result<CompletedRequest, TransportError> {
    let (mut bytes, mut cancelled) = (0, 0);
    // SAFETY: the status is one that MPI wrote, and both results are plain integers.
    let code = unsafe { ffi::MPI_Test_cancelled(status, &raw mut cancelled) };
    check("MPI_Test_cancelled", code)?;
    if cancelled == 0 {
        // SAFETY: as above.
        let code = unsafe { ffi::MPI_Get_count(status, byte(), &raw mut bytes) };
        check("MPI_Get_count", code)?;
    }
    let count = usize::try_from(bytes).unwrap_or(0);
    Ok(CompletedRequest { owner, source: status.MPI_SOURCE, count, cancelled: cancelled != 0 })
}

fn check(call: &'static str, code: c_int) -> Result<(), TransportError> {
    if code == 0 { Ok(()) } else { Err(TransportError::Mpi { call, code }) }
}

/// A length as MPI takes it.
fn count(len: usize) -> c_int {
    c_int::try_from(len).expect("a segment is shorter than 2 GiB")
}

/// The greatest tag of this MPI: its standard demands 32,767, and 2²² and more are usual.
pub(super) fn tag_max(world: &SimpleCommunicator) -> u32 {
    // What the MPI standard guarantees at least (MPI 4.1, 9.1.2, MPI_TAG_UB).
    const LEAST: u32 = 32_767;
    let key = c_int::try_from(ffi::MPI_TAG_UB).expect("keys are small integers");
    let (mut value, mut found) = (std::ptr::null_mut::<c_int>(), 0);
    let place = (&raw mut value).cast();
    // SAFETY: the key is MPI's own; `place` has room for the address that it keeps there.
    let code = unsafe { ffi::MPI_Comm_get_attr(world.as_raw(), key, place, &raw mut found) };
    if code != 0 || found == 0 || value.is_null() {
        return LEAST;
    }
    // SAFETY: under this key MPI keeps the address of an integer of its own.
    let max = unsafe { *value };
    u32::try_from(max).unwrap_or(LEAST)
}

/// Any rank may be the sender.
pub(super) fn any_source() -> c_int {
    // SAFETY: a constant of the MPI library, which nobody writes.
    unsafe { ffi::RSMPI_ANY_SOURCE }
}

/// The type of a byte.
fn byte() -> ffi::MPI_Datatype {
    // SAFETY: a constant of the MPI library, which nobody writes.
    unsafe { ffi::RSMPI_UINT8_T }
}
