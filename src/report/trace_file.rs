//! Traces as a file that ui.perfetto.dev and chrome://tracing open.
//!
//! The Trace Event Format (N. Duca and D. Sinclair, Google), its JSON object form. A rank is a process, and a
//! thread of it a track. What a thread does is a complete event (`X`); these nest or don't overlap within a
//! track. What waits for others overlaps: an ask, a request, a send. It is a pair of async events (`b`, `e`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::escape;
use crate::metrics::trace::{RankTrace, SPANS_MAX, SpanKind, TraceSpan, TraceThread, TraceTrack};

/// The traces of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceFile<'a> {
    pub ranks: &'a [RankTrace],
    /// Whether all ranks are threads of one process, which has one clock.
    pub one_clock: bool,
    /// What was run, by name.
    pub about: &'a [(&'a str, &'a str)],
}

impl TraceFile<'_> {
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        self.write_to(&mut out)?;
        out.flush()
    }

    // An event a line, as it is made: a file may have a hundred bytes for each of millions of spans.
    fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let zero = self.before_opening();
        write!(out, "{{\"traceEvents\":[")?;
        let mut events = Events { out, written: 0, pairs: 0 };
        for rank in self.ranks {
            events.describe(rank)?;
            let shift = ClockShift { opened: self.opened(rank), zero };
            if rank.opened.is_some() {
                events.opening(rank.rank, zero)?;
            }
            let mut threads: Vec<TraceThread> =
                rank.tracks.iter().map(|track| track.thread).collect();
            threads.dedup();
            for thread in threads {
                let of_thread = |track: &&TraceTrack| track.thread == thread;
                let spans = rank.tracks.iter().filter(of_thread).flat_map(|track| &track.spans);
                let mut spans: Vec<&TraceSpan> = spans.collect();
                // A span before those that lie in it, where they begin at once.
                spans.sort_by_key(|span| (span.begin, std::cmp::Reverse(span.end)));
                for span in spans {
                    events.span(rank.rank, thread, span, shift)?;
                }
            }
        }
        writeln!(out, "\n],\"displayTimeUnit\":\"ns\",\"otherData\":{}}}", self.other())
    }

    /// When the swarm opened, on the clock of a rank, ns.
    fn opened(&self, rank: &RankTrace) -> u64 {
        let all = self.ranks.iter().filter_map(|one| one.opened);
        // With one clock there is one moment: the rest is the way of a message.
        if self.one_clock { all.min() } else { rank.opened }.unwrap_or(0)
    }

    /// The longest time from the first span of a rank until the swarm opened, ns: no time is negative.
    fn before_opening(&self) -> u64 {
        let before = |rank: &RankTrace| {
            let spans = rank.tracks.iter().flat_map(|track| &track.spans);
            let first = spans.map(|span| span.begin).min()?;
            Some(self.opened(rank).saturating_sub(first))
        };
        self.ranks.iter().filter_map(before).max().unwrap_or(0)
    }

    /// By how much a segment arrived before it was sent, at most, ns. The clocks are wrong by at least this.
    // Causality, as in L. Lamport, "Time, Clocks, and the Ordering of Events in a Distributed System", 1978.
    fn clock_error_least(&self) -> u64 {
        let zero = self.before_opening();
        let of_kind = |kind: SpanKind| {
            self.ranks.iter().flat_map(move |rank| {
                let shift = ClockShift { opened: self.opened(rank), zero };
                let spans = rank.tracks.iter().flat_map(|track| &track.spans);
                let spans = spans.filter(move |span| span.kind == kind);
                spans.filter_map(move |span| {
                    let times = [span.begin, span.end].map(|at| shift.time(at));
                    Some((rank.rank, u32::from(span.rank?), span.number, times))
                })
            })
        };
        let mut sent: BTreeMap<(u32, u32, u32), u64> = BTreeMap::new();
        for (from, to, segment, [begin, _]) in of_kind(SpanKind::Sent) {
            let first = sent.entry((from, to, segment)).or_insert(begin);
            *first = begin.min(*first);
        }
        let early = of_kind(SpanKind::Received).filter_map(|(to, from, segment, [_, end])| {
            Some(sent.get(&(from, to, segment))?.saturating_sub(end))
        });
        early.max().unwrap_or(0)
    }

    fn other(&self) -> Value {
        let tracks = self.ranks.iter().flat_map(|rank| {
            let dropped = rank.tracks.iter().filter(|track| track.dropped > 0);
            dropped.map(|track| {
                json!({"rank": rank.rank, "thread": name(track.thread), "spans": track.dropped})
            })
        });
        let all = self.ranks.iter().flat_map(|rank| &rank.tracks);
        let dropped = all.map(|track| track.dropped).fold(0, u64::saturating_add);
        let clocks = if self.one_clock {
            "one clock for all ranks"
        } else {
            "aligned at the opening of the swarm: the times of a rank are too early by the time that the message \
             of the opening took to it, which is not known; clock_error_least_us is by how much a segment \
             arrived before it was sent"
        };
        let mut other = json!({
            "program": concat!("mpiswarm ", env!("CARGO_PKG_VERSION")),
            "clocks": clocks,
            "clock_error_least_us": microseconds(self.clock_error_least()),
            "ranks": self.ranks.len(),
            "spans_max_per_buffer": SPANS_MAX,
            "dropped_spans": dropped,
            "dropped_by_thread": tracks.collect::<Vec<_>>(),
        });
        for (name, value) in self.about {
            other[*name] = escape::terminal(value).into();
        }
        other
    }
}

