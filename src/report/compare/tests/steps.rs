//! A ladder: each contender beside the one before it.

use super::*;
use crate::report::compare::pairing::Rung;

fn ladder() -> Set {
    let all = [
        runs("mutex", "classic", 10, 0.9),
        runs("several requests", "classic", 10, 0.6),
        runs("lockfree", "classic", 10, 0.3),
    ];
    let names = ["mutex", "several requests", "lockfree"].map(ToOwned::to_owned);
    Set { ladder: names.into(), ..set("aa", all.concat()) }
}

#[test]
fn each_step_of_a_ladder_stands_beside_the_one_before_it() {
    let sets = [ladder()];
    let comparison = answer(&sets);
    let pairs: Vec<_> = comparison
        .pairings
        .iter()
        .map(|one| (one.base.as_str(), one.other.as_str(), one.rung))
        .collect();
    let (step, whole) = (Some(Rung::Step), Some(Rung::Whole));
    let expected = [
        ("mutex", "several requests", step),
        ("several requests", "lockfree", step),
        ("mutex", "lockfree", whole),
    ];
    assert_eq!(pairs, expected);
    // All three are corrected for each other.
    assert!(comparison.pairings.iter().flat_map(|one| &one.rows).all(|row| row.family == 3));
    insta::assert_snapshot!("ladder", table::text(&comparison, Screen::FILE));
    let markdown = table::markdown(&comparison);
    let product =
        "classic, 4 peers, 64 KiB: the product of 2 steps is 0.33, the last ÷ the first 0.33";
    assert!(markdown.contains(product), "{markdown}");
    assert_eq!(table::csv(&comparison).lines().count(), 4);
    let everything = &comparison;
    let page =
        Page { comparison: &comparison, everything, sets: &sets, beside: &[], command: "" }.html();
    assert!(page.contains("mutex → lockfree, step by step"), "{page}");
    assert!(page.contains("several requests: 903.6 ms → 602.4 ms"), "{page}");
}

/// The second step halves the time: 0.50 of the one before, and 0.33 of the first.
#[test]
fn the_overview_of_a_ladder_says_that_ratios_are_to_the_row_before() {
    let text = table::overview(ladder(), Screen::FILE);
    let head = text.lines().find(|line| line.contains("makespan")).expect("a heading");
    assert!(head.contains("÷ before") && !head.contains("÷ mutex"), "{text}");
    let last = text.lines().find(|line| line.trim_start().starts_with("lockfree"));
    assert!(last.expect("a row").contains(" 0.50"), "{text}");
}

#[test]
fn a_ladder_is_an_ordinary_measurement_where_contenders_are_named() {
    let sets = [ladder()];
    let question = Question { contender: Some("mutex".to_owned()), ..Question::default() };
    let named = compare(&sets, &question).expect("it has that contender");
    assert!(named.pairings.iter().all(|one| one.rung.is_none() && one.base == "mutex"));
    // A step that the budget left out is said.
    let mut cut = ladder();
    cut.observations.retain(|one| one.contender != "lockfree");
    let text = table::text(&answer(&[cut]), Screen::FILE);
    assert!(text.contains("only in several requests: classic, 4 peers, 64 KiB"), "{text}");
    assert!(!text.contains("the product of"), "{text}");
}
