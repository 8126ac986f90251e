//! What a verdict holds for, what it is relative to, and what is no verdict.

use std::collections::BTreeMap;
use std::path::Path;

use super::{answer, fact_set, launches, plan, run, runs, set};
use crate::report::compare::html::{Page, all_figures};
use crate::report::compare::judge::{Tested, Verdict};
use crate::report::compare::pairing::compare_resampling;
use crate::report::compare::{
    CompareError, Comparison, Figure, Observation, Question, Screen, Set, compare, table,
};

/// Launches whose runs all take so long, one after the other.
fn steady(contender: &str, workload: &str, times: &[f64]) -> Vec<Observation> {
    let launch = |(launch, time): (u32, &f64)| {
        let one =
            move |repetition| Observation { launch, ..run(contender, workload, repetition, *time) };
        [one(0), one(1)]
    };
    (0..).zip(times).flat_map(launch).collect()
}

/// Eight times around a second, spread by 2%.
fn around(seconds: f64) -> Vec<f64> {
    (0..8).map(|launch| seconds * (1.0 + 0.02 * (f64::from(launch * 5 % 8) / 7.0 - 0.5))).collect()
}

fn with_control(comparison: &[Set], control: &str) -> Result<Comparison, CompareError> {
    let control = Some(control.to_owned());
    compare(comparison, &Question { control, ..Question::default() })
}

fn verdicts(comparison: &Comparison) -> Vec<(&str, Verdict)> {
    let rows = comparison.pairings.iter().flat_map(|pairing| &pairing.rows);
    rows.map(|row| (row.contender.as_str(), row.verdict)).collect()
}

#[test]
fn seven_launches_have_no_verdict_however_far_apart() {
    let sets = |count| {
        [
            set("a", launches("lockfree", "w", 8, 0.1)),
            set("bb", launches("lockfree", "w", count, 0.3)),
        ]
    };
    let text = table::text(&answer(&sets(7)), Screen::FILE);
    assert!(text.contains("? 7 launches, 8 needed"), "{text}");
    assert!(
        text.contains("  7 launches: no verdict beyond them; at least 8 of each side"),
        "{text}"
    );
    assert_eq!(verdicts(&answer(&sets(8))), [("lockfree", Verdict::Worse)]);
    // Many runs of one launch each are no more.
    let sets =
        [set("a", runs("lockfree", "w", 100, 0.1)), set("bb", runs("lockfree", "w", 100, 0.3))];
    let text = table::text(&answer(&sets), Screen::FILE);
    assert!(text.contains("  1 launch: no verdict beyond them"), "{text}");
    assert_eq!(verdicts(&answer(&sets)), [("lockfree", Verdict::TooFew)]);
}

#[test]
fn a_launch_alone_speaks_for_itself() {
    let contenders = |make: fn(&str, &str, u32, f64) -> Vec<Observation>, count| {
        let all = [make("mutex", "w", count, 0.3), make("lockfree", "w", count, 0.1)];
        answer(&[set("a", all.concat())])
    };
    let one = contenders(runs, 8);
    assert_eq!(one.pairings[0].rows[0].tested, Tested::Run);
    assert!(
        table::text(&one, Screen::FILE)
            .contains("one launch: its verdicts hold for this launch only")
    );
    let many = contenders(launches, 8);
    let row = &many.pairings[0].rows[0];
    assert_eq!((row.tested, row.paired, row.verdict), (Tested::Launch, true, Verdict::Better));
    // The launches of both contenders have one ratio, which is exact.
    assert!(row.p.expect("eight launches") < 1e-9, "{row:?}");
    assert!(!table::text(&many, Screen::FILE).contains("launch only"));
    assert_eq!(contenders(launches, 7).pairings[0].rows[0].verdict, Verdict::TooFew);
}

