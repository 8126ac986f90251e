//! Who is slow? The time of each rank by what it did, a row a rank, and the stragglers by name.

use super::axis::Scale;
use super::breakdown::ACTIVITIES;
use super::frame::{DrawnFigure, LEFT, LegendEntry, RIGHT, WIDTH, horizontal};
use super::series::Series;
use super::svg::{Anchor, Svg};
use crate::metrics::TimeShares;
use crate::report::compare::grid::{Cell, Column, Grid, Tone};
use crate::report::compare::{Figure, Scenario};
use crate::report::statistics::{median, outliers};
use crate::report::{Summary, units};

// Layout in SVG units; chosen by eye.
const ROW: f64 = 7.0;
const TOP: f64 = 6.0;
// With more ranks the slowest are shown: rows of two figures then fit on a screen.
// Chosen by eye.
const ROWS_MAX: usize = 64;
// Rows whose rank is written beside them: letters are higher than a row.
const NAMED_EACH: usize = 4;
// Stragglers that are named; the rest is counted.
const NAMED_MAX: usize = 3;
// A peer that is later than the median by less is no straggler, whatever the fences say: where all end at
// once, they are microseconds apart.
const LATER_LEAST: f64 = 0.05;
// Idle is the last activity: a peer that has finished is idle, and no slow one is for it.
const BUSY: usize = ACTIVITIES.len() - 1;

/// A rank over all runs of a series.
struct RankTime {
    rank: usize,
    host: String,
    /// Median time until it had all that it wants; none for the tracker, and for a peer that lacks something.
    finished: Option<f64>,
    /// Mean seconds of each activity.
    seconds: [f64; ACTIVITIES.len()],
    is_straggler: bool,
}

