//! Runs over threads, and what happens when a node is silent.

use std::thread;
use std::time::Duration;

use super::download::start;
use super::endpoint::{Endpoint as _, Mailboxes, Tag};
use super::messages::{
    HolderList, HolderQuery, PeerMessage, PeerRequestInfo, ReceivedSegment, TrackerMessage,
    WantedSegment, decode, encode,
};
use super::segment_table::SegmentTable;
use super::{peer, run_threads, tracker, upload};
use crate::config::CORRUPT_TRIES_MAX;
use crate::driver::injection::Fault;
use crate::driver::job::{Inputs, Job};
use crate::manifest::{FileId, NodeId, PeerInput, SegmentId};
use crate::metrics::RankMetrics;
use crate::protocol::registration::{Catalogue, Listing};
use crate::protocol::violation::Bounds;
use crate::protocol::{Outcome, Registration, Violation};
use crate::spawn::tests::starve;
use crate::time::Clock;
use crate::transport::TransportError;
use crate::verify::Digest;

const TRACKER: NodeId = NodeId::TRACKER;
const SILENCE: Duration = Duration::from_millis(80);

/// Rank 1 owns a file, and all others want it.
fn job(peers: u32, segments: u32) -> Job {
    let hashes: String = (0..segments).map(|position| format!("{position:032x}\n")).collect();
    let owner = format!("1\nfile {segments}\n{hashes}0\n");
    let text = |peer| if peer == 1 { owner.as_str() } else { "0\n1\nfile\n" };
    let input = |peer| PeerInput::parse(text(peer).as_bytes()).expect("it is valid");
    let mut job = Job::new(Inputs::Made((1..=peers).map(input).collect()), 1024);
    job.config.silence_patience = SILENCE;
    job.config.registration_patience = SILENCE;
    job
}

fn run_tracker(mailboxes: &Mailboxes, job: &Job) -> Outcome {
    let ended = tracker::run(&mailboxes.endpoint(TRACKER), job, &Clock::start(), |_| ());
    ended.expect("it names who is lost").outcome
}

fn say(mailboxes: &Mailboxes, from: u32, message: &PeerMessage) {
    let endpoint = mailboxes.endpoint(NodeId(from));
    endpoint.send(TRACKER, Tag::ToTracker, &encode(message)).expect("it is open");
}

fn registration() -> PeerMessage {
    PeerMessage::Register(Registration::Ready { owned: Vec::new(), wanted: Vec::new() })
}

#[test]
fn the_owner_serves_at_most_half_of_what_eleven_want() {
    let mut job = job(12, 200);
    job.config.silence_patience = Duration::from_secs(60);
    job.config.registration_patience = Duration::from_secs(60);
    let ended = run_threads(&job, 13, &Clock::start(), |_| ()).expect("nobody fails");
    let served: Vec<_> = ended.metrics.iter().map(|node| node.served_segments).collect();
    assert_eq!(served.iter().sum::<u64>(), 11 * 200, "{served:?}");
    assert!(served[1] <= 11 * 100, "{served:?}");
}

#[test]
fn peers_that_begin_with_the_same_file_begin_in_other_parts_of_it() {
    let starts =
        |files, segments| (1..=12).map(move |node| start(NodeId(node), 13, files, segments));
    let one: Vec<_> = starts(1, 100).collect();
    assert_eq!(one, [7, 15, 23, 30, 38, 46, 53, 61, 69, 76, 84, 92]);
    let ten: Vec<_> = starts(10, 100).collect();
    assert_eq!(ten, [0, 0, 0, 0, 0, 0, 0, 0, 0, 50, 50, 50]);
    assert!(starts(1, 3).all(|start| start < 3));
    assert!(starts(100, 3).all(|start| start == 0));
}

#[test]
fn a_peer_that_does_not_register_is_named() {
    let (mailboxes, job) = (Mailboxes::new(3), job(2, 1));
    say(&mailboxes, 1, &registration());
    let outcome = thread::scope(|scope| {
        let tracker = scope.spawn(|| run_tracker(&mailboxes, &job));
        // The other peer waits, and says so.
        while !tracker.is_finished() {
            say(&mailboxes, 1, &PeerMessage::Alive { answer: true });
            thread::park_timeout(SILENCE / 8);
        }
        tracker.join().expect("it does not panic")
    });
    assert_eq!(outcome.lost, [NodeId(2)]);
    let error = "rank 2 did not register within 0.08 s: stopped or lost, or its input hangs";
    assert_eq!((outcome.errors, outcome.refused), (vec![error.to_owned()], true));
}