#[test]
fn ratios_between_sets_are_relative_to_the_control() {
    let sets = |lockfree: f64, control: f64| {
        let base = [steady("lockfree", "w", &around(1.0)), steady("mpi-bcast", "w", &around(0.5))];
        let other = [
            steady("lockfree", "w", &around(lockfree)),
            steady("mpi-bcast", "w", &around(0.5 * control)),
        ];
        [set("a", base.concat()), set("bb", other.concat())]
    };
    // The machine was slower by a fifth, and nothing else.
    let slower = answer(&sets(1.2, 1.2));
    assert_eq!(verdicts(&slower), [("lockfree", Verdict::Same), ("mpi-bcast", Verdict::Control)]);
    let text = table::text(&slower, Screen::FILE);
    assert!(text.contains("the control mpi-bcast moved by 1.20 × ["), "{text}");
    assert!(text.contains("ratios are relative to it"), "{text}");
    let without = with_control(&sets(1.2, 1.2), "none").expect("runs in common");
    assert_eq!(verdicts(&without), [("lockfree", Verdict::Worse), ("mpi-bcast", Verdict::Worse)]);
    assert!(
        table::text(&without, Screen::FILE)
            .contains("no control: a difference can be the machine's")
    );
    // A tenth more than the machine is less than what the machine did, and twice is more.
    let void = answer(&sets(1.2 * 1.1, 1.2));
    assert_eq!(void.pairings[0].rows[0].verdict, Verdict::Void);
    let text = table::text(&void, Screen::FILE);
    assert!(text.contains("void: the control moved") && text.contains("1 difference"), "{text}");
    let loss = answer(&sets(2.4, 1.2));
    let row = &loss.pairings[0].rows[0];
    assert_eq!(row.verdict, Verdict::Worse);
    assert!((row.ratio.expect("a ratio") - 2.0).abs() < 1e-9, "{row:?}");
    // The machine was not slower: the control held still.
    let held = answer(&sets(1.1, 1.0));
    assert_eq!(held.pairings[0].rows[0].verdict, Verdict::Worse);
    // Memory does not follow the machine.
    let question = Question { figures: vec![Figure::Memory], ..Question::default() };
    let memory = compare(&sets(1.0, 1.2), &question).expect("runs in common");
    assert_eq!(memory.pairings[0].control, None);
    let error = with_control(&sets(1.0, 1.0), "chain").expect_err("no such contender").to_string();
    assert_eq!(error, "a has no contender \"chain\"; it has lockfree, mpi-bcast");
    let error = with_control(&sets(1.0, 1.0)[..1], "mpi-bcast").expect_err("one set").to_string();
    assert!(error.starts_with("--control is for comparisons of folders"), "{error}");
}

/// Jobs of other sizes are other launches, and have controls of their own.
#[test]
fn the_control_is_that_of_the_same_launches() {
    let measured = |label: &str, slower: f64| {
        let mut all = Vec::new();
        for (job, workload, machine) in [(0, "small", 1.0), (8, "large", slower)] {
            for contender in ["lockfree", "mpi-bcast"] {
                let mut runs = steady(contender, workload, &around(machine));
                runs.iter_mut().for_each(|one| one.launch += job);
                all.extend(runs);
            }
        }
        set(label, all)
    };
    let comparison = answer(&[measured("a", 1.0), measured("bb", 1.5)]);
    let rows = &comparison.pairings[0].rows;
    let moved: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row.scenario.workload.as_str(), row.control?.ratio)))
        .collect();
    assert_eq!(moved.len(), 2);
    assert!(moved.iter().all(|(workload, by)| {
        (by - if *workload == "large" { 1.5 } else { 1.0 }).abs() < 1e-9
    }));
    assert!(rows.iter().all(|row| matches!(row.verdict, Verdict::Same | Verdict::Control)));
    assert!(table::text(&comparison, Screen::FILE).contains("moved by 1.000 to 1.50 ×"));
}

/// The control has no run in one launch of the large workload: a jump of the machine would pass for the change's.
#[test]
fn a_result_that_the_control_is_missing_for_is_named() {
    let measured = |label: &str| {
        let mut all =
            [steady("lockfree", "small", &around(1.0)), steady("mpi-bcast", "small", &around(1.0))]
                .concat();
        let mut large = steady("lockfree", "large", &around(1.0));
        large.iter_mut().for_each(|one| one.launch += 8);
        all.extend(large);
        set(label, all)
    };
    let text = table::text(&answer(&[measured("a"), measured("bb")]), Screen::FILE);
    let expected = "the control mpi-bcast can't be used for 1 result, not relative to it: lockfree, large, 4 \
                    peers, 64 KiB";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("the control mpi-bcast moved by"), "the other has one: {text}");
}

