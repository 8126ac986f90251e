//! Peers of a stage as threads of one process: what crosses compressed arrives as it was, and what is no frame
//! of its segment counts as corrupt.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crossbeam::sync::Parker;
use proptest::prelude::*;

use super::frames::FrameCodec;
use super::stage::{StagePart, StagedRank};
use super::tree_workers::{Disk, Done, Task, TreeWorkers};
use super::{Idle, run_tracker};
use crate::config::{Compress, Config, Decider, RateLimits};
use crate::manifest::{NodeId, SegmentId, SegmentSet};
use crate::metrics::usage::Meter;
use crate::protocol::Tracker;
use crate::store::{FilledSlot, Pool};
use crate::time::Clock;
use crate::transport::Transport as _;
use crate::transport::local;
use crate::tree::{
    Destination, DestinationOptions, Destinations, Layout, ListOptions, Manifest, SegmentDigest,
    SegmentPlace, TreeSource, list,
};

// One reads, and the others have each other.
const PEERS: u32 = 3;

// The smallest: a few kilobytes are several.
const SEGMENT: u32 = 16 << 10;

struct TestTree {
    dir: tempfile::TempDir,
    manifest: Arc<Manifest>,
    layout: Arc<Layout>,
}

impl TestTree {
    fn of(files: &[Vec<u8>]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).expect("a folder");
        for (number, content) in files.iter().enumerate() {
            fs::write(tree.join(number.to_string()), content).expect("room");
        }
        let options = ListOptions { segment_bytes: Some(SEGMENT), ..ListOptions::default() };
        let manifest = list(&[tree], &options).expect("it is there").manifest;
        let layout = Arc::new(Layout::new(&manifest).expect("few segments"));
        Self { dir, manifest: Arc::new(manifest), layout }
    }

    fn source(&self) -> TreeSource {
        let sources = [self.dir.path().join("tree")];
        let (manifest, layout) = (Arc::clone(&self.manifest), Arc::clone(&self.layout));
        TreeSource::open(&sources, manifest, layout).expect("it is there")
    }

    fn destinations(&self, to: &Path) -> Destinations {
        let (manifest, layout) = (Arc::clone(&self.manifest), Arc::clone(&self.layout));
        let options =
            DestinationOptions { mkdir: true, sync: false, ..DestinationOptions::default() };
        let opened = Destination::open(to, manifest, layout, &options, &mut |_| ());
        Destinations::new(vec![opened.expect("it can be written")])
    }

    fn part(
        &self,
        to: &Path,
        source: Option<TreeSource>,
        (compress, decide): (Compress, Decider),
    ) -> StagePart {
        StagePart {
            manifest: Arc::clone(&self.manifest),
            layout: Arc::clone(&self.layout),
            source,
            lacking: SegmentSet::default(),
            destinations: self.destinations(to),
            needed: SegmentSet::all_of(self.layout.segment_count()),
            config: Config { decide, ..Config::over_links(SEGMENT as usize) },
            limits: RateLimits::default(),
            compress,
            seed: 1,
            memory_bytes: 1 << 20,
            workers: 2,
            has_own_core: false,
            trace: None,
            warn: |_| (),
        }
    }

    /// Stages it by threads, each of which takes all others for ranks of other hosts.
    fn stage(&self, to: &Path, how: (Compress, Decider)) -> Vec<StagedRank> {
        let parkers: Vec<_> = (0..=PEERS).map(|_| Parker::new()).collect();
        let unparkers = parkers.iter().map(|parker| parker.unparker().clone()).collect();
        let mut ends = local::connect(unparkers).into_iter().zip(parkers);
        let (mut tracker_end, tracker_parker) = ends.next().expect("there are four");
        let clock = Clock::start();
        let config = Config { decide: how.1, ..Config::over_links(SEGMENT as usize) };
        let mut tracker = Tracker::new(PEERS + 1, config, 1);
        thread::scope(|scope| {
            let peers = (1..=PEERS).zip(ends).map(|(number, (mut end, parker))| {
                let source = (number == 1).then(|| self.source());
                let part = self.part(&to.join(number.to_string()), source, how);
                let near = (0..=PEERS).map(|node| node == number).collect();
                let clock = &clock;
                scope.spawn(move || {
                    let ready = part.ready((NodeId(number), near), &parker, clock);
                    ready.expect("a little memory").run(&mut end, parker, clock).expect("it ends")
                })
            });
            let peers: Vec<_> = peers.collect();
            let idle = Idle::new(tracker_parker, tracker_end.wakes(), false);
            let measures = (&clock, &Meter::default());
            let ended =
                run_tracker(&mut tracker, &mut tracker_end, idle, measures, (None, None, |_| ()));
            ended.expect("it ends");
            peers.into_iter().map(|peer| peer.join().expect("it does not panic")).collect()
        })
    }
}

