//! Nothing off the wire is believed: a message that can't be is an error that names its sender, and the
//! node that got it neither panics nor obeys.

#[path = "wire/broadcast.rs"]
mod broadcast;
#[path = "wire/deciding.rs"]
mod deciding;

use arrayvec::ArrayVec;
use mpiswarm::config::{Config, FAILED_FILES_MAX, PART_BYTES_MAX, PROBLEM_BYTES_MAX};
use mpiswarm::manifest::{Block, FileId, NodeId, SegmentId};
use mpiswarm::protocol::registration::{Catalogue, Listing};
use mpiswarm::protocol::{
    Ask, CheckResult, CorruptSegment, DoneReport, FailedFetch, FetchFailure, Handout, HandoutEntry,
    Input, Message, Node, Outbox, Output, OwnedEntry, Part, Peer, PostedReceives, ReadSegment,
    Registration, RequestedSegment, Tracker, UNREAD,
};
use mpiswarm::time::Timestamp;
use mpiswarm::verify::Digest;

const NODES: u32 = 4;
const SEGMENTS: u32 = 70;

fn entry(name: &str) -> OwnedEntry {
    OwnedEntry {
        name: name.into(),
        hashes: (0..SEGMENTS).map(|position| format!("{position:08x}\n")).collect(),
        digests: (0..SEGMENTS).map(|_| Digest([7; 32])).collect(),
    }
}

fn owner() -> Registration {
    Registration::Ready { owned: vec![entry("file")], wanted: Vec::new() }
}

fn wanter() -> Registration {
    Registration::Ready { owned: Vec::new(), wanted: vec!["file".into(), "nowhere".into()] }
}

fn part(content: &impl serde::Serialize) -> Part {
    let bytes = postcard::to_allocvec(content).expect("plain data");
    Part { index: 0, last: true, bytes }
}

fn hear(node: &mut impl Node, from: u32, message: &Message, out: &mut Outbox) -> Option<String> {
    let input = Input::Message { from: NodeId(from), message };
    node.handle(Timestamp(1), input, out).err().map(|error| error.to_string())
}

fn registering() -> (Tracker, Outbox) {
    let mut out = Outbox::default();
    let mut tracker = Tracker::new(NODES, Config::for_segments_of(1024), 1);
    assert_eq!(tracker.handle(Timestamp(0), Input::Start, &mut out), Ok(()));
    (tracker, out)
}

/// A tracker whose swarm of one owner and two others is open.
fn open_tracker() -> (Tracker, Outbox) {
    let (mut tracker, mut out) = registering();
    for (rank, registration) in (1..).zip([owner(), wanter(), wanter()]) {
        assert_eq!(
            hear(&mut tracker, rank, &Message::Register(part(&registration)), &mut out),
            None
        );
    }
    for rank in 1..NODES {
        let ready = Message::Ready { problem: None };
        assert_eq!(hear(&mut tracker, rank, &ready, &mut out), None);
    }
    assert!(tracker.outcome().opened.is_some());
    (tracker, out)
}

fn catalogue() -> Catalogue {
    let listing = Listing { file: FileId(0), first: 0, count: SEGMENTS };
    Catalogue { segments: SEGMENTS, owned: Vec::new(), wanted: vec![Some(listing), None] }
}

/// A peer that has registered and waits for its catalogue.
fn reading_peer() -> (Peer, Outbox) {
    let mut out = Outbox::default();
    let mut peer = Peer::new((NodeId(2), NODES), &wanter(), Config::for_segments_of(1024));
    assert_eq!(peer.handle(Timestamp(0), Input::Start, &mut out), Ok(()));
    assert_eq!(hear(&mut peer, 0, &Message::Registered { index: 0 }, &mut out), None);
    (peer, out)
}

/// A peer that fetches.
fn open_peer() -> (Peer, Outbox) {
    let (mut peer, mut out) = reading_peer();
    assert_eq!(hear(&mut peer, 0, &Message::Described(part(&catalogue())), &mut out), None);
    let reserved = Input::Reserved { problem: None };
    assert_eq!(peer.handle(Timestamp(1), reserved, &mut out), Ok(()));
    assert_eq!(hear(&mut peer, 0, &Message::Open, &mut out), None);
    (peer, out)
}

fn handout(segment: u32, holder: u32, answers: u32) -> Message {
    let digest = Digest([7; 32]);
    let holders = [NodeId(holder)].into_iter().collect();
    let entry = HandoutEntry { segment: SegmentId(segment), digest, holders };
    let entries = [entry].into_iter().collect();
    Message::Handout(Handout { answers, entries, ..Handout::default() })
}

