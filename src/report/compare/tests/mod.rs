//! Comparisons of made-up measurements whose answers are known.

mod imports;
mod kept_apart;
mod noise;
mod page;
mod run_lines;
mod sentences;
mod steps;
mod verdicts;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::gate::{GateError, GatePlan};
use super::history::history;
use super::html::{Page, all_figures};
use super::judge::Verdict;
use super::*;
use crate::report::Summary;
use crate::report::example;

// Made once: the histograms behind it take long.
static EXAMPLE: LazyLock<Summary> = LazyLock::new(example::summary);

/// A run of a contender on a workload of 4 peers and segments of 64 KiB.
fn run(contender: &str, workload: &str, repetition: u32, seconds: f64) -> Observation {
    let mut run = EXAMPLE.clone();
    run.makespan_s = seconds;
    run.engine = if contender == "mutex" { "mutex" } else { "lockfree" }.to_owned();
    Observation {
        scenario: Scenario {
            workload: workload.to_owned(),
            peers: Some(4),
            segment_bytes: Some(65536),
            parameters: "files=10".to_owned(),
            ..Scenario::default()
        },
        contender: contender.to_owned(),
        repetition: Some(repetition),
        values: BTreeMap::from([
            (Figure::Makespan, seconds),
            (Figure::Rate, 1e6 / seconds),
            (Figure::Memory, 5e6),
        ]),
        run: Some(Box::new(run)),
        ..Observation::default()
    }
}

/// `count` runs around `seconds`, of which the last lies far outside.
fn runs(contender: &str, workload: &str, count: u32, seconds: f64) -> Vec<Observation> {
    let wobble = |repetition: u32| {
        let part = f64::from(repetition * 7 % 10) / 10.0 - 0.45;
        seconds * (1.0 + 0.04 * part) * if repetition == 9 { 1.5 } else { 1.0 }
    };
    (0..count).map(|index| run(contender, workload, index, wobble(index))).collect()
}

/// `count` launches of three runs each, whose medians are those runs.
fn launches(contender: &str, workload: &str, count: u32, seconds: f64) -> Vec<Observation> {
    let launch = |middle: Observation| {
        let time = middle.values[&Figure::Makespan];
        let launch = middle.repetition.unwrap_or_default();
        let run = move |repetition: u32, part: f64| Observation {
            launch,
            ..run(contender, workload, repetition, time * part)
        };
        [run(0, 1.003), run(1, 0.999), run(2, 1.0)]
    };
    runs(contender, workload, count, seconds).into_iter().flat_map(launch).collect()
}

fn set(label: &str, observations: Vec<Observation>) -> Set {
    let facts = [("host", "node1", true), ("cores", "2", true), ("commit", label, false)];
    Set { observations: observations.into(), ..fact_set(label, &facts) }
}

