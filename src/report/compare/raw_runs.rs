//! Every run as a line of CSV, for other tools.

use super::table::{csv_text, csv_value};
use super::{Figure, Observation, Set};

/// The runs of all sets: what was run, where, and each figure that any of them has. `results/FIELDS.md` lists the
/// columns.
pub(crate) fn csv(sets: &[Set]) -> String {
    let has = |figure: &Figure| {
        let mut all = sets.iter().flat_map(|set| set.observations.iter());
        all.any(|one| one.values.contains_key(figure))
    };
    let figures: Vec<Figure> = Figure::all().filter(has).collect();
    let mut head = "folder,began,commit,workload,peers,segment_bytes,parameters,contender,switches,launch,repetition"
        .to_owned();
    figures.iter().for_each(|figure| head += &format!(",{}", column(*figure)));
    let lines = sets.iter().flat_map(|set| {
        let keys = set.keys().into_iter();
        let runs = keys.flat_map(|(scenario, contender)| set.series(scenario, contender));
        runs.map(|run| line(set, run, &figures)).collect::<Vec<_>>()
    });
    csv_text(&head, lines)
}

fn line(set: &Set, run: &Observation, figures: &[Figure]) -> Vec<String> {
    let scenario = &run.scenario;
    let switches = run.switches.iter().map(|(name, value)| format!("{name}={value}"));
    let mut cells = vec![
        set.label.clone(),
        set.began.clone(),
        set.commit.clone(),
        scenario.workload.clone(),
        csv_value(scenario.peers),
        csv_value(scenario.segment_bytes),
        scenario.details(),
        run.contender.clone(),
        switches.collect::<Vec<_>>().join(" "),
        run.launch.to_string(),
        csv_value(run.repetition),
    ];
    cells.extend(figures.iter().map(|figure| csv_value(run.values.get(figure))));
    cells
}

/// `makespan_s`: a name ends in its unit.
fn column(figure: Figure) -> String {
    let unit = figure.unit().replace('B', "bytes").replace("1/", "per_").replace('/', "_per_");
    let name = figure.name().replace('-', "_");
    if unit.is_empty() { name } else { format!("{name}_{unit}") }
}