/// From the clock of a rank to that of the file.
#[derive(Clone, Copy)]
struct ClockShift {
    opened: u64,
    zero: u64,
}

impl ClockShift {
    fn time(self, at: u64) -> u64 {
        self.zero.saturating_add(at).saturating_sub(self.opened)
    }
}

/// The file as it grows.
struct Events<'a, W> {
    out: &'a mut W,
    written: u64,
    /// Pairs of async events, each with a number of its own.
    pairs: u64,
}

impl<W: Write> Events<'_, W> {
    fn add(&mut self, event: &Value) -> io::Result<()> {
        let comma = if self.written == 0 { "" } else { "," };
        self.written += 1;
        // Names in it are escaped already.
        write!(self.out, "{comma}\n{event}")
    }

    /// Names a rank and its threads.
    fn describe(&mut self, rank: &RankTrace) -> io::Result<()> {
        let name_of = format!("rank {} on {}", rank.rank, escape::terminal(&rank.host));
        self.metadata("process_name", (rank.rank, 0), &json!({"name": name_of}))?;
        self.metadata("process_sort_index", (rank.rank, 0), &json!({"sort_index": rank.rank}))?;
        let mut threads: Vec<TraceThread> = rank.tracks.iter().map(|track| track.thread).collect();
        threads.dedup();
        for thread in threads {
            let track = (rank.rank, number(thread));
            self.metadata("thread_name", track, &json!({"name": name(thread)}))?;
            self.metadata("thread_sort_index", track, &json!({"sort_index": track.1}))?;
        }
        Ok(())
    }

    fn metadata(&mut self, what: &str, (pid, tid): (u32, u32), args: &Value) -> io::Result<()> {
        self.add(&json!({"name": what, "ph": "M", "ts": 0, "pid": pid, "tid": tid, "args": args}))
    }

    fn opening(&mut self, pid: u32, at: u64) -> io::Result<()> {
        let at = microseconds(at);
        self.add(&json!({
            "name": "the swarm opens", "cat": "run", "ph": "i", "s": "p", "ts": at, "pid": pid, "tid": 0,
        }))
    }

    fn span(
        &mut self,
        pid: u32,
        thread: TraceThread,
        span: &TraceSpan,
        shift: ClockShift,
    ) -> io::Result<()> {
        let tid = number(thread);
        let (begin, end) = (shift.time(span.begin), shift.time(span.end));
        let (ts, until) = (microseconds(begin), microseconds(end));
        let Shown { name, category, args, is_async } = Shown::of(span);
        if !is_async {
            let dur = microseconds(end - begin);
            return self.add(&json!({
                "name": name, "cat": category, "ph": "X", "ts": ts, "dur": dur, "pid": pid, "tid": tid,
                "args": args,
            }));
        }
        self.pairs += 1;
        let id = format!("{:#x}", self.pairs);
        self.add(&json!({
            "name": name, "cat": category, "ph": "b", "id": id, "ts": ts, "pid": pid, "tid": tid, "args": args,
        }))?;
        self.add(&json!({
            "name": name, "cat": category, "ph": "e", "id": id, "ts": until, "pid": pid, "tid": tid,
        }))
    }
}