/// What peers and tracker say; each row is told to both, and at most one of them may hear it.
fn every_kind() -> Vec<Message> {
    vec![
        Message::Register(part(&owner())),
        Message::Registered { index: 0 },
        Message::Describe { index: 0 },
        Message::Described(part(&catalogue())),
        Message::Ready { problem: None },
        Message::Open,
        Message::Ask(Ask::default()),
        Message::Handout(Handout::default()),
        Message::Complete { segments: 0 },
        Message::Done(Box::default()),
        Message::Acknowledged { answers: 0, busy: false },
        Message::Lost { node: NodeId(3) },
        Message::Stop,
        Message::Bye,
        Message::Request { segments: requested(&[0]) },
        Message::Unservable { segment: SegmentId(3), request: 1 },
        Message::Decline { segment: SegmentId(0), request: 1 },
        Message::Withdraw { segment: SegmentId(0), request: 1 },
        Message::Withdrawn { segment: SegmentId(0), request: 1 },
    ]
}

fn requested(ids: &[u32]) -> ArrayVec<RequestedSegment, 16> {
    ids.iter().map(|&id| SegmentId(id).into()).collect()
}

/// A request of a segment with such receives.
fn posted(tag: u16, fragment_log2: u8) -> Message {
    let posted = PostedReceives { tag, fragment_log2, slot_bytes: 1024 };
    let segment = RequestedSegment { posted, ..SegmentId(1).into() };
    Message::Request { segments: [segment].into_iter().collect() }
}

#[test]
fn every_kind_has_one_kind_of_sender() {
    for message in every_kind() {
        let kind = format!("{message:?}");
        let to_tracker = {
            let (mut tracker, mut out) = open_tracker();
            hear(&mut tracker, 2, &message, &mut out)
        };
        let to_peer = [0, 3].map(|from| {
            let (mut peer, mut out) = open_peer();
            hear(&mut peer, from, &message, &mut out)
        });
        let [from_tracker, from_peer] = to_peer;
        let all = [to_tracker, from_tracker, from_peer];
        let heard = all.iter().filter(|error| error.is_none()).count();
        assert_eq!(heard, 1, "{kind}: {all:?}");
        for (error, from) in all.iter().zip([2, 0, 3]) {
            let Some(error) = error else { continue };
            let expected = format!("rank {from} sent an invalid message: ");
            assert!(error.starts_with(&expected), "{error}");
            assert!(error.ends_with(", which it may not send"), "{error}");
        }
    }
}

#[test]
fn nobody_outside_the_run_is_heard() {
    for message in every_kind() {
        for from in [0, NODES, u32::MAX] {
            let (mut tracker, mut out) = open_tracker();
            assert!(hear(&mut tracker, from, &message, &mut out).is_some(), "{message:?} {from}");
        }
        for from in [2, NODES, u32::MAX] {
            let (mut peer, mut out) = open_peer();
            assert!(hear(&mut peer, from, &message, &mut out).is_some(), "{message:?} {from}");
        }
    }
}

fn ask_of(blocks: &[(u32, u64)]) -> Message {
    let blocks = blocks.iter().map(|&(index, bits)| Block { index, bits }).collect();
    Message::Ask(Ask { sequence: 1, room: 4, blocks, ..Ask::default() })
}

fn failed(segment: u32, holder: u32) -> Message {
    let (segment, holder) = (SegmentId(segment), NodeId(holder));
    let failed = FailedFetch { segment, holder, failure: FetchFailure::Corrupt, said: 1 };
    let failed = [failed].into_iter().collect();
    Message::Ask(Ask { sequence: 1, failed, ..Ask::default() })
}

fn verified(segment: u32) -> Message {
    let verified = [SegmentId(segment)].into_iter().collect();
    Message::Ask(Ask { sequence: 1, verified, ..Ask::default() })
}

fn read(segments: std::ops::Range<u32>, digest: Digest) -> Message {
    let read = segments.map(|segment| ReadSegment { segment: SegmentId(segment), digest });
    Message::Ask(Ask { sequence: 1, read: read.collect(), ..Ask::default() })
}

fn done(report: DoneReport) -> Message {
    Message::Done(Box::new(report))
}

fn corrupt(segment: u32, holder: u32) -> Message {
    let (segment, holder) = (SegmentId(segment), NodeId(holder));
    let corrupt = [CorruptSegment { segment, holder, times: 3 }].into_iter().collect();
    done(DoneReport { corrupt, ..DoneReport::default() })
}

fn report_of(files: Vec<FileId>) -> Message {
    done(DoneReport { failed_files: files, ..DoneReport::default() })
}

