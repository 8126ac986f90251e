//! The report as one HTML file that needs no network, no script and no font of its own.
//!
//! Each kind of figure has a file in this folder. A figure is inline SVG, coloured by the style sheet
//! for light, dark and print, with a table of its numbers.

mod ablation;
mod answer;
mod served;
mod breakdown;
mod forest;
mod frame;
mod latencies;
mod rank_strips;
mod axis;
pub(crate) mod scaling;
mod series;
#[cfg(test)]
pub(crate) mod staging_times;
mod strips;
mod svg;
mod sweep;
mod trend;
pub(crate) mod waterfall;
mod why;

use super::grid::{Cell, Column, Grid, Tone};
use super::history::History;
use super::judge::{Group, SIGNIFICANT, Verdict};
use super::main_pairings::main_pairings;
use super::pairing::{Comparison, Pairing, Rung, fact_names};
use super::{Figure, Scenario, Set, cells, table};
use crate::escape::{html, html_lines};
use crate::report::statistics::RESAMPLES;
use frame::DrawnFigure;
use series::Series;
use sweep::{SweptBy, sweeps};

// How many figures of a kind are unfolded.
// Chosen by eye.
const SHOWN: usize = 6;
// How many cards of a mean there are.
// A row of them on a screen; the others stand in the forest below.
const HEADS: usize = 4;
const STYLE: &str = include_str!("style.css");

#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    /// The figures that were asked for.
    pub comparison: &'a Comparison,
    /// All figures that the sets have.
    pub everything: &'a Comparison,
    pub sets: &'a [Set],
    pub beside: &'a [Set],
    pub command: &'a str,
}