/// A span as a viewer shows it.
struct Shown {
    name: &'static str,
    category: &'static str,
    args: Value,
    is_async: bool,
}

impl Shown {
    fn of(span: &TraceSpan) -> Self {
        let TraceSpan { kind, rank, number, bytes, .. } = *span;
        let none = || json!({});
        let segment = || json!({"segment": number, "bytes": bytes});
        let (name, category, args, is_async) = match kind {
            SpanKind::Asked => ("asked", "tracker", none(), true),
            SpanKind::Received => {
                let args = json!({"segment": number, "bytes": bytes, "from": rank});
                ("received", "segment", args, true)
            }
            SpanKind::Sent => {
                let args = json!({"segment": number, "bytes": bytes, "to": rank});
                ("sent", "segment", args, true)
            }
            SpanKind::Hashed => ("hashed", "work", segment(), false),
            SpanKind::Compressed => ("compressed", "work", segment(), false),
            SpanKind::Decompressed => ("decompressed", "work", segment(), false),
            SpanKind::Written => ("written", "disk", segment(), false),
            SpanKind::FileWritten => ("file written", "disk", json!({"file": number}), false),
            SpanKind::Read => ("read", "disk", segment(), false),
            SpanKind::ReadBack => ("read back", "disk", segment(), false),
            SpanKind::AwaitingTracker => ("waits for the tracker", "wait", none(), false),
            SpanKind::AwaitingHolder => ("waits for a holder", "wait", none(), false),
            SpanKind::AwaitingDisk => ("waits for the disk", "wait", none(), false),
            SpanKind::Idle => ("idle", "wait", none(), false),
            SpanKind::AwaitingLimit => ("waits for --limit-rate", "wait", none(), false),
        };
        Self { name, category, args, is_async }
    }
}

/// What the format counts in.
fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// The number of a track within its rank.
fn number(thread: TraceThread) -> u32 {
    match thread {
        TraceThread::Communicating => 0,
        TraceThread::Writer => 1,
        TraceThread::Worker(number) => number.saturating_add(2),
    }
}