/// A figure for each series of a scenario whose records have the time by rank.
pub(super) fn rank_strips(scenario: &Scenario, series: &[Series<'_>]) -> Vec<DrawnFigure> {
    let plain = series.iter().filter(|one| !one.is_variant);
    plain.filter_map(|one| Some(strips(scenario, one, &times(scenario, one)?))).collect()
}

/// None where no record of the series has the time by rank.
fn times(scenario: &Scenario, series: &Series<'_>) -> Option<Vec<RankTime>> {
    let runs = series.runs(scenario);
    let runs: Vec<&Summary> = runs.iter().filter_map(|one| one.run.as_deref()).collect();
    let runs: Vec<&Summary> = runs.into_iter().filter(|run| !run.spent_us.is_empty()).collect();
    let ranks = runs.iter().map(|run| run.spent_us.len()).min()?;
    let mut all: Vec<RankTime> = (0..ranks).map(|rank| RankTime::of(rank, &runs)).collect();
    let finished: Vec<f64> = all.iter().filter_map(|one| one.finished).collect();
    let usual = median(&finished).unwrap_or(0.0);
    let peers = all.iter_mut().filter(|one| one.finished.is_some());
    for (peer, is_outside) in peers.zip(outliers(&finished)) {
        let is_later = peer.finished.is_some_and(|at| at > usual * (1.0 + LATER_LEAST));
        peer.is_straggler = is_outside && is_later;
    }
    Some(all)
}

impl RankTime {
    fn of(rank: usize, runs: &[&Summary]) -> Self {
        let mut seconds = [0.0; ACTIVITIES.len()];
        for run in runs {
            let of_run = activities(&run.spent_us[rank]);
            seconds.iter_mut().zip(of_run).for_each(|(sum, of)| *sum += of / runs.len() as f64);
        }
        let finished = runs.iter().filter_map(|run| *run.finished_s.get(rank)?);
        Self {
            rank,
            host: runs.last().map_or_else(String::new, |run| host(run, rank)),
            finished: median(&finished.collect::<Vec<_>>()),
            seconds,
            is_straggler: false,
        }
    }

    /// The rank as text names it.
    fn name(&self) -> String {
        let role = if self.rank == 0 { " (the tracker)" } else { "" };
        match self.host.as_str() {
            "" => format!("rank {}{role}", self.rank),
            host => format!("rank {} on {host}{role}", self.rank),
        }
    }
}

/// Seconds in the order of [`ACTIVITIES`].
fn activities(spent_us: &[u64; ACTIVITIES.len()]) -> [f64; ACTIVITIES.len()] {
    let [awaiting_tracker, awaiting_holder, moving, verifying, writing, deciding, idle] =
        spent_us.map(|us| us as f64 / 1e6);
    let seconds = TimeShares {
        awaiting_tracker,
        awaiting_holder,
        moving,
        verifying,
        writing,
        deciding,
        idle,
    };
    ACTIVITIES.map(|(_, of)| of(&seconds))
}

/// Records may come from anybody: a host that they don't name is unknown.
fn host(run: &Summary, rank: usize) -> String {
    let place = run.host_by_rank.get(rank).map_or(0, |&place| place as usize);
    run.hosts.get(place).cloned().unwrap_or_default()
}

fn strips(scenario: &Scenario, series: &Series<'_>, all: &[RankTime]) -> DrawnFigure {
    let mut shown: Vec<&RankTime> = all.iter().collect();
    let is_cut = shown.len() > ROWS_MAX;
    if is_cut {
        let last = |one: &&RankTime| one.finished.unwrap_or(f64::INFINITY);
        shown.sort_by(|left, right| last(right).total_cmp(&last(left)));
        shown.truncate(ROWS_MAX);
        shown.sort_by_key(|one| one.rank);
    }
    let of = if is_cut {
        format!("The {ROWS_MAX} slowest of {} ranks. ", all.len())
    } else {
        String::new()
    };
    DrawnFigure {
        name: format!("{}, by rank: {scenario}", series.name),
        description: format!("{of}{}", stragglers(all)),
        svg: draw(&shown),
        legend: (0..)
            .zip(ACTIVITIES)
            .map(|(at, (name, _)): (usize, _)| LegendEntry::new(format!("p{at}"), None, name))
            .collect(),
        table: table(&shown),
    }
}

/// Who was late, and what that peer did for longer than others: of all activities the one with the most time
/// above the median of the peers.
fn stragglers(all: &[RankTime]) -> String {
    let mut late: Vec<&RankTime> = all.iter().filter(|one| one.is_straggler).collect();
    late.sort_by(|left, right| {
        right.finished.unwrap_or(0.0).total_cmp(&left.finished.unwrap_or(0.0))
    });
    let peers: Vec<&RankTime> = all.iter().filter(|one| one.finished.is_some()).collect();
    let usual = |at: usize| {
        median(&peers.iter().map(|peer| peer.seconds[at]).collect::<Vec<_>>()).unwrap_or(0.0)
    };
    let show = |seconds: f64| Figure::Makespan.show(seconds);
    let say = |one: &&RankTime| {
        let more = |at: &usize| one.seconds[*at] - usual(*at);
        let most = (0..BUSY).max_by(|left, right| more(left).total_cmp(&more(right))).unwrap_or(0);
        format!(
            "{}: {} {}, the median peer {}",
            one.name(),
            ACTIVITIES[most].0,
            show(one.seconds[most]),
            show(usual(most))
        )
    };
    if late.is_empty() {
        return "No peer is a straggler.".to_owned();
    }
    let mut said: Vec<String> = late.iter().take(NAMED_MAX).map(say).collect();
    if late.len() > NAMED_MAX {
        said.push(format!("and {} more", late.len() - NAMED_MAX));
    }
    format!("{}: {}.", units::count(late.len() as u64, "straggler"), said.join("; "))
}

fn draw(shown: &[&RankTime]) -> Svg {
    let bottom = TOP + ROW * shown.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + 40.0);
    let x = Scale::linear(0.0, 1.0, LEFT, RIGHT);
    let ticks: Vec<_> =
        x.ticks().into_iter().map(|tick| (tick, format!("{:.0}%", 100.0 * tick))).collect();
    horizontal(&mut svg, &x, &ticks, [TOP, bottom], "share of the time of a rank");
    let mut named = 0;
    for (index, one) in shown.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        let sum: f64 = one.seconds.iter().sum();
        let mut from = 0.0;
        for (activity, (seconds, (what, _))) in one.seconds.iter().zip(ACTIVITIES).enumerate() {
            let part = if sum > 0.0 { seconds / sum } else { 0.0 };
            let (left, right) = (x.place(from), x.place(from + part));
            from += part;
            // What is narrower can't be seen.
            if right - left >= 0.2 {
                let says = format!("{}: {what} {:.1}%", one.name(), 100.0 * part);
                let class = format!("mark p{activity}");
                svg.rect(&class, [left, y + 0.5], [right - left, ROW - 1.0], &says);
            }
        }
        // A straggler first: others give way to its name.
        if one.is_straggler || index >= named && !is_near_straggler(shown, index) {
            let class = if one.is_straggler { "tick t-bad" } else { "tick" };
            svg.text(class, Anchor::End, [LEFT - 6.0, y + ROW - 0.5], &one.rank.to_string());
            named = index + NAMED_EACH;
        }
    }
    svg.text("label", Anchor::Start, [2.0, bottom + 15.0], "rank");
    svg
}

/// Whether the name of a row would touch that of a straggler.
fn is_near_straggler(shown: &[&RankTime], index: usize) -> bool {
    let near = index.saturating_sub(1)..(index + 2).min(shown.len());
    shown[near].iter().any(|one| one.is_straggler)
}