#[test]
fn a_gate_fails_where_runs_no_longer_deliver() {
    let measured = |label: &str, incomplete: usize| {
        let mut one = set(label, steady("lockfree", "w", &around(1.0)));
        let scenario = one.observations[0].scenario.clone();
        one.incomplete = BTreeMap::from([((scenario, "lockfree".to_owned()), incomplete)]);
        one
    };
    let gate = plan("effect = 0.5\nfigures = [\"makespan\", \"rate\"]").expect("a plan");
    let failures = |sets: &[Set]| {
        let figures = gate.figures.clone();
        let comparison = compare(sets, &Question { figures, ..Question::default() });
        gate.judge(&comparison.expect("runs in common")).failures
    };
    let expected = "lockfree, w, 4 peers, 64 KiB: 3 runs incomplete in bb, 2 in a";
    assert_eq!(failures(&[measured("a", 2), measured("bb", 3)]), [expected]);
    assert_eq!(failures(&[measured("a", 2), measured("bb", 2)]), [""; 0]);
    // Of launches the runs are added, under the conditions that tell them apart.
    let launches = ["4", "8"].map(|cores| {
        let mut one = measured("x", 1);
        one.facts[1].value = cores.to_owned();
        (cores.to_owned(), one)
    });
    let whole = Set::of_launches("x".to_owned(), Path::new("x"), launches.into());
    let conditions = whole.incomplete.iter().map(|((of, _), runs)| (of.conditions.as_str(), *runs));
    assert_eq!(conditions.collect::<Vec<_>>(), [("cores 4", 1), ("cores 8", 1)]);
}

/// `compare A B --gate` of a benchmark that took no time, and now takes 5 ns.
#[test]
fn what_has_no_ratio_is_worse_all_the_same() {
    let of = |label, time: f64| {
        let mut all = launches("lockfree", "w", 8, 1.0);
        all.extend(launches("lockfree", "zero", 8, 1.0).into_iter().map(|mut one| {
            one.values.insert(Figure::Makespan, time);
            one
        }));
        set(label, all)
    };
    let slower = answer(&[of("a", 0.0), of("bb", 5e-9)]);
    let row = &slower.pairings[0].rows[1];
    assert_eq!((row.ratio, row.ratio_interval, row.verdict), (None, None, Verdict::Worse));
    let text = table::text(&slower, Screen::FILE);
    assert!(text.lines().any(|line| line.contains("zero") && line.ends_with("  slower")), "{text}");
    let gate = plan("effect = 0.5").expect("a plan");
    let outcome = gate.judge(&slower);
    assert_eq!((outcome.judged, outcome.failures.len()), (2, 1), "{outcome:?}");
    assert!(
        outcome.failures[0].contains("worse than a (at most 50.0% allowed); from 0 s to 5.0 ns"),
        "{outcome:?}"
    );
    // And the way back.
    let faster = answer(&[of("a", 5e-9), of("bb", 0.0)]);
    assert_eq!(faster.pairings[0].rows[1].verdict, Verdict::Better);
    assert_eq!(gate.judge(&faster).failures, [""; 0]);
    let page = Page {
        comparison: &faster,
        everything: &faster,
        sets: &[of("a", 5e-9), of("bb", 0.0)],
        beside: &[],
        command: "",
    };
    for text in [text, table::text(&faster, Screen::FILE), table::csv(&faster), page.html()] {
        for no_number in ["inf×", "inf ", "inf,", "inf<", "inf\"", "NaN"] {
            assert!(!text.contains(no_number), "{no_number}: {text}");
        }
    }
    // The other row has a mean all the same; one of two needs no name.
    let mean = slower.pairings[0].mean.as_ref().expect("one row has a ratio");
    assert_eq!((mean.rows, mean.verdict), (1, Verdict::Same));
    // Nothing to nothing is nothing.
    assert_eq!(answer(&[of("a", 0.0), of("bb", 0.0)]).pairings[0].rows[1].verdict, Verdict::Same);
    // Contenders of one launch have ranks too.
    let mut all = runs("mutex", "w", 8, 1.0);
    all.iter_mut().for_each(|one| *one.values.get_mut(&Figure::Makespan).expect("set") = 0.0);
    let one = answer(&[set("a", [all, runs("lockfree", "w", 8, 5e-9)].concat())]);
    assert_eq!(one.pairings[0].rows[0].verdict, Verdict::Worse);
}

#[test]
fn a_row_without_a_ratio_is_counted_beside_the_mean() {
    let of = |label, workloads: [f64; 3]| {
        let names = ["a", "b", "c"].iter().zip(workloads);
        set(label, names.flat_map(|(name, time)| steady("lockfree", name, &around(time))).collect())
    };
    let comparison = answer(&[of("a", [1.0, 1.0, 0.0]), of("bb", [2.0, 2.0, 1.0])]);
    let text = table::text(&comparison, Screen::FILE);
    let expected = "geometric mean of 2 ratios (1 result without a ratio left out): 2.00";
    assert!(text.contains(expected) && text.contains("2.00× slower"), "{text}");
}

