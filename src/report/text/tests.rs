use std::iter;
use std::time::Duration;

use super::render as render_in;
use crate::driver::job::JobResult;
use crate::metrics::RankMetrics;
use crate::protocol::Outcome;
use crate::report::Summary;
use crate::report::example::{example, summary};

fn render(summary: &Summary) -> String {
    render_in(summary, usize::MAX)
}

#[test]
fn a_narrow_terminal_breaks_lines_below_their_values() {
    for columns in [60, 80] {
        let text = render_in(&summary(), columns);
        assert!(text.lines().all(|line| crate::escape::columns(line) <= columns), "{text}");
        insta::assert_snapshot!(format!("narrow-{columns}"), text);
    }
}

#[test]
fn a_run_without_problems() {
    insta::assert_snapshot!(render(&summary()));
}

#[test]
fn a_run_with_every_problem() {
    let (job, mut carrier, mut ended) = example();
    ended.progress.segments_wanted = 19;
    carrier.limits = None;
    ended.metrics[2].corrupt_segments = 1;
    ended.metrics[2].lapsed_requests = 1;
    ended.outcome.unavailable = vec!["model.bin".to_owned(), "\u{1b}[2Jnote".to_owned()];
    ended.outcome.errors = (1..=10).map(|rank| format!("rank {rank} was lost")).collect();
    insta::assert_snapshot!(render(&Summary::new(&job, &carrier, ended)));
}

#[test]
fn a_run_that_caches_hold_has_no_bound() {
    let (job, mut carrier, mut ended) = example();
    carrier.limits = None;
    ended.metrics.iter_mut().for_each(|rank| rank.received_bytes /= 100);
    let text = render(&Summary::new(&job, &carrier, ended));
    assert!(
        text.contains("1.500 s, no bound: less than 16 MiB comes from caches; setup"),
        "{text}"
    );
    assert!(!text.contains("ratio"), "{text}");
}

#[test]
fn many_peers_are_three_lines() {
    let served = |rank: u64| RankMetrics { served_bytes: rank * 1000, ..Default::default() };
    let metrics = (0..=40).map(|rank| served(if rank == 7 { 99 } else { rank })).collect();
    let (job, carrier, mut ended) = example();
    let opened = ended.outcome.opened.expect("it opened");
    let finished = (0..=40).map(|rank| Some(opened + Duration::from_millis(10 * rank)));
    ended.outcome.finished = iter::once(None).chain(finished.skip(1)).collect();
    let text = render(&Summary::new(&job, &carrier, JobResult { metrics, ..ended }));
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
    let (job, carrier, ended) = example();
    let empty =
        JobResult { outcome: Outcome::default(), metrics: Vec::new(), distinct_bytes: 0, ..ended };
    let text = render(&Summary::new(&job, &carrier, empty));
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    assert!(text.contains("finished     0 of 0 peers\n"), "{text}");
}
