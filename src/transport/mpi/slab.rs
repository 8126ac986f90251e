//! Requests in flight, each with the memory that MPI reads or writes. This is the only place that
//! calls MPI with pointers, and one of the two files that are unsafe.
//!
//! Invariant: the memory of a request stays in place until MPI has finished with it, and nobody makes a
//! reference to it meanwhile. The slab owns it, and all of it is on the heap or in the arena, so that
//! moving an owner does not move the bytes. A moved `Box` would count as a new unique reference, and end
//! what MPI may do through the old one: buffers are raw pointers for as long as MPI has them.
//!
//! The `mpi` crate has `RequestCollection`, but that only grows: it hands all requests ever made to MPI.
//! Here ended requests are swapped out of dense lists, as MPI tests an array of requests.
#![expect(unsafe_code, reason = "MPI takes pointers")]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::rc::Rc;

use mpi::ffi;
use mpi::raw::AsRaw as _;
use mpi::topology::SimpleCommunicator;

use super::super::TransportError;
use crate::escape;
use crate::manifest::NodeId;
use crate::store::{SealedSegment, VacantSlot};

/// The owner of a request's memory, and what the request is for.
#[derive(Debug)]
pub(super) enum Owner {
    /// A fragment that is expected, the `index`th of its segment.
    Receive {
        tag: u16,
        index: usize,
        part: SlotPart,
    },
    /// A fragment that is sent. A clone of a payload counts a reference and copies no bytes.
    Serve {
        place: usize,
        payload: SealedSegment,
        part: Range<usize>,
    },
    Message {
        buffer: Buffer,
        len: usize,
    },
    /// A message of segments, which were copied into it.
    Packed {
        to: NodeId,
        buffer: Buffer,
        len: usize,
    },
    /// A posted receive for a message, and its number in the order of posting.
    Inbox {
        turn: u64,
        buffer: Buffer,
    },
}

/// A buffer on the heap, as a pointer. Its memory is leaked unless it becomes a box again.
#[derive(Debug)]
pub(super) struct Buffer(*mut [u8]);

impl Buffer {
    pub(super) fn new(bytes: Box<[u8]>) -> Self {
        Self(Box::into_raw(bytes))
    }

    /// The bytes again. The slab hands out the buffers of ended requests only.
    pub(super) fn into_box(self) -> Box<[u8]> {
        // SAFETY: the pointer came from a box in `new`, and `self`, which can't be copied, was the only
        // one that had it: MPI has it only while the slab owns `self`.
        unsafe { Box::from_raw(self.0) }
    }
}

/// A slot that several receives fill, a part each. Nobody has its bytes before all of them have ended.
// A reference to the slot's bytes would end what MPI may do through the pointers that it has: the one pointer
// is made before the first receive, and all parts derive from it.
#[derive(Debug)]
pub(super) struct SharedSlot(Rc<SlotMemory>);

#[derive(Debug)]
struct SlotMemory {
    slot: VacantSlot,
    start: *mut u8,
    len: usize,
}

/// A part of a slot. The slot is not given back while there is one.
#[derive(Debug)]
pub(super) struct SlotPart {
    memory: Rc<SlotMemory>,
    part: Range<usize>,
}

impl SharedSlot {
    pub(super) fn new(mut slot: VacantSlot) -> Self {
        let bytes = slot.bytes_mut();
        let (start, len) = (bytes.as_mut_ptr(), bytes.len());
        Self(Rc::new(SlotMemory { slot, start, len }))
    }

    /// A part; no other one may overlap it.
    pub(super) fn part(&self, part: Range<usize>) -> SlotPart {
        assert!(part.start <= part.end && part.end <= self.0.len, "a fragment lies in its slot");
        SlotPart { memory: Rc::clone(&self.0), part }
    }

    /// The slot again; none while a receive has a part of it.
    pub(super) fn into_slot(self) -> Option<VacantSlot> {
        Rc::into_inner(self.0).map(|memory| memory.slot)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len
    }
}

impl SlotPart {
    fn bytes(&self) -> (*mut u8, usize) {
        // SAFETY: `SharedSlot::part` checked that the part lies in the `len` bytes at `start`, which are one
        // slot of an arena that `memory` keeps alive.
        (unsafe { self.memory.start.add(self.part.start) }, self.part.len())
    }
}

