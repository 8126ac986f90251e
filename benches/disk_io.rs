//! Segments of a tree read from files and written to them: by threads that call `pread` and `pwrite`, as a stage
//! does, and by one thread with `io_uring`. Same files, same bytes, same order of segments.
//!
//! `warm`: the files are in the page cache; `cold`: the system was told to drop them. `written`: into new files
//! of their full size, as far as the page cache; `synced`: until each file is on the disk. Each segment begins
//! with its number, which readers compare and a look at the files after each kind of write does.
//!
//! Not measured: hashing, which a stage does between the two; fixed buffers, registered files and a thread of the
//! kernel that polls the queue (`IORING_SETUP_SQPOLL`); small files, which cost calls that open and close them.
//! A disk that somebody else simulates, as in a virtual machine, may keep what was dropped here in its own cache.

#![expect(unsafe_code, reason = "whoever gives the kernel a buffer has to keep it")]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use io_uring::{IoUring, Probe, opcode, types};
use mpiswarm::time::Clock;
use rustix::fs::{Advice, fadvise, statfs};

mod threads;

/// Bytes of each file.
// Several of the largest segments.
const FILE_BYTES: usize = 4 << 20;

/// Files of the tree.
// 64 MiB in all: much more than the caches of a core, and tens of milliseconds from memory.
const FILES: usize = 16;

/// The number of tmpfs among file systems (`TMPFS_MAGIC` of Linux).
const TMPFS: u64 = 0x0102_1994;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ReadWarm,
    ReadCold,
    Written,
    Synced,
}

impl Kind {
    fn reads(self) -> bool {
        matches!(self, Self::ReadWarm | Self::ReadCold)
    }
}

/// The files, and how they are cut.
struct Files {
    files: Vec<File>,
    segment_bytes: usize,
}

impl Files {
    fn new(folder: &Path, segment_bytes: usize) -> Self {
        let open = |number: usize| {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(true);
            options.open(folder.join(number.to_string())).expect("the folder is ours")
        };
        Self { files: (0..FILES).map(open).collect(), segment_bytes }
    }

    fn segments(&self) -> u64 {
        (FILES * FILE_BYTES / self.segment_bytes) as u64
    }

    fn place(&self, segment: u64) -> (&File, u64) {
        let of_file = (FILE_BYTES / self.segment_bytes) as u64;
        let file = usize::try_from(segment / of_file).expect("there are a few files");
        (&self.files[file], segment % of_file * self.segment_bytes as u64)
    }

    /// What is done before each turn, and not timed.
    fn prepare(&self, kind: Kind) {
        for file in &self.files {
            match kind {
                Kind::ReadWarm => {}
                Kind::ReadCold => fadvise(file, 0, None, Advice::DontNeed).expect("a file"),
                Kind::Written | Kind::Synced => {
                    file.set_len(0).and_then(|()| file.set_len(FILE_BYTES as u64)).expect("room");
                }
            }
        }
    }

    fn sync(&self) {
        self.files.iter().for_each(|file| file.sync_data().expect("the disk takes it"));
    }

    /// Whether each segment lies where it should.
    fn check(&self) {
        for segment in 0..self.segments() {
            let (file, at) = self.place(segment);
            let mut number = [0; 8];
            file.read_exact_at(&mut number, at).expect("it was written");
            assert_eq!(u64::from_le_bytes(number), segment);
        }
    }
}

fn buffer(bytes: usize) -> Vec<u8> {
    vec![0xa5; bytes]
}

fn number_of(segment: &[u8]) -> u64 {
    u64::from_le_bytes(*segment.first_chunk().expect("a segment has kilobytes"))
}

fn by_threads(count: u32, files: &Files, kind: Kind) -> Duration {
    threads::time(count, files.segments(), |thread| {
        let mut buffer = buffer(files.segment_bytes);
        let mut segment = u64::from(thread);
        move || {
            let (file, at) = files.place(segment);
            if kind.reads() {
                file.read_exact_at(&mut buffer, at).expect("it is there");
                assert_eq!(number_of(&buffer), segment);
            } else {
                buffer[..8].copy_from_slice(&segment.to_le_bytes());
                file.write_all_at(&buffer, at).expect("room");
            }
            segment += u64::from(count);
        }
    })
}

struct Ring {
    ring: IoUring,
    /// Never freed: after a panic the kernel may still use them.
    buffers: ManuallyDrop<Vec<Vec<u8>>>,
}