#[test]
fn a_tracker_checks_every_number() {
    let long: Box<str> = "x".repeat(PROBLEM_BYTES_MAX + 1).into();
    let problems = [long.clone()].into_iter().collect();
    let cannot = Ask { sequence: 1, problem: Some(long.clone()), ..Ask::default() };
    let broken = DoneReport { broken: Some(long.clone()), ..DoneReport::default() };
    for (message, what) in [
        (read(0..65, Digest([7; 32])), "65 segments read, of at most 64"),
        (read(70..71, Digest([7; 32])), "segment 70 of 70"),
        (read(3..4, UNREAD), "segment 3 read, with the digest of none"),
        (Message::Ask(cannot), "a problem of 1025 bytes, of at most 1024"),
        (done(broken), "a problem of 1025 bytes, of at most 1024"),
        (ask_of(&[(2, 1)]), "block 2 of segments, of which there are 2, or twice"),
        (ask_of(&[(1, 1 << 6)]), "block 1 of segments, of which there are 2, or twice"),
        (ask_of(&[(u32::MAX, 1)]), "block 4294967295 of segments, of which there are 2, or twice"),
        (ask_of(&[(0, 1), (1, 1), (0, 2)]), "block 0 of segments, of which there are 2, or twice"),
        (verified(70), "segment 70 of 70"),
        (failed(u32::MAX, 1), "segment 4294967295 of 70"),
        (failed(0, 4), "rank 4 as a holder, of 4 ranks"),
        (failed(0, 0), "rank 0 as a holder, of 4 ranks"),
        (Message::Complete { segments: 71 }, "71 segments, where 70 are wanted"),
        (
            done(DoneReport { segments: 71, ..DoneReport::default() }),
            "71 segments, where 70 are wanted",
        ),
        (
            done(DoneReport { files: 2, ..DoneReport::default() }),
            "a report of 2 files, of at most 1",
        ),
        (report_of(vec![FileId(7)]), "file 7 of 1"),
        (
            report_of(vec![FileId(0); FAILED_FILES_MAX + 1]),
            "a report of 4097 files, of at most 4096",
        ),
        (corrupt(70, 1), "segment 70 of 70"),
        (corrupt(0, 9), "rank 9 as a holder, of 4 ranks"),
        (
            done(DoneReport { problems, ..DoneReport::default() }),
            "a problem of 1025 bytes, of at most 1024",
        ),
        (Message::Ready { problem: Some(long) }, "a problem of 1025 bytes, of at most 1024"),
    ] {
        let (mut tracker, mut out) = open_tracker();
        let error = hear(&mut tracker, 2, &message, &mut out);
        let expected = format!("rank 2 sent an invalid message: {what}");
        assert_eq!(error, Some(expected), "{message:?}");
    }
}

#[test]
fn a_tracker_takes_parts_of_their_length_and_no_others() {
    let part = |index, last, bytes| Message::Register(Part { index, last, bytes: vec![0; bytes] });
    let long = "a part of 49153 bytes that is not as long as a part is";
    for (message, what) in [
        (part(0, true, PART_BYTES_MAX + 1), long),
        (part(0, false, 10), "a part of 10 bytes that is not as long as a part is"),
        (part(0, false, 0), "a part of 0 bytes that is not as long as a part is"),
        (Message::Ask(Ask::default()), "Ask, which it may not send"),
        (Message::Complete { segments: 0 }, "Complete, which it may not send"),
    ] {
        let (mut tracker, mut out) = registering();
        let error = hear(&mut tracker, 1, &message, &mut out).expect("it can't be");
        assert_eq!(error, format!("rank 1 sent an invalid message: {what}"));
    }
    // Full parts without end have a bound.
    let (mut tracker, mut out) = registering();
    let error = (0..).find_map(|index| {
        while out.take().is_some() {}
        hear(&mut tracker, 1, &part(index, false, PART_BYTES_MAX), &mut out)
    });
    assert!(error.expect("it ends").contains("more than 1073741824 bytes in all"));
}

