//! Results under different conditions stand in no series.

use std::path::Path;

use super::*;

/// A launch of two contenders with these facts.
fn launch(name: &str, facts: &[(&'static str, &str, bool)], peers: usize) -> (String, Set) {
    let mut one = fact_set(name, facts);
    one.observations = [runs("mutex", "w", 8, 2.0), runs("lockfree", "w", 8, 1.0)].concat().into();
    one.observations.iter_mut().for_each(|run| run.scenario.peers = Some(peers));
    (name.to_owned(), one)
}

fn whole(launches: &[(String, Set)]) -> Set {
    Set::of_launches("m".to_owned(), Path::new("m"), launches.to_vec())
}

/// The conditions and the launches of each series of a contender.
fn series(set: &Set) -> Vec<(String, Vec<u32>)> {
    let of = |scenario: &Scenario| {
        let mut launches: Vec<_> =
            set.series(scenario, "lockfree").iter().map(|run| run.launch).collect();
        launches.dedup();
        (scenario.conditions.clone(), launches)
    };
    set.scenarios().into_iter().map(of).collect()
}

#[test]
fn launches_under_other_conditions_are_kept_apart() {
    for name in ["kernel", "transport", "MPI tuning", "links", "plan", "processor", "ranks"] {
        let of = |label, value| launch(label, &[("host", label, true), (name, value, true)], 4);
        let set = whole(&[of("a", "one"), of("b", "other"), of("c", "one")]);
        let expected = [(format!("{name} one"), vec![0, 2]), (format!("{name} other"), vec![1])];
        assert_eq!(series(&set), expected, "{name}");
        // Each row of a comparison is under one condition, and says which.
        let comparison = answer(std::slice::from_ref(&set));
        let rows = &comparison.pairings[0].rows;
        assert_eq!(rows.iter().map(|row| row.base.values.len()).max(), Some(16), "{name}");
        assert!(
            table::text(&comparison, Screen::FILE).contains(&format!("{name} other")),
            "{name}"
        );
    }
}

#[test]
fn launches_that_differ_in_what_is_no_condition_are_one_series() {
    for name in ["host", "compiler", "load at start", "commit"] {
        let of = |label, value| launch(label, &[(name, value, true)], 4);
        let set = whole(&[of("a", "one"), of("b", "other")]);
        assert_eq!(series(&set), [(String::new(), vec![0, 1])], "{name}");
    }
    // Of another number of ranks there are other scenarios, which nobody takes for one.
    let of = |label, ranks, peers| launch(label, &[("ranks", ranks, true)], peers);
    let set = whole(&[of("a", "5 on one host", 4), of("b", "13 on one host", 12)]);
    assert_eq!(series(&set), [(String::new(), vec![0]), (String::new(), vec![1])]);
}

#[test]
fn what_differs_between_two_sets_is_listed_and_not_mixed_with_another() {
    let of = |label, kernel| launch(label, &[("kernel", kernel, true)], 4).1;
    let apart = answer(&[of("aa", "6.1"), of("bbb", "6.2")]);
    assert_eq!(
        apart.differences.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        ["kernel"]
    );
    assert!(!apart.pairings[0].rows.is_empty(), "the difference is the question");
    // One side has launches of both kernels: which of them should the other stand beside?
    let mixed = whole(&[("a".to_owned(), of("a", "6.1")), ("b".to_owned(), of("b", "6.2"))]);
    let error = compare(&[mixed, of("ccc", "6.2")], &Question::default()).expect_err("no pair");
    assert!(error.to_string().starts_with("m and ccc have no result in common"), "{error}");
}