impl Owner {
    // The bytes that MPI reads or writes, and how many. A part of a slot and a payload lie in an arena that
    // they keep alive and reach through a raw pointer, a buffer on the heap: they stay in place wherever
    // the owner is moved.
    fn bytes(&mut self) -> (*mut u8, usize) {
        match self {
            Self::Receive { part, .. } => part.bytes(),
            Self::Serve { payload, part, .. } => {
                let bytes = &payload.bytes()[part.clone()];
                (bytes.as_ptr().cast_mut(), bytes.len())
            }
            Self::Message { buffer, len } | Self::Packed { buffer, len, .. } => {
                (buffer.0.cast(), (*len).min(buffer.0.len()))
            }
            Self::Inbox { buffer, .. } => (buffer.0.cast(), buffer.0.len()),
        }
    }
}

/// MPI's send modes, by when a send ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    /// When its memory may be used again: `MPI_Isend`. Short messages are buffered and end at once.
    Standard,
    /// When the matching receive has begun, too: `MPI_Issend`.
    Synchronous,
}

/// `MPI_Isend` or `MPI_Issend`.
type SendFunction = unsafe extern "C" fn(
    *const c_void,
    c_int,
    ffi::MPI_Datatype,
    c_int,
    c_int,
    ffi::MPI_Comm,
    *mut ffi::MPI_Request,
) -> c_int;

#[derive(Debug)]
pub(super) struct CompletedRequest {
    pub(super) owner: Owner,
    /// The sender, for receives.
    pub(super) source: c_int,
    /// Bytes received.
    pub(super) count: usize,
    pub(super) cancelled: bool,
}

/// Active requests and the owners of their memory, at the same places of three lists.
pub(super) struct Slab {
    requests: Vec<ffi::MPI_Request>,
    owners: Vec<Owner>,
    /// Whether each was cancelled: MPI takes that once.
    cancelled: Vec<bool>,
    /// The results of a test; kept, so that a poll does not allocate.
    indices: Vec<c_int>,
    statuses: Vec<ffi::MPI_Status>,
    /// Places of requests that have ended, each with its place in the results.
    order: Vec<(usize, usize)>,
    /// Owners of requests that have ended, and their statuses.
    ended: Vec<(Owner, ffi::MPI_Status)>,
}