#[test]
fn a_registration_that_cannot_be_is_refused_by_name() {
    let ready = |owned, wanted: &[&str]| Registration::Ready {
        owned,
        wanted: wanted.iter().map(|&name| name.into()).collect(),
    };
    let mut uneven = entry("file");
    uneven.digests = [Digest([1; 32])].into();
    let mut rude = entry("file");
    rude.hashes = "\u{1b}[2J\n".repeat(70).into();
    let mut blank = entry("file");
    blank.digests[3] = UNREAD;
    let refused = |reason: &str| part(&Registration::Refused { reason: reason.into() });
    for (registration, what) in [
        (Part { index: 0, last: true, bytes: vec![9; 5] }, "rank 2: its registration has parts"),
        (part(&ready(vec![uneven], &[])), "file: rank 2 registered 70 hashes and 1 digests"),
        (part(&ready(vec![rude], &[])), "file: rank 2 registered what is no hash"),
        (
            part(&ready(vec![blank], &[])),
            "file: rank 2 registered a segment with the digest of none",
        ),
        (part(&ready(vec![entry("../x")], &[])), "rank 2: \"../x\": a file name may not"),
        (part(&ready(Vec::new(), &["\u{1b}c"])), "rank 2: \"\\u{1b}c\": a file name may not"),
        (part(&ready(Vec::new(), &["a", "a"])), "rank 2 registered a twice"),
        (refused("rank 2: \u{1b}[2J\nno"), "rank 2: \u{fffd}[2J\u{fffd}no"),
    ] {
        let (mut tracker, mut out) = registering();
        for (rank, part) in [(1, part(&owner())), (2, registration), (3, part(&wanter()))] {
            assert_eq!(hear(&mut tracker, rank, &Message::Register(part), &mut out), None);
        }
        let outcome = tracker.outcome();
        assert!(outcome.refused && outcome.errors.len() == 1, "{outcome:?}");
        assert!(outcome.errors[0].starts_with(what), "{outcome:?}");
    }
}

#[test]
fn a_peer_checks_every_number() {
    for (from, message, what) in [
        (0, handout(70, 1, 1), "segment 70 of 70"),
        (0, handout(0, 0, 1), "rank 0 as a holder, of 4 ranks"),
        (0, handout(0, 2, 1), "rank 2 as a holder, of 4 ranks"),
        (0, handout(0, u32::MAX, 1), "rank 4294967295 as a holder, of 4 ranks"),
        (0, handout(0, 1, 9), "an answer to ask 9, of 1"),
        (0, Message::Acknowledged { answers: 2, busy: false }, "an answer to ask 2, of 1"),
        (0, Message::Lost { node: NodeId(4) }, "rank 4 as a holder, of 4 ranks"),
        (0, Message::Lost { node: NodeId::TRACKER }, "rank 0 as a holder, of 4 ranks"),
        (3, Message::Request { segments: requested(&[1, 70]) }, "segment 70 of 70"),
        (3, posted(4_095, 14), "a request for fragments of 2^14 bytes, of 2^15 to 2^31"),
        (3, posted(4_095, 32), "a request for fragments of 2^32 bytes, of 2^15 to 2^31"),
        (3, posted(0, u8::MAX), "a request for fragments of 2^255 bytes, of 2^15 to 2^31"),
        (3, posted(4_096, 15), "a request with tag 4096 of 4096"),
        (3, posted(u16::MAX, 31), "a request with tag 65535 of 4096"),
        (3, Message::Decline { segment: SegmentId(70), request: 1 }, "segment 70 of 70"),
        (3, Message::Withdraw { segment: SegmentId(70), request: 1 }, "segment 70 of 70"),
        (
            3,
            Message::Withdrawn { segment: SegmentId(u32::MAX), request: 1 },
            "segment 4294967295 of 70",
        ),
    ] {
        let (mut peer, mut out) = open_peer();
        let error = hear(&mut peer, from, &message, &mut out);
        let expected = format!("rank {from} sent an invalid message: {what}");
        assert_eq!(error, Some(expected), "{message:?}");
    }
}

