//! An ablation: the makespan with one switch set back, against the engine's default.

use std::collections::BTreeSet;

use super::forest;
use super::frame::DrawnFigure;
use super::series::scenarios;
use crate::report::compare::grid::{Column, Grid};
use crate::report::compare::judge::JudgedPair;
use crate::report::compare::main_pairings::plain_of;
use crate::report::compare::pairing::all_within;
use crate::report::compare::{Figure, Scenario, Set, cells};
use crate::report::statistics::RESAMPLES;

/// A drawing for each set, engine and scenario with switched contenders.
pub(super) fn ablations(sets: &[Set]) -> Vec<DrawnFigure> {
    let mut drawings = Vec::new();
    for set in sets {
        let place = if sets.len() > 1 { format!(" in {}", set.label) } else { String::new() };
        let contenders = set.contenders().into_iter();
        let plain: BTreeSet<&str> = contenders.filter_map(|name| plain_of(set, name)).collect();
        for plain in plain {
            // Judged among all contenders, so that a verdict is the same as in the tables.
            let all = all_within(Figure::Makespan, set, plain, RESAMPLES);
            for scenario in scenarios(std::slice::from_ref(set)) {
                let rows = all.iter().flat_map(|pairing| &pairing.rows);
                let rows = rows.filter(|row| row.scenario == *scenario);
                let steps: Vec<_> = rows.filter_map(|row| step(set, plain, row)).collect();
                drawings.extend(ablation(plain, scenario, &place, steps));
            }
        }
    }
    drawings
}

type Step<'a> = (usize, String, &'a JudgedPair);

fn ablation(
    plain: &str,
    scenario: &Scenario,
    place: &str,
    mut steps: Vec<Step<'_>>,
) -> Option<DrawnFigure> {
    if steps.is_empty() {
        return None;
    }
    // Single switches first, the largest effect on top; combined switches last.
    steps.sort_by(|(switches, _, left), (others, _, right)| {
        let ratio = |row: &JudgedPair| row.ratio.unwrap_or(1.0);
        switches.cmp(others).then(ratio(right).total_cmp(&ratio(left)))
    });
    let rows: Vec<_> = steps.iter().map(|(_, switched, row)| (switched.clone(), *row)).collect();
    let cells = |(switched, row): &(String, &JudgedPair)| {
        let ratio = row.ratio.map_or_else(|| "-".to_owned(), cells::ratio);
        let verdict = cells::verdict(Figure::Makespan, row);
        vec![switched.as_str().into(), ratio.into(), cells::interval(row).into(), verdict]
    };
    let columns = Column::list("switched|#ratio|#95% interval|verdict");
    let range = forest::range(rows.iter().map(|(_, row)| *row));
    Some(DrawnFigure {
        name: format!("Effect of each switch: {scenario}{place}"),
        description: format!(
            "Makespan of {plain} with a switch ÷ without it, with its 95% interval."
        ),
        svg: forest::ratios(Figure::Makespan, &rows, plain, range),
        legend: forest::legend(),
        table: Grid { columns, rows: rows.iter().map(cells).collect(), ..Grid::default() },
    })
}

/// How many switches a contender of the plain one's engine has, which, and how it compares.
fn step<'a>(set: &Set, plain: &str, row: &'a JudgedPair) -> Option<Step<'a>> {
    plain_of(set, &row.contender).filter(|own| *own == plain)?;
    let one = set.first_run(&row.contender)?;
    let named: Vec<_> =
        one.switches.iter().map(|(name, value)| format!("{name} {value}")).collect();
    Some((named.len(), named.join(", "), row))
}
