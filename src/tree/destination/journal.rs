//! Which segments an attempt has written, with their digests: a rerun goes on from there.
//!
//! A record is appended when the bytes of its segment have been written. When the process is killed, what
//! it wrote stays in the page cache, so that the next run on this host believes all records. After a
//! power cut the records may be on disk and their bytes not. So a thread syncs the file system now and then,
//! and adds a record that says up to where all bytes are on disk. The number that the kernel draws when it
//! starts (`boot_id`) tells the two cases apart.
//!
//! Invariant: a journal that could not be synced once says nothing of what came after the last sync, and syncs
//! no more. The kernel tells a failed write-back once and counts the pages as clean: the next sync succeeds,
//! and a rerun would believe bytes that are lost.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use rustix::fs::{Mode, OFlags, openat, syncfs};

use super::super::{Layout, SegmentDigest, SegmentPlace};
use crate::manifest::SegmentId;
use crate::verify::Digest;

/// The name of the journal.
// The files of the attempt lie in a folder beside it, where no root can meet this name.
const NAME: &str = "journal";

/// How a journal begins; the digest of the manifest follows.
// The number is that of the format.
const MAGIC: &[u8] = b"mpiswarm journal 2\n";

/// Bytes of a checksum: the first of a SHA-256.
// Against torn records, not against attackers: by chance one in 2^64 passes.
const CHECK_BYTES: usize = 8;

/// How often the file system is synced.
// The kernel itself writes back what has been dirty for 5 s or so; a power cut costs no more work.
const SYNC_EVERY: Duration = Duration::from_secs(5);

// What a record says; the values are part of the format.
const SEGMENT: u8 = 1;
const SYNCED: u8 = 2;
const BOOT: u8 = 3;
const DISCARDED: u8 = 4;

/// The journal of one attempt, open for appending.
#[derive(Debug)]
pub(super) struct SegmentJournal {
    tail: Mutex<JournalEnd>,
}

#[derive(Debug)]
struct JournalEnd {
    file: File,
    bytes: u64,
    /// The end of the records whose bytes are on disk.
    synced: u64,
    /// Segments that were discarded behind that, and the ends of their records: whatever lies before it, they are
    /// not to be believed.
    discarded: Vec<(u64, SegmentId)>,
    /// Whether segments were added since the last sync.
    has_unsynced: bool,
    /// Why the file system could not be synced. It stays.
    failed: Option<io::Error>,
}

impl SegmentJournal {
    /// Opens or begins the journal in a folder, and says which segments can be believed, in ascending order. A
    /// journal of another manifest begins anew.
    pub(super) fn open(
        folder: &OwnedFd,
        key: Digest,
        layout: &Layout,
        mut known: impl FnMut(SegmentId, SegmentDigest),
    ) -> io::Result<Self> {
        let flags =
            OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(folder, NAME, flags, Mode::RUSR | Mode::WUSR)?);
        let head = [MAGIC, &key.0].concat();
        let mut found = vec![0; head.len()];
        if file.read_exact_at(&mut found, 0).is_err() || found != head {
            file.set_len(0)?;
            file.write_all_at(&head, 0)?;
        }
        let start = head.len() as u64;
        // The end of the last whole record, of the bytes on disk, and who wrote last.
        let (mut end, mut synced, mut last_boot) = (start, start, None);
        let mut discarded = Vec::new();
        each_record(&file, start, layout, |at, kind, body| {
            match kind {
                SYNCED => {
                    let says = body.try_into().map_or(0, u64::from_le_bytes);
                    synced = synced.max(says.min(end));
                }
                BOOT => last_boot = <[u8; 16]>::try_from(body).ok(),
                DISCARDED => discarded.extend(body.try_into().map(segment_of).map(|one| (at, one))),
                _ => {}
            }
            end = at;
        })?;
        // A bad segment may have been synced, and its discard not.
        discarded.retain(|&(at, _)| at > synced);
        let boot = boot_id();
        let is_same_boot = boot.is_some() && last_boot == boot;
        let (bytes, has_unsynced) = (end, is_same_boot);
        let mut tail = JournalEnd { file, bytes, synced, discarded, has_unsynced, failed: None };
        if is_same_boot {
            tail.file.set_len(end)?;
        } else {
            tail.cut()?;
        }
        let mut believed = BTreeMap::new();
        each_record(&tail.file, start, layout, |_, kind, body| {
            let Some((segment, digests)) = body.split_first_chunk() else { return };
            let segment = segment_of(*segment);
            if kind == DISCARDED {
                believed.remove(&segment);
            } else if kind == SEGMENT
                && let Some((digest, roots)) = digests.as_chunks().0.split_first()
            {
                let roots = roots.iter().map(|root| Digest(*root)).collect();
                believed.insert(segment, SegmentDigest { digest: Digest(*digest), roots });
            }
        })?;
        believed.into_iter().for_each(|(segment, digest)| known(segment, digest));
        Ok(Self { tail: Mutex::new(tail) })
    }

    fn lock(&self) -> MutexGuard<'_, JournalEnd> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a segment whose bytes were written.
    pub(super) fn add(&self, segment: SegmentId, digest: &SegmentDigest) -> io::Result<()> {
        let mut body = Vec::with_capacity(4 + 32 * (1 + digest.roots.len()));
        body.extend(segment.0.to_le_bytes());
        body.extend(digest.digest.0);
        digest.roots.iter().for_each(|root| body.extend(root.0));
        let mut tail = self.lock();
        tail.check()?;
        tail.append(SEGMENT, &body)?;
        tail.has_unsynced = true;
        Ok(())
    }

    /// Takes back a segment whose bytes turned out to be others. After a power cut within the next seconds it may
    /// be believed again.
    pub(super) fn discard(&self, segment: SegmentId) -> io::Result<()> {
        let mut tail = self.lock();
        tail.check()?;
        tail.append(DISCARDED, &segment.0.to_le_bytes())?;
        let end = tail.bytes;
        tail.discarded.push((end, segment));
        tail.has_unsynced = true;
        Ok(())
    }

    /// Syncs the file system that `folder` lies on, and says so in the journal. After a failure this fails for
    /// ever, as does [`SegmentJournal::add`].
    pub(super) fn sync(&self, folder: &OwnedFd) -> io::Result<()> {
        self.sync_by(|| Ok(syncfs(folder)?))
    }

    /// The same with another way to sync: a disk that fails is hard to come by in a test.
    pub(super) fn sync_by(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let bytes = {
            let mut tail = self.lock();
            tail.check()?;
            tail.has_unsynced = false;
            tail.bytes
        };
        // Not under the lock: it may take long, and segments go on arriving.
        let synced = sync();
        let mut tail = self.lock();
        // Two may sync at once: what one was told of the disk, the other is not.
        tail.check()?;
        synced.map_err(|cause| tail.fail(cause))?;
        tail.append(SYNCED, &bytes.to_le_bytes())?;
        tail.synced = tail.synced.max(bytes);
        tail.discarded.retain(|&(end, _)| end > bytes);
        Ok(())
    }
}

