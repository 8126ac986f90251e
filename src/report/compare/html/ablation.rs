//! An ablation: the makespan with one switch set back, against the engine's default.

use super::forest;
use super::frame::DrawnFigure;
use super::series::{plain_of, scenarios};
use crate::report::compare::grid::{Column, Grid};
use crate::report::compare::judge::{self, JudgedPair};
use crate::report::compare::{Figure, Scenario, Set, table};
use crate::report::statistics::RESAMPLES;

/// A drawing for each set and scenario that has switched contenders.
pub(super) fn ablations(sets: &[Set]) -> Vec<DrawnFigure> {
    let of_set = |set| {
        let all = scenarios(std::slice::from_ref(set));
        all.into_iter().filter_map(move |scenario| ablation(set, scenario, sets.len() > 1))
    };
    sets.iter().flat_map(of_set).collect()
}

fn ablation(set: &Set, scenario: &Scenario, name_set: bool) -> Option<DrawnFigure> {
    let contenders = set.contenders().into_iter();
    let mut steps: Vec<_> = contenders.filter_map(|name| step(set, scenario, name)).collect();
    let mut rows: Vec<&mut JudgedPair> = steps.iter_mut().map(|(_, _, row)| row).collect();
    judge::decide(Figure::Makespan, &mut rows);
    let plain = plain_of(set, &steps.first()?.2.contender)?.to_owned();
    // Single switches first, the largest effect on top; combined switches last.
    steps.sort_by(|(switches, _, left), (others, _, right)| {
        let ratio = |row: &JudgedPair| row.ratio.unwrap_or(1.0);
        switches.cmp(others).then(ratio(right).total_cmp(&ratio(left)))
    });
    let rows: Vec<_> = steps.iter().map(|(_, switched, row)| (switched.clone(), row)).collect();
    let cells = |(switched, row): &(String, &JudgedPair)| {
        let ratio = row.ratio.map_or_else(|| "-".to_owned(), table::ratio);
        let verdict = table::verdict(Figure::Makespan, row);
        vec![switched.as_str().into(), ratio.into(), table::interval(row).into(), verdict]
    };
    let columns = Column::list("switched|#ratio|#95% interval|verdict");
    let place = if name_set { format!(" in {}", set.label) } else { String::new() };
    let axis = format!("makespan with the switch ÷ that of {plain}, log scale");
    Some(DrawnFigure {
        name: format!("Effect of each switch: {scenario}{place}"),
        description: format!(
            "Makespan of {plain} with a switch ÷ without it, with its 95% interval."
        ),
        svg: forest::ratios(Figure::Makespan, &rows, &axis),
        legend: forest::legend(),
        table: Grid { columns, rows: rows.iter().map(cells).collect(), ..Grid::default() },
    })
}

/// How many switches a contender has, which, and how it compares with the plain one.
fn step(set: &Set, scenario: &Scenario, contender: &str) -> Option<(usize, String, JudgedPair)> {
    let plain = plain_of(set, contender)?;
    let (base, other) = (set.series(scenario, plain), set.series(scenario, contender));
    let switches = &other.first()?.switches;
    let named: Vec<_> = switches.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let runs: [&[_]; 2] = [&base, &other];
    let bootstrap = (set.interleaved, RESAMPLES);
    let row = judge::row(Figure::Makespan, scenario, contender, runs, bootstrap)?;
    Some((named.len(), named.join(", "), row))
}
