//! Messages as bytes: every one comes back as it was, the largest ones fit, and bytes that are no
//! message are refused without a panic.

use mpiswarm::config::{
    BLOCKS_MAX, DIGESTS_MAX, FAILED_FETCHES_MAX, FAILED_FILES_MAX, HANDOUT_MAX, HOLDERS_MAX,
    MESSAGE_BYTES_MAX, PART_BYTES_MAX, PROBLEM_BYTES_MAX, PROBLEMS_MAX, SUBTREE_NODES_MAX,
    WINDOW_MAX,
};
use mpiswarm::manifest::{Block, FileId, NodeId, SegmentId};
use mpiswarm::protocol::codec::{CodecError, decode, encode};
use mpiswarm::protocol::{
    Ask, CorruptSegment, DoneReport, FailedFetch, FetchFailure, Handout, HandoutEntry, Lacking,
    Message, Part, PostedReceives, ReadSegment, RequestedSegment, SubtreeReport, SubtreeStage,
    SubtreeSummary,
};
use mpiswarm::verify::Digest;
use proptest::collection::vec;
use proptest::prelude::*;

fn segment() -> impl Strategy<Value = SegmentId> {
    any::<u32>().prop_map(SegmentId)
}

fn number() -> impl Strategy<Value = (SegmentId, u32)> {
    (segment(), any::<u32>())
}

fn requested() -> impl Strategy<Value = RequestedSegment> {
    let posted = any::<(u16, u8, u32)>();
    (number(), posted).prop_map(|((segment, request), (tag, fragment_log2, slot_bytes))| {
        let posted = PostedReceives { tag, fragment_log2, slot_bytes };
        RequestedSegment { segment, request, posted }
    })
}

fn node() -> impl Strategy<Value = NodeId> {
    any::<u32>().prop_map(NodeId)
}

fn part() -> impl Strategy<Value = Part> {
    (any::<u32>(), any::<bool>(), vec(any::<u8>(), 0..500)).prop_map(|(index, last, bytes)| Part {
        index,
        last,
        bytes,
    })
}

fn failed() -> impl Strategy<Value = FailedFetch> {
    let failure = prop::sample::select(vec![
        FetchFailure::Busy,
        FetchFailure::TimedOut,
        FetchFailure::Corrupt,
        FetchFailure::Gone,
        FetchFailure::Unservable,
        FetchFailure::Unreadable,
    ]);
    (segment(), node(), failure, any::<u32>())
        .prop_map(|(segment, holder, failure, said)| FailedFetch { segment, holder, failure, said })
}

fn read() -> impl Strategy<Value = ReadSegment> {
    (segment(), any::<[u8; 32]>())
        .prop_map(|(segment, digest)| ReadSegment { segment, digest: Digest(digest) })
}

fn ask() -> impl Strategy<Value = Ask> {
    let block = any::<(u32, u64)>().prop_map(|(index, bits)| Block { index, bits });
    let problem = proptest::option::of(".{0,40}").prop_map(|text| text.map(String::into_boxed_str));
    let lists = (
        vec(block, 0..=BLOCKS_MAX),
        vec(segment(), 0..=WINDOW_MAX),
        vec(failed(), 0..=FAILED_FETCHES_MAX),
        vec(read(), 0..=WINDOW_MAX),
        problem,
    );
    (any::<(u32, u16, bool, bool, u16)>(), lists).prop_map(
        |(plain, (blocks, verified, failed, read, problem))| Ask {
            sequence: plain.0,
            room: plain.1,
            end_game: plain.2,
            waits: plain.3,
            blocks: blocks.into_iter().collect(),
            verified: verified.into_iter().collect(),
            known: plain.4,
            failed: failed.into_iter().collect(),
            read: read.into_iter().collect(),
            problem,
        },
    )
}

fn handout() -> impl Strategy<Value = Handout> {
    let entry = (segment(), any::<[u8; 32]>(), vec(node(), 0..=HOLDERS_MAX)).prop_map(
        |(segment, digest, holders)| HandoutEntry {
            segment,
            digest: Digest(digest),
            holders: holders.into_iter().collect(),
        },
    );
    (any::<(u32, bool, bool, bool)>(), vec(entry, 0..=HANDOUT_MAX)).prop_map(
        |((answers, unobtainable, open, busy), entries)| Handout {
            answers,
            unobtainable,
            open,
            busy,
            entries: entries.into_iter().collect(),
        },
    )
}