impl JournalEnd {
    /// Whether nothing was lost yet.
    fn check(&self) -> io::Result<()> {
        self.failed.as_ref().map_or(Ok(()), |cause| Err(again(cause)))
    }

    /// Takes back all that may be lost, durably: a rerun must not believe it.
    fn fail(&mut self, cause: io::Error) -> io::Error {
        let cut = self.cut().and_then(|()| self.file.sync_all());
        let cause = match cut {
            Ok(()) => cause,
            Err(cut) => io::Error::new(
                cause.kind(),
                format!("{cause}; the journal can't be cut: {cut}: run again with --fresh"),
            ),
        };
        again(self.failed.insert(cause))
    }

    /// Goes back to the records whose bytes are on disk.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.synced)?;
        self.bytes = self.synced;
        self.append(BOOT, &boot_id().unwrap_or_default())?;
        for (_, segment) in std::mem::take(&mut self.discarded) {
            self.append(DISCARDED, &segment.0.to_le_bytes())?;
        }
        // These speak of no bytes.
        self.synced = self.bytes;
        self.append(SYNCED, &self.synced.to_le_bytes())
    }

    fn append(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut record = Vec::with_capacity(1 + body.len() + CHECK_BYTES);
        record.push(kind);
        record.extend_from_slice(body);
        let check = check(&record);
        record.extend_from_slice(&check);
        self.file.write_all_at(&record, self.bytes)?;
        self.bytes += record.len() as u64;
        Ok(())
    }
}

/// The same error once more.
fn again(cause: &io::Error) -> io::Error {
    let same = cause.raw_os_error().map(io::Error::from_raw_os_error);
    same.unwrap_or_else(|| io::Error::new(cause.kind(), cause.to_string()))
}

fn segment_of(bytes: [u8; 4]) -> SegmentId {
    SegmentId(u32::from_le_bytes(bytes))
}

/// Reads records until one is torn or is none: the position behind it, its kind and its body.
fn each_record(
    file: &File,
    start: u64,
    layout: &Layout,
    mut record: impl FnMut(u64, u8, &[u8]),
) -> io::Result<()> {
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(start))?;
    let (mut at, mut bytes) = (start, Vec::new());
    loop {
        bytes.resize(1 + 4, 0);
        // The end of the file, or a torn record.
        match reader.read_exact(&mut bytes) {
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let segment = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        let body = match bytes[0] {
            SEGMENT if segment < layout.segment_count() => {
                let roots = match layout.place(SegmentId(segment)) {
                    SegmentPlace::Part(_) => 0,
                    SegmentPlace::Packed(files) => layout.packed(files).len(),
                };
                4 + 32 * (1 + roots)
            }
            DISCARDED if segment < layout.segment_count() => 4,
            SYNCED => 8,
            BOOT => 16,
            _ => return Ok(()),
        };
        bytes.resize(1 + body + CHECK_BYTES, 0);
        match reader.read_exact(&mut bytes[1 + 4..]) {
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let (said, found) = bytes.split_at(1 + body);
        if check(said) != found {
            return Ok(());
        }
        at += bytes.len() as u64;
        record(at, said[0], &said[1..]);
    }
}

fn check(record: &[u8]) -> [u8; CHECK_BYTES] {
    *Digest::of(record).0.first_chunk().expect("a digest is longer than a checksum")
}

/// What tells this run of the kernel from others; none where the system does not say.
fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.trim().chars().filter(|&character| character != '-').collect();
    u128::from_str_radix(&digits, 16).ok().map(u128::to_le_bytes)
}

/// The thread that syncs now and then. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Syncing {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncing {
    pub(super) fn start(journal: Arc<SegmentJournal>, folder: OwnedFd) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let run = move || {
            while stopped.recv_timeout(SYNC_EVERY) == Err(RecvTimeoutError::Timeout) {
                // Whoever adds a segment next, or publishes, is told of a failure.
                if journal.lock().has_unsynced && journal.sync(&folder).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("sync".to_owned()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        self.stop = None;
        // It has no result, and a panic of it was told already.
        self.thread.take().map(JoinHandle::join);
    }
}
