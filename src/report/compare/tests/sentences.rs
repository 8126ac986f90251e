//! The one sentence that a bench ends with.

use super::super::sentence::sentence;
use super::*;

fn said(observations: Vec<Observation>) -> String {
    let sets = [set("aa", observations)];
    let question = Question { figures: vec![Figure::Makespan], ..Question::default() };
    let comparison = compare(&sets, &question).expect("two contenders");
    sentence(&comparison.pairings, &sets).expect("makespans were compared")
}

#[test]
fn a_result_is_one_sentence() {
    let (slow, fast) = (runs("mutex", "classic", 10, 0.9), runs("lockfree", "classic", 10, 0.3));
    let of_one = [slow.clone(), fast.clone()].concat();
    let other_way =
        [runs("mutex", "classic", 10, 0.3), runs("lockfree", "classic", 10, 0.9)].concat();
    let alike = [slow.clone(), runs("lockfree", "classic", 10, 0.9)].concat();
    let few = [runs("mutex", "classic", 3, 0.9), runs("lockfree", "classic", 4, 0.3)].concat();
    let more = [
        of_one.clone(),
        [runs("mutex", "one-owner", 10, 1.0), runs("lockfree", "one-owner", 10, 0.25)].concat(),
        [runs("mutex", "same", 10, 1.0), runs("lockfree", "same", 10, 1.0)].concat(),
        [runs("mutex", "small", 3, 1.0), runs("lockfree", "small", 3, 0.01)].concat(),
    ];
    let best_of_two = [of_one.clone(), runs("chain", "classic", 10, 0.5)].concat();
    let all = [of_one, other_way, alike, few, more.concat(), best_of_two].map(said);
    insta::assert_snapshot!("sentences", all.join("\n"));
}

/// The table and the sentence hold the same numbers.
#[test]
fn a_sentence_says_what_the_table_says() {
    let all = [runs("mutex", "classic", 10, 0.9), runs("lockfree", "classic", 10, 0.3)].concat();
    let text = table::overview(set("aa", all.clone()), Screen::FILE);
    assert_eq!(text.lines().last(), Some(said(all).as_str()));
    assert_eq!(text.matches("3.00× faster").count(), 1, "{text}");
    assert!(text.contains("lockfree is 3.00 times as fast as mutex"), "{text}");
}

#[test]
fn one_contender_alone_has_no_sentence() {
    assert_eq!(sentence(&[], &[]), None);
    let text = table::overview(set("aa", runs("lockfree", "classic", 10, 0.3)), Screen::FILE);
    assert!(!text.contains(" times as fast as "), "{text}");
}