#[test]
fn a_gate_that_judged_nothing_fails() {
    let sets = [set("a", runs("lockfree", "w", 9, 1.0)), set("bb", runs("lockfree", "w", 9, 1.0))];
    let outcome = plan("effect = 0.5").expect("a plan").judge(&answer(&sets));
    let expected = "no result could be judged: lockfree, w, 4 peers, 64 KiB (makespan): 1 launch, at least 8 are \
                    needed";
    assert_eq!((outcome.judged, outcome.failures), (0, vec![expected.to_owned()]));
    assert!(outcome.remarks[0].ends_with("not judged: 1 launch, at least 8 are needed"));
}

/// Ratios that cancel out, each of them significant: their mean is noise.
#[test]
fn a_mean_of_noise_has_no_colour() {
    let of = |label, factors: [f64; 4]| {
        let names = ["a", "b", "c", "d"].iter().zip(factors);
        set(label, names.flat_map(|(name, time)| steady("lockfree", name, &around(time))).collect())
    };
    let sets = [of("a", [1.0; 4]), of("bb", [2.0, 0.5, 1.5, 0.669])];
    let comparison = answer(&sets);
    let mean = comparison.pairings[0].mean.as_ref().expect("ratios");
    assert_eq!((mean.rows, mean.verdict), (4, Verdict::Same), "{mean:?}");
    assert!(comparison.pairings[0].count(Verdict::Worse) == 2);
    let figures = all_figures(&sets);
    let everything = compare(&sets, &Question { figures, ..Question::default() }).expect("runs");
    let page = Page {
        comparison: &comparison,
        everything: &everything,
        sets: &sets,
        beside: &[],
        command: "",
    };
    let html = page.html();
    assert!(html.contains("<div class=\"head faint\"><div>Makespan: a → bb</div>"), "{html}");
    assert!(html.contains("geometric mean of 4 ratios: 1.001"), "{html}");
}

/// A verdict is the same whatever else is shown.
#[test]
fn the_results_that_are_corrected_for_do_not_depend_on_what_is_asked() {
    let names = ["mutex", "lockfree", "chain", "circulant", "tree"];
    let all = names.iter().enumerate().flat_map(|(index, name)| {
        let seconds = 1.0 - 0.004 * index as f64;
        [runs(name, "w", 9, seconds), runs(name, "v", 9, seconds)].concat()
    });
    let sets = [set("a", all.collect())];
    let ask = |against: &[&str]| {
        let against = against.iter().map(ToString::to_string).collect();
        let question =
            Question { contender: Some("mutex".to_owned()), against, ..Question::default() };
        compare_resampling(200, &sets, &question).expect("contenders")
    };
    let whole = ask(&[]);
    assert_eq!(whole.pairings.len(), 4);
    for pairing in &whole.pairings {
        assert_eq!(ask(&[&pairing.other]).pairings, std::slice::from_ref(pairing));
        assert!(pairing.rows.iter().all(|row| row.family == 8));
    }
    let text = table::text(&ask(&["tree"]), Screen::FILE);
    assert!(text.contains("p is corrected for 8 results: all contenders and scenarios"), "{text}");
    // A third folder changes nothing between the first two.
    let three = ["a", "bb", "ccc"]
        .map(|name| set(name, launches("lockfree", "w", 8, 1.0 + 0.1 * name.len() as f64)));
    assert_eq!(answer(&three[..2]).pairings, answer(&three).pairings[..1]);
}

/// Of 4,000 draws of two groups of 8 normal samples, the test at 0.01 told a shift of 2.38 of their
/// deviations in 90.3%.
#[test]
fn the_smallest_difference_that_can_be_told_is_said() {
    let logs = [-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5].map(|step: f64| 0.01 * step);
    let times = logs.map(f64::exp);
    let sets = ["a", "bb"].map(|label| set(label, steady("lockfree", "w", &times)));
    let comparison = answer(&sets);
    let deviation = 0.01 * 6.0_f64.sqrt();
    let detectable = comparison.pairings[0].rows[0].detectable.expect("eight launches");
    let shift = detectable.ln() / deviation;
    assert!((shift - 2.38).abs() < 0.12, "{shift}");
    let text = table::text(&comparison, Screen::FILE);
    assert!(text.contains("tell from none 9 times of 10; here 5.8% or more"), "{text}");
    let outcome = plan("effect = 0.02").expect("a plan").judge(&comparison);
    // 8 · (ln 1.0577 ÷ ln 1.02)².
    let expected = "makespan of bb: 8 launches show a loss of 5.8% in any result 9 times of 10; for 2.0% \
                    about 65 are needed";
    assert_eq!(outcome.remarks, [expected]);
}