impl Slab {
    pub(super) fn new() -> Self {
        let (requests, owners, cancelled) = (Vec::new(), Vec::new(), Vec::new());
        let (indices, statuses) = (Vec::new(), Vec::new());
        let (order, ended) = (Vec::new(), Vec::new());
        Self { requests, owners, cancelled, indices, statuses, order, ended }
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

    /// Cancels the requests whose owners fit, unless they were cancelled before.
    // A request for cancellation only: the requests end later like others, and may have received after
    // all.
    pub(super) fn cancel_all(
        &mut self,
        fits: impl Fn(&Owner) -> bool,
    ) -> Result<(), TransportError> {
        let cancelled = self.cancelled.iter_mut();
        for ((owner, request), cancelled) in
            self.owners.iter().zip(&mut self.requests).zip(cancelled)
        {
            if fits(owner) && !std::mem::replace(cancelled, true) {
                // SAFETY: every request in the list is active, as `poll` takes out all that have ended.
                let code = unsafe { ffi::MPI_Cancel(&raw mut *request) };
                check("MPI_Cancel", code)?;
            }
        }
        Ok(())
    }

    /// Removes the requests that have ended.
    // `MPI_Testsome` and not `MPI_Testany`: one call takes all that have ended, and is fair, as a
    // request that ends often can't hide those behind it.
    pub(super) fn poll(
        &mut self,
        mut ended: impl FnMut(CompletedRequest),
    ) -> Result<(), TransportError> {
        let active = self.requests.len();
        if active == 0 {
            return Ok(());
        }
        self.indices.resize(active, 0);
        self.statuses.resize_with(active, empty_status);
        let mut found = 0;
        // SAFETY: the three lists have `active` places, and all requests are active: whatever this call
        // ends is taken out below, before anything can fail.
        let code = unsafe {
            ffi::MPI_Testsome(
                count(active),
                self.requests.as_mut_ptr(),
                &raw mut found,
                self.indices.as_mut_ptr(),
                self.statuses.as_mut_ptr(),
            )
        };
        let found = usize::try_from(found).unwrap_or(0).min(active);
        if let Err(error) = check("MPI_Testsome", code) {
            let from = self.sender_of_too_much(found);
            // Nobody knows which requests have ended: none is touched again, and their memory is leaked.
            self.leak();
            return Err(from.map_or(error, |from| TransportError::TooLong { from }));
        }
        // From the last place on: `swap_remove` moves the last request, which then is none of those that
        // have ended.
        let listed = self.indices[..found].iter().zip(0..);
        let places = listed.map(|(&place, at)| (usize::try_from(place).unwrap_or(0), at));
        self.order.clear();
        self.order.extend(places);
        self.order.sort_unstable();
        while let Some((place, at)) = self.order.pop() {
            self.requests.swap_remove(place);
            self.cancelled.swap_remove(place);
            self.ended.push((self.owners.swap_remove(place), self.statuses[at]));
        }
        // The memory of all of these is free, also behind an error.
        self.ended.drain(..).try_for_each(|(owner, status)| read(owner, &status).map(&mut ended))
    }

    /// Who sent more than its receive has room for, if that is why a test failed. MPI tells the error of each
    /// of the first `found` requests then.
    fn sender_of_too_much(&self, found: usize) -> Option<NodeId> {
        let too_much = |status: &&ffi::MPI_Status| class(status.MPI_ERROR) == ffi::MPI_ERR_TRUNCATE;
        let status = self.statuses[..found].iter().find(too_much)?;
        u32::try_from(status.MPI_SOURCE).ok().map(NodeId)
    }

    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }

    // MPI may still write to the memory of active requests, so that it is leaked: safe, and at the end of
    // a run.
    fn leak(&mut self) {
        self.requests.clear();
        self.cancelled.clear();
        self.owners.drain(..).for_each(std::mem::forget);
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
        self.cancelled.push(false);
        Ok(())
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        self.leak();
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

/// A status in which nothing has come.
// MPI need not write every field of a status: what it leaves out must not be uninitialised.
fn empty_status() -> ffi::MPI_Status {
    // SAFETY: a status is plain integers, for which zeros are values.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn check(call: &'static str, code: c_int) -> Result<(), TransportError> {
    if code == 0 { Ok(()) } else { Err(TransportError::Mpi { call, cause: explain(code) }) }
}

/// What MPI says about an error.
fn explain(code: c_int) -> String {
    let (mut text, mut len) = ([0_u8; ffi::MPI_MAX_ERROR_STRING as usize], 0);
    // SAFETY: the function takes any code, and writes at most so many characters as there is room for.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast(), &raw mut len) };
    let said = usize::try_from(len).ok().and_then(|len| text.get(..len)).unwrap_or_default();
    format!("MPI error {code}: {}", escape::line(&String::from_utf8_lossy(said)))
}

/// The class of an error, which is the same in each MPI.
fn class(code: c_int) -> u32 {
    let mut class = 0;
    // SAFETY: the function takes any code, and writes an integer.
    let found = unsafe { ffi::MPI_Error_class(code, &raw mut class) };
    if found == 0 { u32::try_from(class).unwrap_or(0) } else { 0 }
}

/// Has the calls on this communicator return their errors: by default MPI ends the job and names nobody.
pub(super) fn return_errors(comm: &SimpleCommunicator) -> Result<(), TransportError> {
    // SAFETY: a constant of the MPI library, which nobody writes.
    let handler = unsafe { ffi::RSMPI_ERRORS_RETURN };
    // SAFETY: the communicator is open for as long as it is borrowed, and the handler is MPI's own.
    let code = unsafe { ffi::MPI_Comm_set_errhandler(comm.as_raw(), handler) };
    check("MPI_Comm_set_errhandler", code)
}

/// A length as MPI takes it.
fn count(len: usize) -> c_int {
    c_int::try_from(len).expect("a segment is shorter than 2 GiB")
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