impl Ring {
    fn new(depth: u32, segment_bytes: usize) -> io::Result<Self> {
        let ring = IoUring::new(depth)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Read::CODE) || !probe.is_supported(opcode::Write::CODE) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let buffers = ManuallyDrop::new((0..depth).map(|_| buffer(segment_bytes)).collect());
        Ok(Self { ring, buffers })
    }

    fn begin(&mut self, place: usize, segment: u64, files: &Files, kind: Kind) {
        let buffer = &mut self.buffers[place];
        if !kind.reads() {
            buffer[..8].copy_from_slice(&segment.to_le_bytes());
        }
        let (file, at) = files.place(segment);
        let fd = types::Fd(file.as_raw_fd());
        let bytes = u32::try_from(buffer.len()).expect("a segment has megabytes at most");
        let entry = if kind.reads() {
            opcode::Read::new(fd, buffer.as_mut_ptr(), bytes).offset(at).build()
        } else {
            opcode::Write::new(fd, buffer.as_ptr(), bytes).offset(at).build()
        };
        let mut queue = self.ring.submission();
        // SAFETY: the buffer is as long as the entry says, is never freed, and nobody uses it until the entry
        // is completed: `move_all` begins a buffer only when it is idle. The file is open until then.
        let pushed = unsafe { queue.push(&entry.user_data(place as u64)) };
        pushed.expect("there are as many entries as buffers");
    }

    fn move_all(&mut self, files: &Files, kind: Kind) -> Duration {
        let clock = Clock::start();
        let start = clock.now();
        let depth = self.buffers.len();
        let mut idle: Vec<usize> = (0..depth).collect();
        let (mut next, mut under_way) = (0, vec![0; depth]);
        while next < files.segments() || idle.len() < depth {
            while next < files.segments()
                && let Some(place) = idle.pop()
            {
                under_way[place] = next;
                self.begin(place, next, files, kind);
                next += 1;
            }
            match self.ring.submit_and_wait(1) {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                submitted => drop(submitted.expect("the kernel takes what it said it takes")),
            }
            for done in self.ring.completion() {
                let place = usize::try_from(done.user_data()).expect("the place of a buffer");
                let moved = usize::try_from(done.result()).ok();
                assert_eq!(moved, Some(files.segment_bytes), "{}", done.result());
                assert_eq!(number_of(&self.buffers[place]), under_way[place]);
                idle.push(place);
            }
        }
        clock.now().since(start)
    }
}

fn measure(
    criterion: &mut Criterion,
    (name, kind): (&str, Kind),
    files: &Files,
    way: &str,
    mut run: impl FnMut() -> Duration,
) {
    let mut group = criterion.benchmark_group(format!("disk-io-{name}"));
    // A turn takes tens of milliseconds, and on a disk of somebody else's up to a second.
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Bytes((FILES * FILE_BYTES) as u64));
    let clock = Clock::start();
    let id = BenchmarkId::new(way, files.segment_bytes);
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|turns| {
            let turn = |_| {
                files.prepare(kind);
                let moved = run();
                let start = clock.now();
                if kind == Kind::Synced {
                    files.sync();
                }
                moved + clock.now().since(start)
            };
            (0..turns).map(turn).sum()
        });
    });
    group.finish();
    files.check();
}

fn all_ways(criterion: &mut Criterion, kind: (&str, Kind), files: &Files) {
    // One is what a stage has least but one, eight what it has at most.
    for threads in [1, 2, 8] {
        let way = format!("threads-{threads}");
        measure(criterion, kind, files, &way, || by_threads(threads, files, kind.1));
    }
    for depth in [2, 8, 32] {
        match Ring::new(depth, files.segment_bytes) {
            Ok(mut ring) => {
                let way = format!("io_uring-{depth}");
                measure(criterion, kind, files, &way, || ring.move_all(files, kind.1));
            }
            Err(cause) => skip("io_uring", &format!("the system does not allow it: {cause}")),
        }
    }
}

#[expect(clippy::print_stderr, reason = "a bench that is skipped says why")]
fn skip(what: &str, why: &str) {
    eprintln!("skipped: {what}: {why}");
}

fn disk_io(criterion: &mut Criterion) {
    let places =
        [("tmpfs", Path::new("/dev/shm")), ("disk", Path::new(env!("CARGO_TARGET_TMPDIR")))];
    for (place, at) in places {
        let is_tmpfs = || statfs(at).is_ok_and(|found| u64::try_from(found.f_type) == Ok(TMPFS));
        let folder = match tempfile::tempdir_in(at) {
            Ok(folder) if is_tmpfs() == (place == "tmpfs") => folder,
            Ok(_) => {
                skip(place, &format!("{} is no {place}", at.display()));
                continue;
            }
            Err(cause) => {
                skip(place, &format!("{}: {cause}", at.display()));
                continue;
            }
        };
        for segment_bytes in [64 << 10, 1 << 20] {
            let files = Files::new(folder.path(), segment_bytes);
            let kinds = [
                ("written", Kind::Written),
                ("synced", Kind::Synced),
                ("read-warm", Kind::ReadWarm),
                ("read-cold", Kind::ReadCold),
            ];
            // Memory is neither synced nor cold.
            let has = |kind| place == "disk" || matches!(kind, Kind::Written | Kind::ReadWarm);
            for (name, kind) in kinds.into_iter().filter(|&(_, kind)| has(kind)) {
                // What is to be read has to be there, and what is dropped from the cache on the disk.
                files.prepare(Kind::Written);
                by_threads(1, &files, Kind::Written);
                files.sync();
                all_ways(criterion, (&format!("{place}-{name}"), kind), &files);
            }
        }
    }
}

criterion_group!(benches, disk_io);
criterion_main!(benches);
