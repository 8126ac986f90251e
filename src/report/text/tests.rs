use std::time::Duration;

use super::render;
use crate::metrics::RankMetrics;
use crate::report::example::facts;
use crate::report::{RunFacts, Summary};

#[test]
fn a_run_without_problems() {
    let expected = "\
lockfree over local, 3 peers, segments of 976.6 KiB, seed 7
  delivered    5 files, 18 segments, 17.2 MiB, all verified
  makespan     1.500 s, bound 600.0 ms, ratio 2.50; setup 20.0 ms
  rate         12.0 MB/s, 12.0 segments/s
  limits       copy 60.0 MB/s, hash 20.0 MB/s, 2 cores
  served       rank 1   8.58 MiB  ########################
               rank 2   5.72 MiB  ################
               rank 3   2.86 MiB  ########
  balance      max/mean 1.50, cv 0.41, Jain 0.86
  origin       owners sent 1.50 copies of the wanted files
  finished     2 of 3 peers: first 1.250 s, median 1.375 s, last 1.500 s, last/median 1.09
  latency      of a segment: p50 250.9 µs, p99 20.1 ms, p99.9 20.1 ms, max 20.1 ms
  peers' time  wait tracker 0%, wait holder 20%, move 0%, verify 80%, write 0%, decide 0%, idle 0%
  tracker      busy 10%, 40 messages/s
  retried      12 requests answered busy
";
    assert_eq!(render(&Summary::new(facts())), expected);
}

#[test]
fn a_run_with_every_problem() {
    let mut facts = facts();
    facts.everything_delivered = false;
    facts.limits = None;
    facts.metrics[2].corrupt_segments = 1;
    facts.metrics[2].lapsed_requests = 1;
    facts.unavailable = vec!["model.bin".to_owned(), "\u{1b}[2Jnote".to_owned()];
    facts.errors = (1..=10).map(|rank| format!("rank {rank} was lost")).collect();
    let expected = "\
lockfree over local, 3 peers, segments of 976.6 KiB, seed 7
  delivered    5 files, 18 segments, 17.2 MiB, INCOMPLETE
  makespan     1.500 s, bound unknown; setup 20.0 ms
  rate         12.0 MB/s, 12.0 segments/s
  served       rank 1   8.58 MiB  ########################
               rank 2   5.72 MiB  ################
               rank 3   2.86 MiB  ########
  balance      max/mean 1.50, cv 0.41, Jain 0.86
  origin       owners sent 1.50 copies of the wanted files
  finished     2 of 3 peers: first 1.250 s, median 1.375 s, last 1.500 s, last/median 1.09
  latency      of a segment: p50 250.9 µs, p99 20.1 ms, p99.9 20.1 ms, max 20.1 ms
  peers' time  wait tracker 0%, wait holder 20%, move 0%, verify 80%, write 0%, decide 0%, idle 0%
  tracker      busy 10%, 40 messages/s
  retried      12 requests answered busy, 1 request timed out
  corrupt      1 segment dropped, and requested from another holder
  unavailable  model.bin
               \\u{1b}[2Jnote
  errors       rank 1 was lost
               rank 2 was lost
               rank 3 was lost
               rank 4 was lost
               rank 5 was lost
               and 5 more
";
    assert_eq!(render(&Summary::new(facts)), expected);
}

#[test]
fn many_peers_are_three_lines() {
    let served = |rank: u64| RankMetrics { served_bytes: rank * 1000, ..Default::default() };
    let metrics = (0..=40).map(|rank| served(if rank == 7 { 99 } else { rank })).collect();
    let finished = (0..=40).map(|rank| Some(Duration::from_millis(10 * rank))).collect();
    let facts = RunFacts { peers: 40, metrics, finished, ..facts() };
    let text = render(&Summary::new(facts));
    let lines: Vec<_> = text.lines().filter(|line| line.contains("rank ")).collect();
    let expected = [
        "  served       rank 1      1000 B  least   #",
        "               rank 22   21.5 KiB  median  ######",
        "               rank 7    96.7 KiB  most    ########################",
    ];
    assert_eq!(lines, expected);
    assert!(text.contains("40 of 40 peers: first 10.0 ms, median 205.0 ms, last 400.0 ms"));
}

#[test]
fn an_empty_run_reads_well() {
    let facts = RunFacts {
        peers: 0,
        metrics: Vec::new(),
        finished: Vec::new(),
        makespan: Duration::ZERO,
        distinct_bytes_wanted: 0,
        ..facts()
    };
    let text = render(&Summary::new(facts));
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    assert!(text.contains("finished     0 of 0 peers\n"), "{text}");
}