fn fact_set(label: &str, facts: &[(&'static str, &str, bool)]) -> Set {
    let fact = |(name, value, matters): &(&'static str, &str, bool)| Fact {
        name,
        value: (*value).to_owned(),
        matters: *matters,
    };
    Set {
        label: label.to_owned(),
        began: format!("2026-01-0{}T00:00:00Z", label.len()),
        commit: format!("{label}0123456789"),
        facts: facts.iter().map(fact).collect(),
        interleaved: true,
        ..Set::default()
    }
}

/// Two measurements: one workload twice as fast, one as before, one with too few launches, one gone.
fn before_and_after() -> Vec<Set> {
    let before = [
        launches("lockfree", "classic", 10, 0.4),
        launches("lockfree", "one-owner", 10, 1.25),
        launches("lockfree", "small", 3, 2e-3),
        launches("lockfree", "gone", 10, 1.0),
    ];
    let after = [
        launches("lockfree", "classic", 10, 0.2),
        launches("lockfree", "one-owner", 10, 1.2502),
        launches("lockfree", "small", 10, 1e-3),
    ];
    vec![set("aa", before.concat()), set("bbb", after.concat())]
}

fn answer(sets: &[Set]) -> Comparison {
    compare(sets, &Question::default()).expect("the sets have runs in common")
}

fn plan(text: &str) -> Result<GatePlan, GateError> {
    GatePlan::parse(Path::new("gate.toml"), text)
}

#[test]
fn two_measurements_as_text() {
    let mut sets = before_and_after();
    sets[1].facts[1].value = "8".to_owned();
    sets[1].warnings = vec!["the source had uncommitted changes".to_owned()];
    let comparison = answer(&sets);
    insta::assert_snapshot!("text", table::text(&comparison, Screen::FILE));
    insta::assert_snapshot!("markdown", table::markdown(&comparison));
    insta::assert_snapshot!("csv", table::csv(&comparison));
    assert_eq!(comparison.differences.len(), 2);
}

#[test]
fn contenders_of_one_measurement_as_text() {
    let all = [
        runs("mutex", "classic", 10, 0.9),
        runs("lockfree", "classic", 10, 0.3),
        runs("chain", "classic", 4, 0.3),
    ];
    let sets = [set("aa", all.concat())];
    let comparison = answer(&sets);
    insta::assert_snapshot!("contenders", table::text(&comparison, Screen::FILE));
    let question = Question {
        contender: Some("lockfree".to_owned()),
        against: vec!["mutex".to_owned()],
        figures: vec![Figure::Rate],
        control: None,
    };
    let turned = compare(&sets, &question).expect("both are there");
    let row = &turned.pairings[0].rows[0];
    assert_eq!((turned.pairings.len(), row.verdict, row.paired), (1, Verdict::Worse, true));
    assert!((row.ratio.expect("a ratio") - 1.0 / 3.0).abs() < 1e-9);
}

/// Of eleven sorted runs of 1, 2, … 10 ms and one of 1 s, the median is the sixth, and the ends of its
/// interval are the second and the tenth.
#[test]
fn one_measurement_as_text() {
    let times = (1..=10_u32).map(|ms| f64::from(ms) / 1e3).chain([1.0]);
    let lockfree: Vec<_> =
        (0..).zip(times).map(|(index, time)| run("lockfree", "classic", index, time)).collect();
    let mutex = runs("mutex", "classic", 11, 0.11);
    let mut one = set("aa", [lockfree.clone(), runs("lockfree", "small", 3, 2e-3), mutex].concat());
    one.observations[0].values.insert(Figure::Bound, 6.0);
    one.warnings = vec!["chain, classic: 1 of 3 runs were incomplete and left out".to_owned()];
    insta::assert_snapshot!("overview", table::overview(one, Screen::FILE));
    let alone = table::overview(set("aa", lockfree), Screen::FILE);
    let row = alone.lines().last().expect("a row");
    assert!(row.contains("6.0 ms ± 67%") && row.contains("-  -"), "{alone}");
}

#[test]
fn a_history_as_text() {
    let mut sets = before_and_after();
    sets.reverse();
    let lines = history(&sets, Figure::Makespan);
    insta::assert_snapshot!("history", lines.text(Screen::FILE));
    insta::assert_snapshot!("history-csv", lines.csv());
    let mut elsewhere = before_and_after();
    elsewhere[1].facts[0].value = "node2".to_owned();
    let apart = history(&elsewhere, Figure::Makespan);
    assert!(apart.lines.iter().all(|line| line.points.len() == 1), "machines are never mixed");
}

/// Three measurements, of which the middle one has another MPI: the first and the last are one series.
#[test]
fn a_history_breaks_where_conditions_change_and_says_why() {
    let mut sets = before_and_after();
    sets.push(set("cccc", runs("lockfree", "classic", 10, 0.3)));
    for (set, transport) in sets.iter_mut().zip(["one MPI", "another MPI", "one MPI"]) {
        let (value, matters) = (transport.to_owned(), true);
        set.facts.push(Fact { name: "transport", value, matters });
    }
    let found = history(&sets, Figure::Makespan);
    let classic = found.lines.iter().filter(|line| line.scenario.workload == "classic");
    let lines: Vec<_> =
        classic.map(|line| (line.points.len(), line.break_reason.as_deref())).collect();
    let why = "no trend from aa to here: transport one MPI → another MPI";
    assert_eq!(lines, [(2, None), (1, Some(why))]);
    let text = found.text(Screen::FILE);
    assert_eq!(text.matches(why).count(), 1, "once a table: {text}");
    assert_eq!(text.matches("Makespan on node1").count(), 2, "{text}");
}

#[test]
fn verdicts_follow_from_the_samples() {
    let pairing = answer(&before_and_after()).pairings.remove(0);
    let verdicts: Vec<_> =
        pairing.rows.iter().map(|row| (row.scenario.workload.as_str(), row.verdict)).collect();
    let expected =
        [("classic", Verdict::Better), ("one-owner", Verdict::Same), ("small", Verdict::TooFew)];
    assert_eq!(verdicts, expected);
    let [classic, _, small] = pairing.rows.as_slice() else { panic!("three rows") };
    // Groups wide apart: 2 of the 184,756 ways to draw 10 of 20, and two tests in the table.
    assert!((classic.p.expect("enough runs") - 2.0 / 184_756.0).abs() < 1e-12);
    assert!((classic.p_holm.expect("enough runs") - 4.0 / 184_756.0).abs() < 1e-12);
    assert_eq!(classic.delta, Some(-1.0));
    assert!((classic.ratio.expect("a ratio") - 0.5).abs() < 1e-12);
    assert_eq!((small.p, small.detectable), (None, None));
    assert_eq!(pairing.only_base, ["lockfree: gone, 4 peers, 64 KiB"]);
    // Only of those with enough runs.
    let mean = pairing.mean.expect("ratios");
    assert_eq!((mean.rows, mean.verdict), (2, Verdict::Better));
    assert!((mean.ratio - (0.5_f64 * 1.2502 / 1.25).sqrt()).abs() < 1e-9);
}

#[test]
fn what_cannot_be_compared_is_said() {
    let sets = before_and_after();
    let ask = |sets: &[Set], contender: Option<&str>| {
        let contender = contender.map(ToOwned::to_owned);
        let error = compare(sets, &Question { contender, ..Question::default() });
        error.expect_err("there is nothing to compare").to_string()
    };
    assert_eq!(ask(&[], None), "there is nothing to compare: name at least one folder of records");
    assert!(
        ask(&sets, Some("lockfree"))
            .starts_with("--contender and --against compare contenders of one folder")
    );
    let one = &sets[..1];
    assert_eq!(ask(one, Some("mutex")), "aa has no contender \"mutex\"; it has lockfree");
    assert!(ask(one, None).contains("has one contender, \"lockfree\""));
    let strangers = [sets[0].clone(), set("other", runs("chain", "classic", 6, 1.0))];
    assert!(ask(&strangers, None).starts_with("aa and other have no result in common"));
}

#[test]
fn a_contender_that_changed_its_switches_is_another_one() {
    let mut sets = before_and_after();
    for one in sets[1].observations.iter_mut() {
        one.switches.insert("window".to_owned(), "8".to_owned());
    }
    let expected = "the contender \"lockfree\" has other switches: none in aa, window=8 in bbb";
    assert_eq!(answer(&sets).warnings, [expected]);
}

#[test]
fn a_gate_names_what_is_worse() {
    let mut sets = before_and_after();
    sets.reverse();
    let strict = plan("effect = 0.05").expect("a plan");
    let outcome = strict.judge(&answer(&sets));
    assert_eq!(outcome.judged, 2);
    assert_eq!(outcome.failures.len(), 1, "{outcome:?}");
    assert!(
        outcome.failures[0]
            .starts_with("lockfree, classic, 4 peers, 64 KiB (makespan): 100.0% worse than bbb"),
        "{outcome:?}"
    );
    let mild = "effect = 0.05\n[[rules]]\nworkload = \"classic\"\neffect = 2.0\n";
    assert_eq!(plan(mild).expect("a plan").judge(&answer(&sets)).failures, [""; 0]);
}

#[test]
fn a_gate_does_not_pass_what_is_no_longer_measured() {
    let sets = before_and_after();
    let outcome = plan("effect = 0.05").expect("a plan").judge(&answer(&sets));
    assert_eq!(
        outcome.failures,
        ["lockfree: gone, 4 peers, 64 KiB (makespan): measured in aa, missing in bbb"]
    );
    let lenient = plan("effect = 0.05\nmissing = \"warn\"").expect("a plan");
    let outcome = lenient.judge(&answer(&sets));
    assert_eq!(outcome.failures, [""; 0]);
    assert_eq!(
        outcome.remarks.len(),
        3,
        "too few launches, one that is gone, and what can be seen: {outcome:?}"
    );
}

#[test]
fn a_broken_gate_has_its_line() {
    let sentence = |text: &str| plan(text).expect_err("no plan").to_string();
    assert!(sentence("effect = 0.05\nefect = 1").starts_with("gate.toml:2: unknown field `efect`"));
    assert!(
        sentence("effect = 0.05\nfigures = [\"speed\"]")
            .starts_with("gate.toml:2: unknown variant")
    );
    assert_eq!(
        sentence("effect = nan"),
        "gate.toml: `effect` must be above 0, such as 0.05 for 5%, not NaN"
    );
    assert!(sentence("effect = 0.1\nfigures = []").contains("must name at least one figure"));
}

#[test]
fn a_page_has_its_figures_and_needs_nothing_else() {
    let mut sets = before_and_after();
    sets[0].label = "<b>&\"'".to_owned();
    let figures = all_figures(&sets);
    let everything = compare(&sets, &Question { figures, ..Question::default() }).expect("runs");
    let page = Page {
        comparison: &answer(&sets),
        everything: &everything,
        sets: &sets,
        beside: &[],
        command: "mpiswarm compare a b",
    };
    let html = page.html();
    let (begun, ended) = (html.matches("<figure").count(), html.matches("</figure>").count());
    assert!(begun == ended && begun >= 10, "{begun} figures");
    assert_eq!(html.matches("role=\"img\"").count(), begun);
    assert_eq!(html.matches("<desc").count(), begun);
    assert!(!html.contains("<b>&\""), "a label is no markup");
    for foreign in ["http:", "https:", "<script", "@import", "url(", "NaN", "inf\""] {
        assert!(!html.contains(foreign), "{foreign}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_records_changes_nothing(
        order in Just((0..99_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let sets = before_and_after();
        let mut shuffled = sets.clone();
        shuffled[0].observations = order.iter().map(|&index| sets[0].observations[index].clone()).collect::<Vec<_>>().into();
        prop_assert_eq!(answer(&sets), answer(&shuffled));
        let contenders = [runs("mutex", "w", 9, 0.9), runs("lockfree", "w", 9, 0.3)].concat();
        let one = [set("one", contenders.clone())];
        let places = order.iter().filter(|&&index| index < 18);
        let other = [set("one", places.map(|&index| contenders[index].clone()).collect())];
        prop_assert_eq!(answer(&one), answer(&other));
    }

    #[test]
    fn longer_times_scale_the_medians_and_nothing_else(factor in 0.001_f64..1000.0) {
        let sets = before_and_after();
        let mut longer = sets.clone();
        for one in longer.iter_mut().flat_map(|set| set.observations.iter_mut()) {
            let makespan = one.values.get_mut(&Figure::Makespan).expect("every run has one");
            *makespan *= factor;
        }
        let (before, after) = (answer(&sets), answer(&longer));
        for (old, new) in before.pairings[0].rows.iter().zip(&after.pairings[0].rows) {
            prop_assert!((new.base.median / old.base.median / factor - 1.0).abs() < 1e-9);
            prop_assert!((new.other.median / old.other.median / factor - 1.0).abs() < 1e-9);
            let ratios = (new.ratio.expect("a ratio"), old.ratio.expect("a ratio"));
            prop_assert!((ratios.0 / ratios.1 - 1.0).abs() < 1e-9);
            prop_assert_eq!((new.p, new.verdict), (old.p, old.verdict));
        }
    }

    #[test]
    fn a_measurement_beside_itself_is_the_same(times in prop::collection::vec(0.001_f64..10.0, 8..30)) {
        let launch = |(index, time): (u32, &f64)| Observation { launch: index, ..run("lockfree", "w", 0, *time) };
        let runs: Vec<_> = (0..).zip(&times).map(launch).collect();
        let comparison = answer(&[set("a", runs.clone()), set("bb", runs)]);
        let row = &comparison.pairings[0].rows[0];
        prop_assert_eq!((row.verdict, row.ratio, row.p, row.delta), (Verdict::Same, Some(1.0), Some(1.0), Some(0.0)));
        prop_assert!(table::text(&comparison, Screen::FILE).contains("  ~\n"));
    }
}

#[test]
fn the_gate_that_comes_with_the_program_is_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("inputs/gates/quick.toml");
    let plan = GatePlan::read(&path).expect("a plan");
    assert_eq!((plan.effect, plan.rules.len()), (0.05, 1));
}