fn report() -> impl Strategy<Value = DoneReport> {
    (vec(".{0,40}", 0..=PROBLEMS_MAX), vec(any::<u32>(), 0..50), any::<(u32, u32)>()).prop_map(
        |(problems, failed, more)| DoneReport {
            segments: more.0,
            files: more.1,
            problems: problems.into_iter().map(String::into_boxed_str).collect(),
            more_problems: more.0,
            corrupt: [CorruptSegment {
                segment: SegmentId(more.0),
                holder: NodeId(more.1),
                times: more.1,
            }]
            .into_iter()
            .collect(),
            more_corrupt: more.1,
            failed_files: failed.into_iter().map(FileId).collect(),
            more_failed_files: more.1,
            broken: (more.0 % 2 == 0).then(|| "no space".into()),
        },
    )
}

fn subtree() -> impl Strategy<Value = SubtreeReport> {
    let stage = prop::sample::select(vec![
        SubtreeStage::Preparing,
        SubtreeStage::Ready,
        SubtreeStage::Settled,
        SubtreeStage::Leaving,
    ]);
    let lacking = (any::<(u32, u64, bool)>(), vec(segment(), 0..=PROBLEMS_MAX));
    let lists = (vec((node(), any::<u64>()), 0..50), vec(node(), 0..50));
    (stage, lacking, lists).prop_map(|(stage, lacking, (finished, lost))| {
        let ((count, hash, differs), first) = lacking;
        let lacking = Lacking { count, hash, differs, first: first.into_iter().collect() };
        SubtreeReport { summary: SubtreeSummary { stage, lacking }, finished, lost }
    })
}

/// Every variant.
fn message() -> impl Strategy<Value = Message> {
    let plain = prop_oneof![
        any::<u32>().prop_map(|segments| Message::Complete { segments }),
        Just(Message::Open),
        any::<(u32, bool)>().prop_map(|(answers, busy)| Message::Acknowledged { answers, busy }),
        proptest::option::of(".{0,40}")
            .prop_map(|line| Message::Ready { problem: line.map(String::into_boxed_str) }),
        Just(Message::Stop),
        Just(Message::Bye),
        any::<u32>().prop_map(|index| Message::Registered { index }),
        any::<u32>().prop_map(|index| Message::Describe { index }),
        vec(requested(), 0..=HANDOUT_MAX)
            .prop_map(|segments| Message::Request { segments: segments.into_iter().collect() }),
        number().prop_map(|(segment, request)| Message::Decline { segment, request }),
        number().prop_map(|(segment, request)| Message::Unservable { segment, request }),
        number().prop_map(|(segment, request)| Message::Withdraw { segment, request }),
        number().prop_map(|(segment, request)| Message::Withdrawn { segment, request }),
        segment().prop_map(|segment| Message::Offer { segment }),
        any::<(u32, bool)>().prop_map(|(segment, is_full)| {
            Message::Refuse { segment: SegmentId(segment), is_full }
        }),
        segment().prop_map(|segment| Message::Coming { segment }),
        (vec(any::<(u32, u64)>(), 0..=BLOCKS_MAX), any::<bool>()).prop_map(|(blocks, left_out)| {
            let blocks = blocks.into_iter().map(|(index, bits)| Block { index, bits });
            Message::Holds { blocks: blocks.collect(), left_out }
        }),
        Just(Message::Probe),
        Just(Message::Alive),
        Just(Message::Query),
        any::<u32>().prop_map(|segments| Message::Progress { segments }),
        (vec(read(), 0..20), any::<bool>())
            .prop_map(|(read, is_over)| Message::Digests { read, is_over }),
    ];
    prop_oneof![
        5 => plain,
        1 => part().prop_map(Message::Register),
        1 => part().prop_map(Message::Described),
        2 => ask().prop_map(Message::Ask),
        2 => handout().prop_map(Message::Handout),
        1 => report().prop_map(|report| Message::Done(Box::new(report))),
        1 => subtree().prop_map(|report| Message::Subtree(Box::new(report))),
    ]
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    encode(message, &mut buffer).expect("it fits").to_vec()
}