fn table(shown: &[&RankTime]) -> Grid {
    let mut columns = Column::list("rank|host|#finished");
    columns.extend(ACTIVITIES.map(|(name, _)| Column::numbers(name)));
    let show = |seconds: f64| Figure::Makespan.show(seconds);
    let row = |one: &&RankTime| {
        let finished = one.finished.map_or_else(|| "-".to_owned(), show);
        let tone = if one.is_straggler { Tone::Bad } else { Tone::Plain };
        let mut cells: Vec<Cell> = vec![
            one.rank.to_string().into(),
            one.host.as_str().into(),
            Cell::from(finished).toned(tone),
        ];
        cells.extend(one.seconds.iter().map(|&seconds| Cell::from(show(seconds))));
        cells
    };
    Grid { columns, rows: shown.iter().map(row).collect(), ..Grid::default() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::compare::{Observation, Set};
    use crate::report::example;

    /// A set with one run of peers that end at these times, and hash for all of it.
    fn set(finished: &[f64], host: &str) -> Set {
        let mut run = example::summary();
        run.finished_s = [None].into_iter().chain(finished.iter().map(|&at| Some(at))).collect();
        let longest = finished.iter().copied().fold(0.0, f64::max);
        let us = |seconds: f64| {
            u64::try_from(Duration::from_secs_f64(seconds).as_micros()).expect("a few seconds")
        };
        let peer = |&at: &f64| [0, us(0.1), 0, us(at - 0.1), 0, 0, us(longest - at)];
        run.spent_us =
            [[0, 0, 0, 0, 0, 5, 7]].into_iter().chain(finished.iter().map(peer)).collect();
        run.hosts = vec!["first".to_owned(), host.to_owned()];
        run.host_by_rank = (0..=finished.len()).map(|rank| u32::from(rank > 1)).collect();
        let observation = Observation {
            contender: "lockfree".to_owned(),
            run: Some(Box::new(run)),
            ..Observation::default()
        };
        Set { observations: vec![observation].into(), ..Set::default() }
    }

    fn drawn(set: Set) -> Vec<DrawnFigure> {
        let sets = [set];
        let series = Series::all(&sets);
        let all = Series::by_scenario(&series);
        all.iter().flat_map(|(scenario, series)| rank_strips(scenario, series)).collect()
    }

    #[test]
    fn a_straggler_is_named_with_its_host_and_what_it_did() {
        let mut finished = vec![1.0; 9];
        finished[6] = 3.0;
        let figure = drawn(set(&finished, "<b>\u{202e}")).remove(0);
        let expected =
            "1 straggler: rank 7 on <b>\u{202e}: verifies 2.900 s, the median peer 900.0 ms.";
        assert_eq!(figure.description, expected);
        assert_eq!((figure.table.rows.len(), figure.legend.len()), (10, ACTIVITIES.len()));
        assert_eq!(figure.table.rows[7][2].tone, Tone::Bad);
        assert_eq!(figure.table.rows[0][2].text, "-", "the tracker");
        let html = figure.html("who-1", false);
        assert!(!html.contains("<b>\u{202e}") && !html.contains('\u{202e}'), "{html}");
        assert!(html.contains("rank 7 on &lt;b&gt;\\u{202e}: verifies 96.7%"), "{html}");
    }

    #[test]
    fn where_all_end_at_once_nobody_is_a_straggler() {
        let mut finished = vec![1.0; 9];
        finished[3] = 1.001;
        assert_eq!(drawn(set(&finished, "b"))[0].description, "No peer is a straggler.");
    }

    #[test]
    fn of_many_ranks_the_slowest_are_shown() {
        let finished: Vec<f64> = (0..1000).map(|rank| 1.0 + f64::from(rank) / 1e4).collect();
        let figure = drawn(set(&finished, "b")).remove(0);
        assert!(figure.description.starts_with("The 64 slowest of 1001 ranks. "));
        let ranks: Vec<_> = figure.table.rows.iter().map(|row| row[0].text.clone()).collect();
        assert_eq!((ranks.len(), &*ranks[0], &*ranks[63]), (ROWS_MAX, "0", "1000"));
    }

    #[test]
    fn records_without_the_time_by_rank_or_with_less_have_no_figure_and_no_panic() {
        let mut older = set(&[1.0; 3], "b");
        older.observations[0].run.as_mut().expect("a run").spent_us.clear();
        assert_eq!(drawn(older).len(), 0);
        let mut odd = set(&[1.0; 3], "b");
        let run = odd.observations[0].run.as_mut().expect("a run");
        run.host_by_rank = vec![9];
        run.finished_s.clear();
        run.spent_us = vec![[u64::MAX; 7]; 5];
        assert_eq!(drawn(odd)[0].description, "No peer is a straggler.");
    }
}
