//! What `bench` says while it runs: one line that is rewritten on a terminal, a line now and then elsewhere.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::args::BenchArgs;
use super::show;
use crate::escape::{columns, elided, terminal};
use crate::harness::Plan;
use crate::harness::runner::{BenchEvent, RunBegins};
use crate::report::units::size;
use crate::time::{self, Clock};

// How often a line shows progress where there is no terminal.
// As `stage` does. It is written between runs alone: a thread that wrote during them would disturb them.
const LINE_EVERY: Duration = Duration::from_secs(10);
// What names are shortened to where a line is too long for its terminal, columns.
// As in tables: what shows most of a name, and what still shows both ends.
const NAME_COLUMNS: [usize; 2] = [24, 9];
// From this on an end needs its date.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Shows what runs, what is left, and when the budget ends, of which so much is left.
pub(super) fn progress(
    args: &BenchArgs,
    plan: &Plan,
    (clock, left): (&Clock, Duration),
) -> impl FnMut(BenchEvent<'_>) + use<> {
    let quiet = args.quiet;
    let bar = show::bar(quiet, "{wide_msg}");
    let has_lines = show::has_lines(quiet);
    let until = time::wall_clock().checked_add(left).and_then(|end| clock_time(end, left));
    let until = until.map_or_else(String::new, |end| format!("; until {end}"));
    let most = plan.repetitions.most;
    let (clock, mut shown) = (*clock, None);
    move |event| match event {
        BenchEvent::Remark(_) if quiet => {}
        BenchEvent::Remark(remark) => bar.suspend(|| show::note(remark)),
        BenchEvent::Run(run) => {
            let now = clock.now();
            bar.set_message(fitted(&run, most, &until, show::columns_of_bar()));
            if has_lines && shown.is_none_or(|shown| now.since(shown) >= LINE_EVERY) {
                shown = Some(now);
                show::note(&line(&run, most, &until, usize::MAX));
            }
        }
    }
}

/// The line; with short names where it is too long otherwise.
fn fitted(run: &RunBegins<'_>, most: u32, until: &str, width: usize) -> String {
    let mut all =
        [usize::MAX].into_iter().chain(NAME_COLUMNS).map(|name| line(run, most, until, name));
    let last = line(run, most, until, NAME_COLUMNS[1]);
    all.find(|line| columns(line) <= width).unwrap_or(last)
}

fn line(run: &RunBegins<'_>, most: u32, until: &str, name_columns: usize) -> String {
    let name = |name: &str| elided(&terminal(name), name_columns / 2, name_columns);
    let repetition = run.repetition.map_or_else(
        || "warm-up".to_owned(),
        |repetition| format!("repetition {}/{most}", u64::from(repetition) + 1),
    );
    let RunBegins { workload: (number, all), scenario, contender, .. } = run;
    let (workload, contender) = (name(&scenario.name), name(contender));
    let peers = scenario.workload.peers;
    let of_tree = scenario.tree.as_ref().map(ToString::to_string);
    let size = of_tree.unwrap_or_else(|| size(scenario.segment_bytes as f64));
    format!(
        "workload {number}/{all}: {workload}, {peers} peers, {size}: {contender}, {repetition}{until}"
    )
}

/// `14:32`, where this machine is; with the date if that is a day or more away.
fn clock_time(end: SystemTime, left: Duration) -> Option<String> {
    let end = Timestamp::try_from(end).ok()?.to_zoned_datetime(TimeZone::system());
    let format = if left < DAY { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    Some(end.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_line_says_what_runs_what_is_left_and_until_when() {
        let name = "a workload whose name is as long as a name can well be, or longer";
        let text = format!(
            "purpose = \"a test\"\nbudget_s = 60\n[[workloads]]\nname = \"{name}\"\nshape = \"broadcast\"\n\
             peers = 12\nsegments = 1\nsegment_bytes = 1024\n[[contenders]]\nengine = \"mock\"\ntimes_ms = [1]\n"
        );
        let plan = Plan::parse(Path::new("plan.toml"), text, None).expect("a plan");
        let scenario = &plan.scenarios[0];
        let run = RunBegins { workload: (2, 6), scenario, contender: "mock", repetition: Some(2) };
        let said = line(&run, 50, "; until 14:32", usize::MAX);
        let expected = "12 peers, 1 KiB: mock, repetition 3/50; until 14:32";
        assert_eq!(said, format!("workload 2/6: {name}, {expected}"));
        let fitted = |columns| fitted(&run, 50, "; until 14:32", columns);
        assert_eq!(fitted(200), said);
        assert_eq!(fitted(100), format!("workload 2/6: a workload w…, or longer, {expected}"));
        assert_eq!(fitted(80), format!("workload 2/6: a wo…nger, {expected}"));
        let warm_up = RunBegins { repetition: None, ..run };
        assert!(line(&warm_up, 50, "", 9).ends_with("1 KiB: mock, warm-up"));
    }

    #[test]
    fn an_end_far_away_has_its_date() {
        let at = |left: Duration| clock_time(SystemTime::UNIX_EPOCH + left, left).expect("a time");
        assert_eq!(at(Duration::from_secs(7200)).len(), "02:00".len());
        assert_eq!(at(2 * DAY).len(), "1970-01-03 00:00".len());
    }
}