proptest! {
    #[test]
    fn every_message_comes_back(message in message()) {
        prop_assert_eq!(decode(&encoded(&message)), Ok(message));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..2000)) {
        drop(decode(&bytes));
    }

    #[test]
    fn damaged_messages_do_not_panic(
        message in message(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encoded(&message);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        drop(decode(&bytes));
    }

    #[test]
    fn what_follows_or_lacks_is_noticed(message in message(), tail in vec(any::<u8>(), 1..20)) {
        let mut bytes = encoded(&message);
        let whole = bytes.len();
        prop_assert!(decode(&bytes[..whole - 1]).is_err());
        bytes.extend(&tail);
        prop_assert_eq!(decode(&bytes), Err(CodecError::Trailing(tail.len())));
    }
}

#[test]
fn the_largest_messages_fit() {
    let (segment, node) = (SegmentId(u32::MAX), NodeId(u32::MAX));
    let problem: Box<str> = "x".repeat(PROBLEM_BYTES_MAX).into();
    let failed = FailedFetch { segment, holder: node, failure: FetchFailure::Gone, said: u32::MAX };
    let ask = Ask {
        sequence: u32::MAX,
        room: u16::MAX,
        end_game: true,
        waits: true,
        blocks: [Block { index: u32::MAX, bits: u64::MAX }; BLOCKS_MAX].into(),
        verified: [segment; WINDOW_MAX].into(),
        known: u16::MAX,
        failed: [failed; FAILED_FETCHES_MAX].into(),
        read: vec![ReadSegment { segment, digest: Digest([0xff; 32]) }; WINDOW_MAX],
        problem: Some(problem.clone()),
    };
    let entry =
        HandoutEntry { segment, digest: Digest([0xff; 32]), holders: [node; HOLDERS_MAX].into() };
    let handout = Handout {
        answers: u32::MAX,
        unobtainable: true,
        open: true,
        busy: true,
        entries: std::iter::repeat_n(entry, HANDOUT_MAX).collect(),
    };
    let report = DoneReport {
        segments: u32::MAX,
        files: u32::MAX,
        problems: std::iter::repeat_n(problem.clone(), PROBLEMS_MAX).collect(),
        more_problems: u32::MAX,
        corrupt: [CorruptSegment { segment, holder: node, times: u32::MAX }; PROBLEMS_MAX].into(),
        more_corrupt: u32::MAX,
        failed_files: vec![FileId(u32::MAX); FAILED_FILES_MAX],
        more_failed_files: u32::MAX,
        broken: Some(problem.clone()),
    };
    let part = Part { index: u32::MAX, last: true, bytes: vec![0xff; PART_BYTES_MAX] };
    let first = [segment; PROBLEMS_MAX].into();
    let lacking = Lacking { count: u32::MAX, hash: u64::MAX, differs: true, first };
    let subtree = SubtreeReport {
        summary: SubtreeSummary { stage: SubtreeStage::Leaving, lacking },
        finished: vec![(node, u64::MAX); SUBTREE_NODES_MAX],
        lost: vec![node; SUBTREE_NODES_MAX],
    };
    let blocks = [Block { index: u32::MAX, bits: u64::MAX }; BLOCKS_MAX].into();
    let read = vec![ReadSegment { segment, digest: Digest([0xff; 32]) }; DIGESTS_MAX];
    for message in [
        Message::Digests { read, is_over: true },
        Message::Subtree(Box::new(subtree)),
        Message::Holds { blocks, left_out: true },
        Message::Ask(ask),
        Message::Handout(handout),
        Message::Done(Box::new(report)),
        Message::Register(part.clone()),
        Message::Described(part),
    ] {
        assert_eq!(decode(&encoded(&message)), Ok(message));
    }
}

#[test]
fn a_message_that_does_not_fit_is_refused() {
    let part = Part { index: 0, last: true, bytes: vec![0; MESSAGE_BYTES_MAX] };
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    assert_eq!(encode(&Message::Register(part), &mut buffer), Err(CodecError::TooLong));
}