#[test]
fn a_peer_reserves_nothing_for_a_catalogue_that_does_not_fit() {
    let listing = |file, first, count| Some(Listing { file: FileId(file), first, count });
    let with = |segments, owned, wanted| Catalogue { segments, owned, wanted };
    let one = listing(0, 0, 70).expect("one");
    for (catalogue, what) in [
        (with(70, Vec::new(), vec![None]), "a catalogue that does not fit"),
        (with(70, vec![one], vec![None, None]), "a catalogue that does not fit"),
        (with(u32::MAX, Vec::new(), vec![None, None]), "a catalogue that does not fit"),
        (with(70, Vec::new(), vec![listing(0, 0, 71), None]), "segments 0 to 71 of 70, or twice"),
        (
            with(70, Vec::new(), vec![listing(0, u32::MAX, u32::MAX), None]),
            "segments 4294967295 to 8589934590 of 70, or twice",
        ),
        (
            with(70, Vec::new(), vec![listing(0, 0, 40), listing(1, 30, 40)]),
            "segments 30 to 70 of 70, or twice",
        ),
        (
            with(70, Vec::new(), vec![listing(0, 0, 40), listing(0, 40, 30)]),
            "a catalogue that does not fit",
        ),
    ] {
        let mut out = Outbox::default();
        let config = Config { segments_max: 1 << 20, ..Config::for_segments_of(1024) };
        let mut peer = Peer::new((NodeId(2), NODES), &wanter(), config);
        assert_eq!(peer.handle(Timestamp(0), Input::Start, &mut out), Ok(()));
        assert_eq!(hear(&mut peer, 0, &Message::Registered { index: 0 }, &mut out), None);
        let error = hear(&mut peer, 0, &Message::Described(part(&catalogue)), &mut out);
        let error = error.expect("it does not fit");
        assert!(error.contains(what), "{error}");
        while let Some(output) = out.take() {
            assert_ne!(output, Output::Reserve);
        }
    }
    let (mut peer, mut out) = reading_peer();
    let garbled = Part { index: 0, last: true, bytes: vec![0xff; 9] };
    let error = hear(&mut peer, 0, &Message::Described(garbled), &mut out);
    assert!(error.expect("it does not decode").ends_with("parts that do not decode together"));
}

/// A peer can't have a holder banned for segments that it was never handed.
#[test]
fn a_holder_is_not_slandered() {
    let (mut tracker, mut out) = open_tracker();
    for sequence in 1..100 {
        let Message::Ask(ask) = failed(0, 1) else { panic!("it is an ask") };
        let failed = ask.failed.iter().map(|f| FailedFetch { said: sequence, ..*f }).collect();
        let ask = Message::Ask(Ask { sequence, failed, ..ask });
        assert_eq!(hear(&mut tracker, 2, &ask, &mut out), None);
    }
    while out.take().is_some() {}
    assert_eq!(hear(&mut tracker, 3, &ask_of(&[(0, 1)]), &mut out), None);
    let mut handed = 0;
    while let Some(output) = out.take() {
        let Output::Send { to, message } = output else { continue };
        if let Message::Handout(handout) = out.read(message) {
            assert_eq!(to, NodeId(3));
            handed += handout.entries.len();
        }
    }
    assert_eq!(handed, 1);
}

/// Gives the peer that input, and returns its requests and withdrawals, and whether it gave up a slot.
fn outputs(peer: &mut Peer, seconds: u64, input: Input<'_>) -> (Vec<(&'static str, u32)>, bool) {
    let (mut out, mut said, mut forgot) = (Outbox::default(), Vec::new(), false);
    assert_eq!(peer.handle(Timestamp(seconds * 1_000_000_000), input, &mut out), Ok(()));
    while let Some(output) = out.take() {
        forgot |= matches!(output, Output::Forget { .. });
        let Output::Send { message, .. } = output else { continue };
        if let Message::Request { segments } = out.read(message) {
            said.push(("request", segments[0].request));
        } else if let Message::Withdraw { request, .. } = out.read(message) {
            said.push(("withdraw", *request));
        }
    }
    (said, forgot)
}

/// A holder that was stopped answers an old request while it sends by a new one.
#[test]
fn an_answer_to_an_earlier_request_does_not_end_this_one() {
    let (mut peer, _) = open_peer();
    let segment = SegmentId(0);
    let hear = |peer: &mut Peer, seconds, from, message: &Message| {
        outputs(peer, seconds, Input::Message { from: NodeId(from), message })
    };
    let answers = |request| {
        let decline = Message::Decline { segment, request };
        [decline, Message::Unservable { segment, request }, Message::Withdrawn { segment, request }]
    };
    assert_eq!(hear(&mut peer, 1, 0, &handout(0, 1, 1)), (vec![("request", 1)], false));
    for seconds in [4, 7] {
        assert_eq!(outputs(&mut peer, seconds, Input::Deadline), (vec![("withdraw", 1)], false));
    }
    let [_, _, withdrawn] = answers(1);
    assert_eq!(hear(&mut peer, 8, 1, &withdrawn), (Vec::new(), true));
    assert_eq!(hear(&mut peer, 8, 0, &handout(0, 1, 1)), (vec![("request", 2)], false));
    for _ in 0..2 {
        for answer in answers(1) {
            assert_eq!(hear(&mut peer, 9, 1, &answer), (Vec::new(), false), "{answer:?}");
        }
        outputs(&mut peer, 11, Input::Deadline);
    }
    let [_, _, withdrawn] = answers(2);
    assert_eq!(hear(&mut peer, 12, 1, &withdrawn), (Vec::new(), true));
}