/// Files of zeros, of text that repeats, and of noise, shorter and longer than a segment.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let noise = |(seed, bytes): (u64, usize)| {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        (0..bytes).map(|_| next()).collect::<Vec<u8>>()
    };
    let words = (any::<[u8; 7]>(), 0..9_000_usize).prop_map(|(word, times)| word.repeat(times));
    let bytes = 0..60_000_usize;
    prop_oneof![
        (any::<u64>(), bytes.clone()).prop_map(noise),
        words,
        bytes.prop_map(|bytes| vec![1; bytes])
    ]
}

fn is_same(tree: &TestTree, to: &Path) -> bool {
    let names = tree.manifest.entries.iter().skip(1).map(|entry| entry.path.to_string());
    let mut pairs = names.map(|name| (tree.dir.path().join(&name), to.join(&name)));
    pairs.all(|(left, right)| fs::read(left).expect("a file") == fs::read(right).expect("a file"))
}

proptest! {
    // Each case stages five times, with nine threads in all.
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_arrives_as_it_is_however_it_crosses(
        files in prop::collection::vec(file(), 1..8),
    ) {
        // With one that is not empty something is to be moved.
        let tree = TestTree::of(&[files, vec![vec![7; 20_000]]].concat());
        for (compress, decide) in [
            (Compress::Never, Decider::Tracker),
            (Compress::Never, Decider::Peers),
            (Compress::Auto, Decider::Tracker),
            (Compress::Always, Decider::Tracker),
            (Compress::Always, Decider::Peers),
        ] {
            let to = tempfile::tempdir().expect("a folder");
            let staged = tree.stage(to.path(), (compress, decide));
            for number in 1..=PEERS {
                prop_assert!(is_same(&tree, &to.path().join(number.to_string())), "{compress}");
            }
            let sum = |of: fn(&StagedRank) -> u64| staged.iter().map(of).sum::<u64>();
            let (served, sent) = (sum(|one| one.served_bytes), sum(|one| one.sent_bytes));
            // In the end game a segment may be sent twice.
            prop_assert!(served >= sum(|one| one.received_bytes), "plain bytes on both sides");
            prop_assert!(staged.iter().all(|one| one.problem.is_none()), "{staged:?}");
            prop_assert!(sent == served || compress != Compress::Never && sent < served);
        }
    }
}

#[test]
fn runs_of_one_byte_cross_as_little() {
    let zeros = TestTree::of(&[vec![0; 1_000_000], vec![1; 300_000]]);
    let to = tempfile::tempdir().expect("a folder");
    let staged = zeros.stage(to.path(), (Compress::Always, Decider::Tracker));
    assert!(is_same(&zeros, &to.path().join("3")));
    let sum = |of: fn(&StagedRank) -> u64| staged.iter().map(of).sum::<u64>();
    assert!(sum(|one| one.served_bytes) >= 2 * 300_000, "{staged:?}");
    assert!(sum(|one| one.sent_bytes) * 20 < sum(|one| one.served_bytes), "{staged:?}");
}

