//! Requests in flight, each with the memory that MPI reads or writes: the only place that calls
//! MPI with pointers, and one of the two that are unsafe.
//!
//! Invariant: the memory of a request stays where it is until MPI has finished with it: it is
//! owned by the slab meanwhile, and all of it is on the heap or in the arena, so that moving an
//! owner does not move the bytes.
#![expect(unsafe_code, reason = "MPI takes pointers")]

use std::ffi::c_int;
use std::mem::MaybeUninit;

use mpi::ffi;

use super::super::TransportError;

/// Bytes that MPI reads or writes while a request is in flight.
pub(super) trait Memory {
    /// Where they are: the same place until the owner is dropped, wherever it is moved.
    fn bytes(&mut self) -> (*mut u8, usize);
}

/// A request that has ended.
#[derive(Debug)]
pub(super) struct Ended<O> {
    pub(super) owner: O,
    /// Who sent it, for receives.
    pub(super) source: c_int,
    /// Bytes received, for receives.
    pub(super) count: usize,
    pub(super) cancelled: bool,
}

/// Requests and the owners of their memory, at the same places of two lists.
pub(super) struct Slab<O> {
    requests: Vec<ffi::MPI_Request>,
    owners: Vec<O>,
    /// What a test found, kept to be used again.
    indices: Vec<c_int>,
    statuses: Vec<MaybeUninit<ffi::MPI_Status>>,
}

impl<O: Memory> Slab<O> {
    pub(super) fn new() -> Self {
        let (requests, owners) = (Vec::new(), Vec::new());
        Self { requests, owners, indices: Vec::new(), statuses: Vec::new() }
    }

    pub(super) fn receive(
        &mut self,
        comm: ffi::MPI_Comm,
        from: c_int,
        tag: c_int,
        mut owner: O,
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
        mut owner: O,
    ) -> Result<(), TransportError> {
        let (start, len) = owner.bytes();
        let mut request = MaybeUninit::uninit();
        // SAFETY: the bytes are valid for reads of `len` and stay in place and unwritten until
        // the request ends, as the slab keeps their owner (see the module).
        let code = unsafe {
            ffi::MPI_Isend(
                start.cast_const().cast(),
                count(len),
                byte(),
                to,
                tag,
                comm,
                request.as_mut_ptr(),
            )
        };
        self.enter("MPI_Isend", code, request, owner)
    }

    /// Asks MPI to give up the first request whose owner fits; it ends like the others.
    pub(super) fn cancel(&mut self, fits: impl Fn(&O) -> bool) -> Result<(), TransportError> {
        let Some(place) = self.owners.iter().position(fits) else { return Ok(()) };
        // SAFETY: every request in the list is active.
        let code = unsafe { ffi::MPI_Cancel(&raw mut self.requests[place]) };
        check("MPI_Cancel", code)
    }

    /// Takes out the requests that have ended.
    pub(super) fn poll(&mut self, mut ended: impl FnMut(Ended<O>)) -> Result<(), TransportError> {
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
        // From the last place on, so that removing one does not move another that ended too.
        let mut order: Vec<(usize, usize)> =
            (0..found).map(|at| (usize::try_from(self.indices[at]).unwrap_or(0), at)).collect();
        order.sort_unstable();
        for (place, at) in order.into_iter().rev() {
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
        owner: O,
    ) -> Result<(), TransportError> {
        check(call, code)?;
        // SAFETY: a call that succeeded has written the request.
        self.requests.push(unsafe { request.assume_init() });
        self.owners.push(owner);
        Ok(())
    }
}

impl<O> Drop for Slab<O> {
    /// Memory that MPI still uses is never freed.
    fn drop(&mut self) {
        self.owners.drain(..).for_each(std::mem::forget);
    }
}

impl<O> std::fmt::Debug for Slab<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slab({} requests)", self.owners.len())
    }
}

fn read<O>(owner: O, status: &ffi::MPI_Status) -> Result<Ended<O>, TransportError> {
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
    Ok(Ended { owner, source: status.MPI_SOURCE, count, cancelled: cancelled != 0 })
}

fn check(call: &'static str, code: c_int) -> Result<(), TransportError> {
    if code == 0 { Ok(()) } else { Err(TransportError::Mpi { call, code }) }
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