fn name(thread: TraceThread) -> String {
    match thread {
        TraceThread::Communicating => "communicates".to_owned(),
        TraceThread::Writer => "writes files".to_owned(),
        TraceThread::Worker(number) => format!("worker {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::trace::TraceLog;
    use crate::time::{Clock, Timestamp};

    /// A rank whose clock shows `opened` when the swarm opens, µs.
    fn rank(rank: u32, opened: u64, spans: &[(SpanKind, u64, u64)]) -> RankTrace {
        let log = TraceLog::default();
        let tracer = log.tracer(rank, 2, &Clock::start());
        let mut trace = tracer.recorder(TraceThread::Communicating);
        let us = |us: u64| Timestamp(1000 * us);
        trace.open(us(opened));
        for &(kind, begin, end) in spans {
            trace.keep(kind, (us(begin), us(end)), Some(1 - rank), (5, 1024));
        }
        trace.drop_some(1);
        drop(trace);
        tracer.finish();
        RankTrace { host: "<host>\u{202e}\"".to_owned(), ..log.take().remove(0) }
    }

    fn written(ranks: &[RankTrace], one_clock: bool) -> Value {
        let mut bytes = Vec::new();
        let about = &[("workload", "\u{202e}w")];
        TraceFile { ranks, one_clock, about }.write_to(&mut bytes).expect("a vector");
        serde_json::from_slice(&bytes).expect("it is JSON")
    }

    fn of_phase<'a>(file: &'a Value, phase: &str) -> Vec<&'a Value> {
        let events = file["traceEvents"].as_array().expect("an array");
        events.iter().filter(|event| event["ph"] == phase).collect()
    }

    #[test]
    fn every_event_has_what_the_format_requires() {
        let spans = [(SpanKind::Received, 110, 130), (SpanKind::Hashed, 130, 135)];
        let file = written(&[rank(0, 100, &spans), rank(1, 7000, &[])], false);
        let events = file["traceEvents"].as_array().expect("an array");
        for event in events {
            assert!(event["name"].is_string() && event["ph"].is_string(), "{event}");
            let numbers = ["ts", "pid", "tid"].iter().all(|field| event[*field].is_number());
            assert!(numbers && event["ts"].as_f64() >= Some(0.0), "{event}");
        }
        let names = of_phase(&file, "M");
        let of_rank = names.iter().find(|event| event["name"] == "process_name");
        let host = &of_rank.expect("the first")["args"]["name"];
        assert_eq!(host, "rank 0 on <host>\\u{202e}\"");
        assert_eq!(names.iter().filter(|event| event["name"] == "thread_name").count(), 2);
        let (begun, ended) = (of_phase(&file, "b"), of_phase(&file, "e"));
        assert_eq!((begun.len(), ended.len()), (1, 1));
        assert_eq!(begun[0]["args"], json!({"segment": 5, "bytes": 1024, "from": 1}));
        assert_eq!((&begun[0]["id"], &begun[0]["cat"]), (&ended[0]["id"], &ended[0]["cat"]));
        let hashed = of_phase(&file, "X");
        assert_eq!((&hashed[0]["ts"], &hashed[0]["dur"]), (&json!(30.0), &json!(5.0)));
        let other = &file["otherData"];
        assert_eq!((&other["dropped_spans"], &other["ranks"]), (&json!(2), &json!(2)));
        let of_first = json!({"rank": 0, "thread": "communicates", "spans": 1});
        assert_eq!(other["dropped_by_thread"][0], of_first);
        assert_eq!(other["workload"], "\\u{202e}w");
    }

    #[test]
    fn clocks_are_aligned_at_the_opening_and_no_time_is_negative() {
        let first = |file: &Value| -> Vec<f64> {
            of_phase(file, "X").iter().filter_map(|event| event["ts"].as_f64()).collect()
        };
        let of = [
            rank(0, 100, &[(SpanKind::Idle, 90, 130)]),
            rank(1, 7000, &[(SpanKind::Idle, 7005, 7006)]),
        ];
        assert_eq!(first(&written(&of, false)), [0.0, 15.0]);
        let of = [
            rank(0, 100, &[(SpanKind::Idle, 90, 130)]),
            rank(1, 103, &[(SpanKind::Idle, 105, 106)]),
        ];
        assert_eq!(first(&written(&of, true)), [0.0, 15.0], "one clock needs none");
        assert_eq!(first(&written(&[], true)), [0.0; 0]);
    }

    #[test]
    fn a_segment_that_arrives_before_it_is_sent_shows_the_error_of_the_clocks() {
        let of = |received| {
            let sent = rank(0, 100, &[(SpanKind::Sent, 150, 170)]);
            let file =
                written(&[sent, rank(1, 200, &[(SpanKind::Received, 210, received)])], false);
            file["otherData"]["clock_error_least_us"].as_f64()
        };
        assert_eq!((of(243), of(260)), (Some(7.0), Some(0.0)));
    }
}