#[test]
fn memory_for_frames_is_set_aside_only_where_frames_cross() {
    let tree = TestTree::of(&[vec![1; 3_000_000]]);
    let to = tempfile::tempdir().expect("a folder");
    let slots = |compress, near: &[bool]| {
        tree.part(to.path(), None, (compress, Decider::Tracker)).slots(near)
    };
    let (one_host, two_hosts) = ([true; 4], [true, true, false, true]);
    let all = slots(Compress::Never, &two_hosts);
    assert_eq!(slots(Compress::Auto, &one_host), all);
    assert!(slots(Compress::Auto, &two_hosts) < all);
    assert!(slots(Compress::Always, &one_host) < all);
}

/// What becomes of payloads that come for a segment, one after another.
fn checked(
    tree: &TestTree,
    takes_frames: bool,
    payloads: &[&[u8]],
    segment: SegmentId,
) -> Vec<bool> {
    let mut plain = vec![0; tree.layout.segment_bytes()];
    let bytes = tree.source().read(segment, &mut plain).expect("it is there");
    let digest = SegmentDigest::of(&tree.layout, segment, &plain[..bytes]).digest;
    let to = tempfile::tempdir().expect("a folder");
    let disk = Disk {
        layout: Arc::clone(&tree.layout),
        source: None,
        destinations: tree.destinations(to.path()),
        takes_frames,
    };
    let parker = Parker::new();
    let workers = TreeWorkers::start(&Arc::new(disk), 1, parker.unparker(), None);
    let workers = workers.expect("there are threads");
    let pool = Pool::new(1, tree.layout.segment_bytes()).expect("a little memory");
    let slot_with = |payload: &[u8]| -> FilledSlot {
        let slot = std::iter::repeat_with(|| {
            thread::yield_now();
            pool.take()
        });
        let mut slot = slot.flatten().next().expect("it comes back");
        slot.bytes_mut()[..payload.len()].copy_from_slice(payload);
        slot.fill(payload.len())
    };
    let is_valid = |payload: &&[u8]| {
        let slot = slot_with(payload);
        workers.begin(Task::Check { from: NodeId(1), segment, digest, slot });
        loop {
            match workers.next() {
                Some(Done::Checked { sealed, .. }) => {
                    let found = sealed.as_ref();
                    assert!(found.is_none_or(|found| *found.bytes() == plain[..bytes]));
                    return found.is_some();
                }
                Some(_) => {}
                None => parker.park(),
            }
        }
    };
    payloads.iter().map(is_valid).collect()
}

#[test]
fn what_is_neither_the_segment_nor_its_frame_is_corrupt() {
    let frame_of = |plain: &[u8]| {
        let mut room = vec![0; plain.len()];
        let bytes = FrameCodec::default().compress(plain, &mut room).expect("it is shorter");
        room.truncate(bytes);
        room
    };
    // A part of a large file, and several small ones in one segment.
    let tree = TestTree::of(&[vec![1; 40_000], vec![2; 3_000], vec![3; 3_000]]);
    let segments = (0..tree.layout.segment_count()).map(SegmentId);
    let is_packed =
        |segment: SegmentId| matches!(tree.layout.place(segment), SegmentPlace::Packed(_));
    assert!(segments.clone().any(is_packed) && !segments.clone().all(is_packed));
    for segment in segments {
        let mut plain = vec![0; tree.layout.segment_bytes()];
        let bytes = tree.source().read(segment, &mut plain).expect("it is there");
        plain.truncate(bytes);
        let frame = frame_of(&plain);
        let (bomb, other) = (frame_of(&vec![0; 1 << 20]), frame_of(&vec![9; bytes]));
        let payloads: [&[u8]; 8] = [
            &frame,
            &plain,
            &bomb,
            &other,
            &frame[..frame.len() - 1],
            &plain[..bytes - 1],
            &[],
            &frame,
        ];
        let expected = [true, true, false, false, false, false, false, true];
        assert_eq!(checked(&tree, true, &payloads, segment), expected, "{segment:?}");
        let expected = [false, true, false, false, false, false, false, false];
        assert_eq!(checked(&tree, false, &payloads, segment), expected, "{segment:?}");
    }
}