impl Page<'_> {
    pub(crate) fn html(&self) -> String {
        let series = Series::all(self.sets);
        let of_scenario = Series::by_scenario(&series);
        type Draw = fn(&Scenario, &[Series<'_>]) -> Option<DrawnFigure>;
        let each = |kind: &str, draw: Draw| {
            let drawn = of_scenario.iter().filter_map(|(scenario, series)| draw(scenario, series));
            figures(kind, drawn.collect())
        };
        let balances =
            of_scenario.iter().flat_map(|(scenario, series)| served::balances(scenario, series));
        let by_rank = of_scenario
            .iter()
            .flat_map(|(scenario, series)| rank_strips::rank_strips(scenario, series));
        let sections = [
            ("headline", "Summary", self.headline()),
            ("why", "Why", figures("why", self.why())),
            ("choices", "Effect of each switch", figures("step", ablation::ablations(self.sets))),
            ("throughput", "Throughput", self.throughput(&series)),
            ("repetitions", "Every repetition", each("strip", strips::strip)),
            ("latency", "Latency", each("tail", latencies::drawing)),
            ("balance", "Balance of the load", figures("load", balances.collect())),
            ("time", "Where the time goes", each("time", breakdown::breakdown)),
            ("who", "Who", figures("who", by_rank.collect())),
            ("results", "All results", self.results()),
            ("beside", "Other tools", self.other_tools()),
            ("environment", "Environment", self.environment()),
            ("reproduce", "Reproduce", self.reproduce()),
        ];
        document(&self.title(), &self.subtitle(), &self.notices(), &sections)
    }

    fn title(&self) -> String {
        let pairings = &self.comparison.pairings;
        if let Some(whole) = pairings.iter().find(|pairing| pairing.rung == Some(Rung::Whole)) {
            return format!("{} → {}, step by step", whole.base, whole.other);
        }
        let mut others: Vec<&str> = pairings.iter().map(|pairing| pairing.other.as_str()).collect();
        others.sort_unstable();
        others.dedup();
        let base = pairings.first().map_or("", |pairing| pairing.base.as_str());
        match others.as_slice() {
            [other] => format!("{base} → {other}"),
            [first, second] => format!("{base} against {first} and {second}"),
            many => format!("{base} against {} others", many.len()),
        }
    }

    fn subtitle(&self) -> String {
        let of = |set: &Set| {
            let commit = set.commit.get(..7).map(|commit| format!(" at commit {commit}"));
            let began =
                if set.began.is_empty() { String::new() } else { format!(", {}", set.began) };
            let runs = set.observations.len();
            let launches = match set.launches() {
                0 | 1 => String::new(),
                launches => format!(" of {launches} launches"),
            };
            format!("{}{}{began}: {runs} runs{launches}", set.label, commit.unwrap_or_default())
        };
        self.sets.iter().map(of).collect::<Vec<_>>().join(" · ")
    }

    fn notices(&self) -> String {
        let notices = table::notices(self.comparison);
        if notices.is_empty() {
            return String::new();
        }
        let items: String =
            notices.iter().map(|notice| format!("<li>{}</li>", html(notice))).collect();
        format!("<div class=\"warn\" role=\"note\"><b>Warnings</b><ul>{items}</ul></div>\n")
    }

    fn headline(&self) -> String {
        let pairings = &self.comparison.pairings;
        // The steps of a ladder have a drawing together.
        let whole = || pairings.iter().filter(|pairing| pairing.rung != Some(Rung::Step));
        let mains = main_pairings(pairings, self.sets);
        let heads: String = whole()
            .filter(|one| one.figure != pairings[0].figure || mains.contains(one))
            .take(HEADS)
            .map(head)
            .collect();
        let warnings = table::notices(self.comparison).len();
        let answer = answer::answer(pairings, self.sets, warnings);
        let mut drawings = waterfall::waterfalls(pairings);
        drawings.extend(forest::forests(pairings));
        let how = format!(
            "<details><summary>How it is judged</summary><p class=\"note\">A difference is significant if two conditions hold: its p-value, with \
             Holm's correction over all contenders and scenarios of the figure, shown or not, is below \
             {SIGNIFICANT}, and the 95% interval of the ratio does not contain 1. Between folders a \
             launch is the unit: p is that of the Mann-Whitney U test over launches, and intervals are \
             Welch's, on logarithms of the medians of launches relative to the control. Contenders of \
             several launches are compared launch by launch, with a paired t-test. Within one launch, \
             p is that of the t-test of the trimmed mean of pairs of runs, intervals are percentile \
             bootstrap intervals of {RESAMPLES} resamples of pairs, and the verdict holds for that \
             launch only. Intervals of medians are based on order \
             statistics.</p></details>\n"
        );
        let drawn = figures("ratio", drawings);
        format!("{answer}<div class=\"heads\">{heads}</div>\n{drawn}{how}")
    }

    /// Of every contender that is no other one with switches.
    fn why(&self) -> Vec<DrawnFigure> {
        let mains = main_pairings(&self.comparison.pairings, self.sets).into_iter();
        mains.flat_map(|pairing| why::waterfalls(pairing, self.sets)).collect()
    }

    fn throughput(&self, series: &[Series<'_>]) -> String {
        let mut drawings = sweeps(SweptBy::SegmentBytes, self.sets, series, self.beside);
        drawings.extend(sweeps(SweptBy::Peers, self.sets, series, &[]));
        figures("rate", drawings)
    }

    fn results(&self) -> String {
        let mut out = String::new();
        for (figure, grid) in table::grids(self.everything) {
            if grid.rows.is_empty() {
                continue;
            }
            let asked = self.comparison.pairings.iter().any(|other| other.figure == figure);
            let body = grid.html(&grid.title);
            out += &if asked {
                body
            } else {
                let title = html(&grid.title);
                format!("<details><summary>{title}</summary>{body}</details>\n")
            };
        }
        out
    }

    fn other_tools(&self) -> String {
        let mut rows = Vec::new();
        for set in self.beside {
            let figures = set.figures();
            for (scenario, contender) in set.keys() {
                let runs = set.series(scenario, contender);
                let group = |figure| Some((figure, Group::new(&runs, figure)?));
                for (figure, group) in figures.iter().copied().filter_map(group) {
                    rows.push(vec![
                        Cell::from(set.label.as_str()),
                        scenario.to_string().into(),
                        scenario.parameters.as_str().into(),
                        contender.into(),
                        figure.title().into(),
                        figure.show(group.median).into(),
                        group.values.len().to_string().into(),
                    ]);
                }
            }
        }
        if rows.is_empty() {
            return String::new();
        }
        let columns = Column::list("source|benchmark|parameters|contender|figure|#median|#runs");
        Grid { columns, rows, ..Grid::default() }.html("Results of other tools")
    }

    fn environment(&self) -> String {
        let names = fact_names(self.sets);
        if names.is_empty() {
            return String::new();
        }
        let mut columns = vec![Column::words("")];
        columns.extend(self.sets.iter().map(|set| Column::words(&set.label)));
        let row = |name: &&str| {
            let mut differences = self.comparison.differences.iter();
            let is_bad = differences.any(|one| one.name == *name && one.matters);
            let tone = if is_bad { Tone::Bad } else { Tone::Plain };
            let value = |set: &Set| {
                let mut facts = set.facts.iter().filter(|fact| fact.name == *name);
                let value = facts.next().map_or("unknown", |fact| fact.value.as_str());
                Cell::from(value).toned(tone)
            };
            std::iter::once(Cell::from(*name)).chain(self.sets.iter().map(value)).collect()
        };
        let rows = names.iter().map(row).collect();
        Grid { columns, rows, ..Grid::default() }.html("Environment")
    }

    fn reproduce(&self) -> String {
        let mut out = String::new();
        for set in self.sets.iter().filter(|set| !set.commands.is_empty()) {
            let commands = html_lines(&set.commands.join("\n"));
            out +=
                &format!("<h3>{}</h3>\n<pre tabindex=\"0\">{commands}</pre>\n", html(&set.label));
            if let Some((name, text)) = &set.plan {
                let (name, text) = (html(name), html_lines(text.trim_end()));
                out += &format!(
                    "<details><summary>The plan {name}.toml</summary><pre tabindex=\"0\">{text}</pre></details>\n"
                );
            }
        }
        out + &format!(
            "<h3>This page</h3>\n<pre tabindex=\"0\">{}</pre>\n",
            html_lines(self.command)
        )
    }
}

fn head(pairing: &Pairing) -> String {
    let (better, worse) = pairing.figure.words();
    let counted = [
        (pairing.count(Verdict::Better), better),
        (pairing.count(Verdict::Worse), worse),
        (pairing.count(Verdict::Same), "without a significant difference"),
        (pairing.count(Verdict::TooFew), "with too few runs or launches"),
        (pairing.count(Verdict::Void), "void, because the control moved"),
        (pairing.count(Verdict::Control), "of the control"),
    ];
    let counted: Vec<_> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let (class, value, what) = match &pairing.mean {
        None => ("faint", "?".to_owned(), "no result with enough runs".to_owned()),
        Some(mean) => {
            let Cell { text, tone } =
                cells::judgement(pairing.figure, Some(mean.ratio), mean.verdict);
            let class = match tone {
                Tone::Good => "good",
                Tone::Bad => "bad",
                Tone::Faint | Tone::Plain => "faint",
            };
            let ends = mean.interval.map(|ends| cells::ends_of(Some(mean.ratio), ends));
            let of = match mean.rows {
                1 => "one ratio".to_owned(),
                rows => format!("geometric mean of {rows} ratios"),
            };
            (
                class,
                text,
                format!("{of}: {} {}", cells::ratio(mean.ratio), ends.unwrap_or_default()),
            )
        }
    };
    let rows = pairing.rows.len();
    format!(
        "<div class=\"head {class}\"><div>{}: {} → {}</div><div class=\"value\">{value}</div>\
         <div class=\"sub\">{what}; of {rows}: {}</div></div>\n",
        html(pairing.figure.title()),
        html(&pairing.base),
        html(&pairing.other),
        counted.join(", ")
    )
}

/// Figures side by side; those beyond the first [`SHOWN`] are folded.
fn figures(kind: &str, drawings: Vec<DrawnFigure>) -> String {
    let count = drawings.len();
    let ids = (1..).map(|number| format!("{kind}-{number}"));
    let shown = count.min(SHOWN);
    // The last of an odd number has a row of two for itself.
    let is_wide =
        |index: usize| (index + 1 == shown || index + 1 == count) && is_first_of_row(index, shown);
    let drawn: Vec<String> = drawings
        .into_iter()
        .zip(ids)
        .enumerate()
        .map(|(index, (drawn, id))| drawn.html(&id, is_wide(index)))
        .collect();
    let mut out = String::new();
    if shown > 0 {
        out += &format!("<div class=\"figures\">{}</div>\n", drawn[..shown].concat());
    }
    if count > shown {
        let (more, rest) = (count - shown, drawn[shown..].concat());
        out += &format!(
            "<details class=\"more\"><summary>{more} more</summary><div class=\"figures\">{rest}</div></details>\n"
        );
    }
    out
}

/// Whether a figure begins a row of two, of those shown first or of those that are folded.
fn is_first_of_row(index: usize, shown: usize) -> bool {
    let place = if index < shown { index } else { index - shown };
    place.is_multiple_of(2)
}

pub(crate) fn history_page(histories: &[History], command: &str) -> String {
    let mut sections = Vec::new();
    for history in histories {
        let name = history.figure.name();
        let tables: String = history.grids().iter().map(|grid| grid.html(&grid.title)).collect();
        let body = figures(&format!("trend-{name}"), trend::trends(history)) + &tables;
        sections.push((name, history.figure.title(), body));
    }
    sections.push((
        "reproduce",
        "This page",
        format!("<pre tabindex=\"0\">{}</pre>", html_lines(command)),
    ));
    let subtitle = "Every measurement, oldest first. A figure shows measurements under the same \
                    conditions. Points are not joined, because commits are not evenly spaced in time.";
    document("History", subtitle, "", &sections)
}

/// The whole file; sections without a body are left out.
fn document(
    title: &str,
    subtitle: &str,
    notices: &str,
    sections: &[(&str, &str, String)],
) -> String {
    let filled: Vec<_> = sections.iter().filter(|(_, _, body)| !body.trim().is_empty()).collect();
    let links: String = filled
        .iter()
        .map(|(id, name, _)| format!("<li><a href=\"#{id}\">{}</a></li>", html(name)))
        .collect();
    let bodies: String = filled
        .iter()
        .map(|(id, name, body)| {
            format!("<section id=\"{id}\"><h2>{}</h2>\n{body}</section>\n", html(name))
        })
        .collect();
    let (title, subtitle) = (html(title), html(subtitle));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} · mpiswarm</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the results</a>\n\
         <header><h1>{title}</h1><p class=\"sub\">{subtitle}</p>\n\
         <nav aria-label=\"Sections\"><ul>{links}</ul></nav></header>\n{notices}<main id=\"main\">\n{bodies}</main>\n\
         </body>\n</html>\n"
    )
}

pub(crate) fn all_figures(sets: &[Set]) -> Vec<Figure> {
    sets.first().map(Set::figures).unwrap_or_default()
}