#[test]
fn a_peer_that_falls_silent_is_named() {
    let (mailboxes, job) = (Mailboxes::new(2), job(1, 1));
    say(&mailboxes, 1, &registration());
    say(&mailboxes, 1, &PeerMessage::Ready { problem: None });
    let outcome = run_tracker(&mailboxes, &job);
    assert_eq!((outcome.lost, outcome.refused), (vec![NodeId(1)], false));
    assert_eq!(outcome.errors, ["rank 1 is lost: it said nothing for 0.08 s"]);
}

#[test]
fn a_peer_names_a_tracker_that_falls_silent() {
    let (mailboxes, job) = (Mailboxes::new(2), job(1, 1));
    let setup = peer::prepare(&job, NodeId(1));
    let ended = peer::run(&mailboxes.endpoint(NodeId(1)), NodeId(1), &job, setup, &Clock::start());
    assert!(matches!(ended, Err(TransportError::Silent(TRACKER))), "{ended:?}");
}

/// A tracker that answers, and a holder that does not.
#[test]
fn a_peer_names_a_holder_that_falls_silent() {
    let (mailboxes, job) = (Mailboxes::new(3), job(2, 1));
    let listing = Some(Listing { file: FileId(0), first: 0, count: 1 });
    let list = HolderList {
        segments: vec![(SegmentId(0), Digest::of(b""))],
        holders: vec![PeerRequestInfo { peer: NodeId(1), requests: 0, has: 1 }],
    };
    let ended = thread::scope(|scope| {
        let peer = scope.spawn(|| {
            let setup = peer::prepare(&job, NodeId(2));
            peer::run(&mailboxes.endpoint(NodeId(2)), NodeId(2), &job, setup, &Clock::start())
        });
        let tracker = mailboxes.endpoint(TRACKER);
        while !peer.is_finished() {
            let received = tracker.receive(None, Tag::ToTracker, SILENCE).expect("it is open");
            let Some((from, bytes)) = received else { continue };
            let answer = match decode(from, &bytes).expect("it is a message") {
                PeerMessage::Register(_) => TrackerMessage::Catalogue(Catalogue {
                    owned: Vec::new(),
                    wanted: vec![listing],
                    segments: 1,
                }),
                PeerMessage::Ready { .. } => TrackerMessage::Open,
                PeerMessage::HolderQuery(_) => TrackerMessage::HolderList(list.clone()),
                PeerMessage::Alive { .. }
                | PeerMessage::FileFinished { .. }
                | PeerMessage::AllFinished { .. }
                | PeerMessage::Done(_)
                | PeerMessage::Report(_) => continue,
            };
            tracker.send(from, Tag::FromTracker, &encode(&answer)).expect("it is open");
        }
        peer.join().expect("it does not panic")
    });
    assert!(matches!(ended, Err(TransportError::Silent(NodeId(1)))), "{ended:?}");
}