/// With 8 launches the rank test ends at p = 0.00016, which is not significant among 65 results.
#[test]
fn a_family_that_launches_are_too_few_for_is_not_passed() {
    let of = |label, slower: f64| {
        let names: Vec<String> = (0..65).map(|index| format!("w{index}")).collect();
        set(
            label,
            names.iter().flat_map(|name| steady("lockfree", name, &around(slower))).collect(),
        )
    };
    let comparison = answer(&[of("a", 1.0), of("bb", 3.0)]);
    let outcome = plan("effect = 0.5").expect("a plan").judge(&comparison);
    assert_eq!((outcome.judged, outcome.failures.len()), (0, 1));
    assert!(outcome.remarks[0].ends_with("not judged: 8 launches are too few for 65 results"));
    let text = table::text(&comparison, Screen::FILE);
    assert!(text.contains("65 results can't get a verdict with so few launches"), "{text}");
}

#[test]
fn launches_become_one_set() {
    let launch = |name: &str, load: &str, warnings: &[&str]| {
        let mut one = fact_set(name, &[("host", "node1", true), ("load at start", load, false)]);
        one.observations = runs("lockfree", "w", 2, 1.0).into();
        one.warnings = warnings.iter().map(ToString::to_string).collect();
        one.commands = vec!["git checkout".to_owned()];
        (name.to_owned(), one)
    };
    let all = vec![
        launch("ranks-5/launch-1", "0.1", &["profile debug"]),
        launch("ranks-5/launch-2", "0.2", &["profile debug", "the machine was busy"]),
    ];
    let whole = Set::of_launches("m".to_owned(), Path::new("m"), all.clone());
    let launches: Vec<u32> = whole.observations.iter().map(|one| one.launch).collect();
    assert_eq!((launches, whole.launches(), whole.label.as_str()), (vec![0, 0, 1, 1], 2, "m"));
    assert_eq!(
        whole.facts.iter().map(|fact| fact.value.as_str()).collect::<Vec<_>>(),
        ["node1", "0.1; 0.2"]
    );
    assert_eq!(whole.warnings, ["profile debug", "the machine was busy (in ranks-5/launch-2)"]);
    assert_eq!(whole.commands.len(), 1);
    let mut other = all;
    other[1].1.facts[0].value = "node2".to_owned();
    let mixed = Set::of_launches("m".to_owned(), Path::new("m"), other);
    assert!(mixed.warnings.contains(&"its launches differ in host: node1; node2".to_owned()));
}

/// `compare A B --gate` of a benchmark of one launch that took no time, and now takes 5 ns: there is no ratio,
/// and too little to judge. The table and the gate say so in the same words.
#[test]
fn a_gate_that_judged_nothing_says_why() {
    let of = |label, time: f64| {
        let mut all = runs("lockfree", "w", 8, 1.0);
        all.iter_mut().for_each(|one| one.values.extend([(Figure::Makespan, time)]));
        set(label, all)
    };
    let comparison = answer(&[of("a", 0.0), of("bb", 5e-9)]);
    let outcome = plan("effect = 0.5").expect("a plan").judge(&comparison);
    let expected = "no result could be judged: lockfree, w, 4 peers, 64 KiB (makespan): from 0 s to 5.0 ns, \
                    which has no ratio; 1 launch, at least 8 are needed";
    assert_eq!(outcome.failures, [expected]);
    for text in [table::text(&comparison, Screen::FILE), table::markdown(&comparison)] {
        assert!(text.contains("from 0") && text.contains("1 launch, 8 needed"), "{text}");
        assert!(text.contains("from 0: no ratio; a significant change from 0"), "{text}");
    }
    let back = table::text(&answer(&[of("a", 5e-9), of("bb", 0.0)]), Screen::FILE);
    assert!(back.contains("to 0") && !back.contains("from 0"), "{back}");
}
