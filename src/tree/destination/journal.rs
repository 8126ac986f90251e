//! Which segments an attempt has written, with their digests: a rerun goes on from there.
//!
//! A record is appended when the bytes of its segment have been written. When the process is killed, what
//! it wrote stays in the page cache, so that the next run on this host believes all records. After a
//! power cut the records may be on disk and their bytes not. So a thread syncs the file system now and then,
//! and adds a record that says up to where all bytes are on disk. The number that the kernel draws when it
//! starts (`boot_id`) tells the two cases apart.

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
const MAGIC: &[u8] = b"mpiswarm journal 1\n";

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

/// The journal of one attempt, open for appending.
#[derive(Debug)]
pub(super) struct SegmentJournal {
    tail: Mutex<JournalEnd>,
}

#[derive(Debug)]
struct JournalEnd {
    file: File,
    bytes: u64,
    /// Whether segments were added since the last sync.
    has_unsynced: bool,
    /// Why the file system could not be synced.
    failed: Option<io::Error>,
}

impl SegmentJournal {
    /// Opens or begins the journal in a folder, and says which segments can be believed. A journal of another
    /// manifest begins anew.
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
        each_record(&file, start, layout, |at, kind, body| {
            match kind {
                SYNCED => {
                    let says = body.try_into().map_or(0, u64::from_le_bytes);
                    synced = synced.max(says.min(end));
                }
                BOOT => last_boot = <[u8; 16]>::try_from(body).ok(),
                _ => {}
            }
            end = at;
        })?;
        let boot = boot_id();
        let is_same_boot = boot.is_some() && last_boot == boot;
        let believed = if is_same_boot { end } else { synced };
        file.set_len(believed)?;
        each_record(&file, start, layout, |_, kind, body| {
            if kind == SEGMENT
                && let Some((segment, digests)) = body.split_first_chunk()
                && let Some((digest, roots)) = digests.as_chunks().0.split_first()
            {
                let roots = roots.iter().map(|root| Digest(*root)).collect();
                let digest = SegmentDigest { digest: Digest(*digest), roots };
                known(SegmentId(u32::from_le_bytes(*segment)), digest);
            }
        })?;
        let mut tail =
            JournalEnd { file, bytes: believed, has_unsynced: is_same_boot, failed: None };
        if !is_same_boot {
            tail.append(BOOT, &boot.unwrap_or_default())?;
            tail.append(SYNCED, &believed.to_le_bytes())?;
        }
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
        if let Some(cause) = tail.failed.take() {
            return Err(cause);
        }
        tail.append(SEGMENT, &body)?;
        tail.has_unsynced = true;
        Ok(())
    }

    /// Syncs the file system that `folder` lies on, and says so in the journal.
    pub(super) fn sync(&self, folder: &OwnedFd) -> io::Result<()> {
        let bytes = {
            let mut tail = self.lock();
            if let Some(cause) = tail.failed.take() {
                return Err(cause);
            }
            tail.has_unsynced = false;
            tail.bytes
        };
        // Not under the lock: it may take long, and segments go on arriving.
        syncfs(folder)?;
        self.lock().append(SYNCED, &bytes.to_le_bytes())
    }
}

impl JournalEnd {
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
                if journal.lock().has_unsynced
                    && let Err(cause) = journal.sync(&folder)
                {
                    // The kernel tells a failed write-back once: whoever comes next has to hear of it.
                    journal.lock().failed = Some(cause);
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