/// Runs the job with ever more threads; those that run do not wait for one that can't be started.
#[test]
fn a_run_that_is_refused_a_thread_ends_with_what_to_do() {
    let mut job = job(3, 1);
    job.config.silence_patience = Duration::from_secs(60);
    for left in 0..3 {
        starve(left);
        let error = run_threads(&job, 4, &Clock::start(), |_| ()).expect_err("three peers");
        let expected = "rank 0: no thread can be started for a peer: ";
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn a_peer_that_is_refused_a_thread_registers_why() {
    let (mut job, out) = (job(2, 1), tempfile::tempdir().expect("a folder"));
    job.out = Some(out.path().to_owned());
    let mailboxes = Mailboxes::new(3);
    let setup = peer::prepare(&job, NodeId(1));
    mailboxes
        .endpoint(TRACKER)
        .send(NodeId(1), Tag::FromTracker, &encode(&TrackerMessage::Refused))
        .expect("it is open");
    starve(0);
    let ended = peer::run(&mailboxes.endpoint(NodeId(1)), NodeId(1), &job, setup, &Clock::start());
    assert!(ended.is_ok(), "{ended:?}");
    let said = mailboxes.endpoint(TRACKER).receive(None, Tag::ToTracker, SILENCE);
    let (from, bytes) = said.expect("it is open").expect("it said something");
    let PeerMessage::Register(Registration::Refused { reason }) =
        decode(from, &bytes).expect("a message")
    else {
        panic!("{bytes:?}");
    };
    assert!(reason.starts_with("rank 1: no thread can be started that writes files: "), "{reason}");
}

/// What nobody receives is an error over MPI: a peer that asks whether the tracker is there just when it is told the
/// end gets no other answer, and all that it said is received.
#[test]
fn nothing_is_left_unreceived_at_the_end() {
    let report = || PeerMessage::Report(RankMetrics::default().encode());
    let refused = PeerMessage::Register(Registration::Refused { reason: "no such input".into() });
    let asks = || PeerMessage::Alive { answer: true };
    let done = PeerMessage::Done(Box::default());
    let whole = vec![
        registration(),
        PeerMessage::Ready { problem: None },
        PeerMessage::AllFinished { got: Vec::new() },
        done,
        asks(),
        report(),
    ];
    let short = PeerMessage::Ready { problem: Some("no memory".into()) };
    for (messages, answers) in [
        (whole, 3),
        (vec![refused, asks(), report()], 1),
        (vec![registration(), short, asks(), report()], 2),
    ] {
        let (mailboxes, job) = (Mailboxes::new(2), job(1, 1));
        messages.iter().for_each(|message| say(&mailboxes, 1, message));
        let outcome = run_tracker(&mailboxes, &job);
        assert!(outcome.lost.is_empty(), "{outcome:?}");
        let peer = mailboxes.endpoint(NodeId(1));
        for _ in 0..answers {
            let answer = peer.receive(Some(TRACKER), Tag::FromTracker, SILENCE);
            assert!(answer.expect("it is open").is_some(), "{messages:?}");
        }
        assert!(mailboxes.are_empty(), "{messages:?}");
    }
}

#[test]
fn a_peer_whose_segments_come_late_is_not_silent() {
    let mut job = job(2, 2);
    // A busy machine must not look like a silent peer.
    job.config.silence_patience = Duration::from_secs(1);
    job.faults = vec![Fault::Delay(Duration::from_millis(1500))];
    let ended = run_threads(&job, 3, &Clock::start(), |_| ()).expect("nobody fails");
    assert_eq!((ended.outcome.lost, ended.progress.segments_verified), (Vec::new(), 2));
}

/// A tracker of two peers whose swarm is open, and what it says of what rank 1 sends then.
fn tracker_hears(messages: &[PeerMessage]) -> String {
    let (mailboxes, job) = (Mailboxes::new(3), job(2, 3));
    let setup = job.prepare(NodeId(1), 0).expect("memory");
    say(&mailboxes, 1, &PeerMessage::Register(setup.registration));
    let wanted = vec!["file".into()];
    let other = Registration::Ready { owned: Vec::new(), wanted };
    say(&mailboxes, 2, &PeerMessage::Register(other));
    for rank in [1, 2] {
        say(&mailboxes, rank, &PeerMessage::Ready { problem: None });
    }
    messages.iter().for_each(|message| say(&mailboxes, 2, message));
    let ended = tracker::run(&mailboxes.endpoint(TRACKER), &job, &Clock::start(), |_| ());
    ended.map(|ended| ended.outcome.errors.join("; ")).unwrap_or_else(|error| error.to_string())
}

#[test]
fn a_tracker_hears_each_thing_once_and_in_its_turn() {
    let finished = || PeerMessage::AllFinished { got: Vec::new() };
    let done = || PeerMessage::Done(Box::default());
    let query = |next: &[u32], waits| {
        // The owner has sent it wrong, so that there is something to wait for.
        let tried = if waits { vec![NodeId(1); CORRUPT_TRIES_MAX] } else { Vec::new() };
        let wanted = |&segment| WantedSegment { segment: SegmentId(segment), tried: tried.clone() };
        let next = next.iter().map(wanted).collect();
        PeerMessage::HolderQuery(HolderQuery { got: Vec::new(), next, waits })
    };
    let got = |count: u32| {
        let one = |segment| ReceivedSegment { segment: SegmentId(segment % 3), holder: NodeId(1) };
        (0..count).map(one).collect::<Vec<_>>()
    };
    let told = |count| {
        let (got, next) = (got(count), Vec::new());
        PeerMessage::HolderQuery(HolderQuery { got, next, waits: false })
    };
    for (messages, expected) in [
        (vec![PeerMessage::Ready { problem: None }], "Ready, which it may not send"),
        (vec![PeerMessage::Report(Vec::new())], "Report, which it may not send"),
        (vec![done()], "Done, which it may not send"),
        (vec![finished(), finished()], "AllFinished, which it may not send"),
        (vec![finished(), query(&[0], false)], "HolderQuery, which it may not send"),
        (vec![finished(), done(), done()], "Done, which it may not send"),
        (
            vec![finished(), done(), PeerMessage::FileFinished { file: FileId(0) }],
            "FileFinished, which it may not send",
        ),
        (vec![query(&[0], true), query(&[0], true)], "HolderQuery, which it may not send"),
        (vec![query(&[0], true), finished()], "AllFinished, which it may not send"),
        (vec![told(2), PeerMessage::AllFinished { got: got(2) }], "4 segments, where 3 are wanted"),
        (vec![query(&[0, 0, 0, 0], false)], "4 segments, where 3 are wanted"),
        (vec![query(&[3], false)], "segment 3 of 3"),
        (vec![PeerMessage::FileFinished { file: FileId(1) }], "file 1 of 1"),
    ] {
        let expected = format!("rank 2 sent an invalid message: {expected}");
        assert_eq!(tracker_hears(&messages), expected);
    }
    // What may be said leaves the tracker waiting for more.
    let heard = tracker_hears(&[told(2), PeerMessage::AllFinished { got: got(1) }, done()]);
    assert!(heard.contains("is lost: it said nothing"), "{heard}");
}

#[test]
fn an_uploader_serves_peers_and_what_there_is() {
    for (from, request, expected) in [
        (2, &[1, 0, 0, 0][..], "rank 2 sent an invalid message: segment 1 of 1"),
        (0, &[0, 0, 0, 0], "rank 0 sent an invalid message: rank 0 as a holder, of 3 ranks"),
        (2, &[], "rank 2 sent an invalid message: a request of 0 bytes, which has 4"),
        (2, &[0; 5], "rank 2 sent an invalid message: a request of 5 bytes, which has 4"),
    ] {
        let mailboxes = Mailboxes::new(3);
        let to = NodeId(1);
        mailboxes.endpoint(NodeId(from)).send(to, Tag::Request, request).expect("it is open");
        let bounds = Bounds { nodes: 3, segments: 1, files: 1 };
        let served = upload::run(&mailboxes.endpoint(to), to, &SegmentTable::default(), bounds);
        assert_eq!(served.expect_err("it can't be").to_string(), expected);
    }
}

#[test]
fn a_list_of_holders_names_what_was_asked_for_and_who_has_it() {
    let wanted = |segment| WantedSegment { segment: SegmentId(segment), tried: Vec::new() };
    let list = |segment, has| HolderList {
        segments: vec![(SegmentId(segment), Digest::of(b""))],
        holders: vec![PeerRequestInfo { peer: NodeId(1), requests: u32::MAX, has }],
    };
    let next = [wanted(4), wanted(5)];
    assert_eq!(list(5, 1).check_answers(&next, true), Ok(()));
    assert_eq!(list(5, 0).check_answers(&next, false), Ok(()), "it may fetch it just now");
    let unwanted = |segment| Err(Violation::Unwanted { segment });
    assert_eq!(list(5, 0).check_answers(&next, true), unwanted(5));
    assert_eq!(list(6, 1).check_answers(&next, false), unwanted(6));
    let tried = WantedSegment { tried: vec![NodeId(1); CORRUPT_TRIES_MAX], ..wanted(5) };
    assert_eq!(list(5, 1).check_answers(&[tried], true), unwanted(5));
}
