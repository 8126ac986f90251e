//! What a page says first, and what its figures show.

use super::*;

fn page(sets: &[Set]) -> String {
    let comparison = compare(sets, &Question::default()).expect("results in common");
    let (everything, command) = (&comparison, "mpiswarm compare");
    Page { comparison: &comparison, everything, sets, beside: &[], command }.html()
}

#[test]
fn the_first_screen_answers() {
    let all =
        [runs("mutex", "w", 9, 0.9), runs("lockfree", "w", 9, 0.3), runs("tree", "w", 9, 0.9)];
    let html = page(&[set("one", all.concat())]);
    let answer = html.split("<dl").nth(1).and_then(|rest| rest.split("</dl>").next());
    let answer = answer.expect("an answer");
    for said in [
        "lockfree is 3.00× faster than mutex (makespan).",
        "Mean ratio 0.33 of 1 result, 95% interval [",
        "1 of 1 result significant; one launch: its verdicts hold for this launch only.",
    ] {
        assert!(answer.contains(said), "{said} is not in {answer}");
    }
    // One forest of all contenders.
    assert_eq!(
        html.matches("id=\"ratio-").count() / 3,
        1,
        "a figure, its title and its description"
    );
    assert!(html.contains("Makespan, w, 4 peers, 64 KiB: each contender ÷ mutex"));
}

#[test]
fn who_does_not_verify_has_a_bound_of_its_own() {
    let of = |contender: &str, bytes: usize, checked: bool| {
        let mut runs = runs(contender, "w", 6, 0.5);
        for one in &mut runs {
            one.scenario.segment_bytes = Some(bytes);
            let run = one.run.as_mut().expect("ours");
            (run.checked, run.bound_s) = (checked, Some(if checked { 0.2 } else { 0.1 }));
        }
        runs
    };
    let both = |checked| {
        let sizes = [1024, 65536]
            .map(|bytes| [of("mutex", bytes, true), of("mpi-bcast", bytes, checked)].concat());
        page(&[set("one", sizes.concat())])
    };
    let (apart, same) = (both(false), both(true));
    assert!(apart.contains("bound of those that do not verify"));
    assert!(apart.contains("mpi-bcast does not verify what it delivers"));
    assert!(!same.contains("bound of those that do not verify"));
    assert!(same.contains("bound: the best that the machine allows"));
    for bound in ["100.0 ms</td>", "200.0 ms</td>"] {
        assert!(apart.contains(bound), "{bound} in the table of repetitions");
    }
}
