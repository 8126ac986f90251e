//! Memory of one rank that the other ranks of its host can read.
//!
//! It is a `memfd`: a file without a name in any folder, which the kernel frees with the last process that
//! has it. Nothing is left behind, however a rank ends, and the size of `/dev/shm` does not bound it. Others
//! open it as `/proc/PID/fd/FD`, which the system grants to processes of the same user alone.

use std::fs::File;
use std::io;
use std::sync::Mutex;

use memmap2::{Advice, MmapOptions, MmapRaw};
use nix::sys::resource::{Resource, getrlimit};

// Where each part of the file begins.
// 2 MiB: a huge page of x86-64, so that a part may consist of them where the system allows that for shared
// memory. What lies between two parts takes no memory.
const PART_BYTES: u64 = 2 << 20;

/// Memory of this rank, to which parts are added and none is taken away.
#[derive(Debug)]
pub struct SharedMemory {
    file: File,
    token: u64,
    end: Mutex<u64>,
}

/// Where the other processes of a host find a [`SharedMemory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedMemoryAddress {
    /// The process that has it.
    pub process: u64,
    /// Its file descriptor there.
    pub descriptor: u64,
    /// In the name of the file: in another PID namespace the same process number is another process.
    pub token: u64,
}

impl SharedMemory {
    /// Makes one without any bytes.
    ///
    /// # Errors
    ///
    /// When the system has no such memory.
    #[cfg(target_os = "linux")]
    pub fn new() -> io::Result<Self> {
        use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
        let token = rand::random();
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create(name(token), flags)?);
        // A file that shrinks would take mapped pages from its readers, and end them with SIGBUS.
        fcntl_add_seals(&file, SealFlags::SHRINK)?;
        Ok(Self { file, token, end: Mutex::new(0) })
    }

    /// There is none on this system.
    ///
    /// # Errors
    ///
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Where others find it, while this process lives.
    pub fn address(&self) -> SharedMemoryAddress {
        use std::os::fd::AsRawFd as _;
        let descriptor = u64::try_from(self.file.as_raw_fd()).unwrap_or(u64::MAX);
        SharedMemoryAddress { process: std::process::id().into(), descriptor, token: self.token }
    }

    /// Adds a part whose pages are there at once, and says where in the file it begins.
    pub(super) fn allocate(&self, bytes: usize) -> io::Result<(MmapRaw, u64)> {
        let mut end = self.end.lock().expect("nobody panics while adding a part");
        let start = *end;
        let too_much = || io::Error::from(io::ErrorKind::FileTooLarge);
        let after = start.checked_add(bytes as u64).ok_or_else(too_much)?;
        // Beyond this limit the system does not only refuse: it sends SIGXFSZ.
        let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE)?;
        let next = after.checked_next_multiple_of(PART_BYTES).filter(|&next| next <= limit);
        let next = next.ok_or_else(too_much)?;
        self.file.set_len(next)?;
        let map = MmapOptions::new().offset(start).len(bytes).map_raw(&self.file)?;
        self.populate(&map, start).inspect_err(|_| self.free(start, bytes))?;
        *end = next;
        Ok((map, start))
    }

    // Memory that is missing must be an error here, not a SIGBUS when a slot is written.
    #[cfg(target_os = "linux")]
    fn populate(&self, map: &MmapRaw, start: u64) -> io::Result<()> {
        // Systems may allow huge pages for shared memory, and most do not.
        drop(map.advise(Advice::HugePage));
        map.advise(Advice::PopulateWrite).or_else(|_| {
            // `MADV_POPULATE_WRITE` is of Linux 5.14.
            use rustix::fs::{FallocateFlags, fallocate};
            Ok(fallocate(&self.file, FallocateFlags::empty(), start, map.len() as u64)?)
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn populate(&self, _map: &MmapRaw, _start: u64) -> io::Result<()> {
        Ok(())
    }

    /// Gives back the pages of a part that could not be had whole.
    fn free(&self, start: u64, bytes: usize) {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // A failure only costs memory, and the next part begins at the same place.
            let _: rustix::io::Result<()> = fallocate(&self.file, flags, start, bytes as u64);
        }
    }
}

fn name(token: u64) -> String {
    format!("mpiswarm-{token:016x}")
}

/// The [`SharedMemory`] of another process of this host, to be read.
#[derive(Debug)]
pub struct PeerMemory {
    file: File,
    /// All that the file had when it was mapped last.
    map: Option<MmapRaw>,
}

/// Why bytes of a [`PeerMemory`] can't be read.
#[derive(Debug, thiserror::Error)]
pub enum PeerMemoryError {
    /// There are no such bytes.
    #[error("bytes beyond the {size} of a shared memory")]
    Beyond {
        /// Its size, bytes.
        size: u64,
    },
    /// The system does not map them.
    #[error("a shared memory can't be mapped: {0}")]
    Map(#[from] io::Error),
}

impl PeerMemory {
    /// Opens the memory of another process.
    ///
    /// # Errors
    ///
    /// When it can't be seen from here: it belongs to another user or PID namespace, or is no such memory.
    #[cfg(target_os = "linux")]
    pub fn open(address: SharedMemoryAddress) -> io::Result<Self> {
        use rustix::fs::{SealFlags, fcntl_get_seals};
        let SharedMemoryAddress { process, descriptor, token } = address;
        let path = format!("/proc/{process}/fd/{descriptor}");
        // The name first: opening what else has this number may block.
        let expected = format!("/memfd:{} (deleted)", name(token));
        if std::fs::read_link(&path)?.as_os_str() != expected.as_str() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = File::open(path)?;
        // What is mapped must stay there.
        if !fcntl_get_seals(&file)?.contains(SealFlags::SHRINK) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { file, map: None })
    }

    /// There is none on this system.
    ///
    /// # Errors
    ///
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn open(_address: SharedMemoryAddress) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// All of the memory, with at least `bytes` bytes from `offset` on.
    // Mapped when the first segment comes, as its parts are added later than it is opened, and again where a
    // part was added since.
    pub(super) fn map(&mut self, offset: u64, bytes: usize) -> Result<&MmapRaw, PeerMemoryError> {
        let end = offset.saturating_add(bytes as u64);
        match self.map.take().filter(|map| end <= map.len() as u64) {
            Some(map) => Ok(self.map.insert(map)),
            None => {
                let size = self.file.metadata()?.len();
                if end > size {
                    return Err(PeerMemoryError::Beyond { size });
                }
                Ok(self.map.insert(MmapOptions::new().map_raw_read_only(&self.file)?))
            }
        }
    }
}

#[cfg(all(test, not(loom), target_os = "linux"))]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::store::{Pool, Store};

    fn copied(
        memory: &mut PeerMemory,
        offset: u64,
        bytes: u32,
    ) -> Result<Vec<u8>, PeerMemoryError> {
        let mut store = Store::new(1, 200).expect("a little memory");
        let slot = store.take().expect("one");
        let copied = slot.fill_from(memory, offset, bytes).map_err(|(_, error)| error);
        copied.map(|filled| filled.bytes().to_vec())
    }

    #[test]
    fn others_read_the_segments_of_every_part() {
        let memory = Arc::new(SharedMemory::new().expect("a memfd"));
        let mut peer = PeerMemory::open(memory.address()).expect("this process may see its own");
        let mut parts = Vec::new();
        for mark in 1..=3_u8 {
            let pool = Pool::within(Some(&memory), 2, 100).expect("a little memory");
            let slots = [pool.take(), pool.take()].map(|slot| slot.expect("two"));
            let segments = slots.map(|mut slot| {
                slot.bytes_mut().fill(mark);
                slot.fill(90).seal_unchecked()
            });
            for segment in &segments {
                let offset = segment.offset_in(&memory).expect("it lies there");
                assert_eq!(copied(&mut peer, offset, 90).expect("it is there"), [mark; 90]);
            }
            parts.push(segments);
        }
        let first = parts[0][0].offset_in(&memory).expect("it lies there");
        assert_eq!(copied(&mut peer, first, 90).expect("it stays"), [1; 90]);
        let elsewhere = SharedMemory::new().map(Arc::new).expect("a memfd");
        assert_eq!(parts[0][0].offset_in(&elsewhere), None);
    }

    #[test]
    fn what_is_not_in_the_memory_is_never_read() {
        let memory = Arc::new(SharedMemory::new().expect("a memfd"));
        let mut peer = PeerMemory::open(memory.address()).expect("this process may see its own");
        let beyond = |peer: &mut PeerMemory, offset| {
            matches!(copied(peer, offset, 90), Err(PeerMemoryError::Beyond { .. }))
        };
        assert!(beyond(&mut peer, 0), "nothing is there yet");
        let _pool = Pool::within(Some(&memory), 2, 100).expect("a little memory");
        for offset in [PART_BYTES - 89, PART_BYTES, u64::MAX - 89, u64::MAX] {
            assert!(beyond(&mut peer, offset), "{offset}");
        }
        assert_eq!(copied(&mut peer, PART_BYTES - 90, 90).expect("the last bytes"), [0; 90]);
    }

    #[test]
    fn only_the_memory_of_that_name_is_opened() {
        let memory = SharedMemory::new().expect("a memfd");
        let address = memory.address();
        for wrong in [
            SharedMemoryAddress { token: address.token ^ 1, ..address },
            SharedMemoryAddress { process: u64::from(u32::MAX), ..address },
            SharedMemoryAddress { descriptor: u64::MAX, ..address },
            SharedMemoryAddress { descriptor: 0, ..address },
        ] {
            assert!(PeerMemory::open(wrong).is_err(), "{wrong:?}");
        }
    }
}
