//! The method, tried on contenders whose times are known.

use std::path::Path;

use super::*;
use crate::harness::records;

// Three mocks whose makespans differ, and never settle.
const MOCKS: &str = "\
purpose = \"a test\"
seed = 7
budget_s = 3600
repetitions = { least = 4, most = 12 }
warm_up = 2

[[workloads]]
name = \"w\"
shape = \"broadcast\"
segments = 1
segment_bytes = 1

[[contenders]]
name = \"a\"
engine = \"mock\"
times_ms = [1, 9]

[[contenders]]
name = \"b\"
engine = \"mock\"
times_ms = [3]

[[contenders]]
name = \"c\"
engine = \"mock\"
times_ms = [2]
";

fn plan(text: &str) -> Plan {
    Plan::parse(Path::new("mocks.toml"), text.to_owned(), None).expect("a plan")
}

fn run(plan: &Plan, journal: &mut Journal, earlier: Vec<Record>) -> (BenchOutcome, Vec<String>) {
    let clock = Clock::start();
    let began = clock.now();
    let launch = &Launch::Threads;
    let mut bench = Bench { plan, launch, limits: &[], clock: &clock, began, journal };
    let mut told = Vec::new();
    let measured = bench.run(earlier, &mut |event| match event {
        BenchEvent::Remark(line) => told.push(line.to_owned()),
        BenchEvent::Run(RunBegins { workload: (number, all), scenario, contender, repetition }) => {
            let repetition = repetition.map_or_else(|| "warm-up".to_owned(), |one| one.to_string());
            told.push(format!("{number}/{all} {}: {contender} {repetition}", scenario.size()));
        }
    });
    (measured.expect("mocks don't break"), told)
}

/// Runs a plan in a folder of its own.
fn measured(text: &str) -> BenchOutcome {
    let dir = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::begin(&dir.path().join("out")).expect("nothing is there");
    run(&plan(text), &mut journal, Vec::new()).0
}

fn names(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.contender.as_str()).collect()
}

#[test]
fn contenders_run_interleaved_in_a_seeded_order() {
    let run = measured(MOCKS);
    assert_eq!(run.warm_up_runs, 6);
    let rounds: Vec<_> = run.records.chunks(3).collect();
    assert_eq!(rounds.len(), 12);
    for (number, round) in (0..).zip(&rounds) {
        let mut sorted = names(round);
        let expected: Vec<_> =
            order(7, 0, number, 3).into_iter().map(|place| ["a", "b", "c"][place]).collect();
        assert_eq!(sorted, expected, "repetition {number}");
        sorted.sort_unstable();
        assert_eq!(sorted, ["a", "b", "c"], "each once a repetition");
        assert!(round.iter().all(|record| record.repetition == number));
    }
    let orders: BTreeSet<_> = rounds.iter().map(|round| names(round)).collect();
    assert!(orders.len() > 2, "the order is another one now and then: {orders:?}");
    let again = measured(MOCKS);
    assert_eq!(names(&again.records), names(&run.records), "the seed decides");
    let other = measured(&MOCKS.replace("seed = 7", "seed = 8"));
    assert_ne!(names(&other.records), names(&run.records));
}

#[test]
fn times_are_those_of_the_mock() {
    let measured = measured(MOCKS);
    let of_a = measured.records.iter().filter(|record| record.contender == "a");
    let times: Vec<_> = of_a.map(|record| record.run.makespan_s).collect();
    assert_eq!(times, [0.001, 0.009].repeat(6));
}

#[test]
fn it_is_enough_when_the_intervals_are_narrow() {
    // Fixed times have intervals of no width, which six runs are enough for.
    let settled = MOCKS.replace("[1, 9]", "[1]");
    assert_eq!(measured(&settled).records.len(), 3 * 6);
    let at_least = settled.replace("least = 4", "least = 9");
    assert_eq!(measured(&at_least).records.len(), 3 * 9);
}

#[test]
fn a_budget_bounds_the_warm_up_and_the_first_repetition_too() {
    let hurried = |nanoseconds| {
        let dir = tempfile::tempdir().expect("a folder");
        let mut journal = Journal::begin(dir.path()).expect("nothing is there");
        let plan = Plan { budget: Duration::from_nanos(nanoseconds), ..plan(MOCKS) };
        let (measured, _) = run(&plan, &mut journal, Vec::new());
        (measured.records.len(), measured.unmeasured)
    };
    assert_eq!(hurried(0), (0, 1));
    let (records, unmeasured) = hurried(1);
    assert!(records <= 3 && (records == 3 || unmeasured == 1), "{records}, {unmeasured}");
}

#[test]
fn what_can_not_run_is_skipped_with_a_line_for_each_reason() {
    let more = ["mpi-bcast", "mpi-bcast-segments"]
        .map(|engine| format!("\n[[contenders]]\nengine = \"{engine}\"\n"));
    let text = format!(
        "{}{}",
        MOCKS.replace("segment_bytes = 1\n", "segment_bytes = [1, 2]\n"),
        more.concat()
    );
    let dir = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::begin(dir.path()).expect("nothing is there");
    let (measured, told) = run(&plan(&text), &mut journal, Vec::new());
    assert_eq!(measured.records.len(), 2 * 3 * 12);
    let (skipped, runs) = told.split_first().expect("a line");
    let expected = "skipped 4 results: it needs MPI ranks: start mpiswarm with mpirun: \
                    mpi-bcast on w, 4 peers, segments of 1 B; mpi-bcast on w, 4 peers, segments of 2 B;";
    assert!(skipped.starts_with(expected), "{skipped}");
    assert_eq!(runs.len(), 2 * 3 * (2 + 12), "a line for each run: {runs:?}");
    let counted = |what: &str| runs.iter().filter(|run| run.contains(what)).count();
    assert_eq!(counted("1/2 4 peers, segments of 1 B: b warm-up"), 2, "{runs:?}");
    assert_eq!(counted("2/2 4 peers, segments of 2 B: b 11"), 1, "{runs:?}");
}

#[test]
fn what_a_plan_wanted_and_did_not_get_is_said_with_its_rows() {
    let (text, of) = (MOCKS, "on w, 4 peers, segments of 1 B");
    let records = measured(text).records;
    let wide = format!("`target` = ± 5% not reached in 1 result: a {of} (± 80%)");
    assert_eq!(shortfalls(&plan(text), &records), [wide]);
    let least = text.replace("least = 4, most = 12", "least = 13, most = 20");
    let few: Vec<_> = ["a", "b", "c"].map(|name| format!("{name} {of} (12 runs)")).into();
    let few = format!("`least` = 13 not reached in 3 results: {}", few.join("; "));
    assert_eq!(shortfalls(&plan(&least), &records), [few]);
    let five = text.replace("most = 12", "most = 5").replace("[1, 9]", "[1]");
    let said = shortfalls(&plan(&five), &measured(&five).records);
    assert!(said[0].contains("in 3 results") && said[0].contains("(no interval)"), "{said:?}");
}

#[test]
fn a_killed_measurement_goes_on_where_it_was() {
    let whole = measured(MOCKS);
    let dir = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::begin(dir.path()).expect("nothing is there");
    run(&plan(MOCKS), &mut journal, Vec::new());
    drop(journal);
    // Killed in the middle of its eighth record.
    let path = dir.path().join(records::RECORDS);
    let text = std::fs::read_to_string(&path).expect("there are records");
    let bytes: usize = text.split_inclusive('\n').take(7).map(str::len).sum();
    std::fs::write(&path, &text[..bytes + 100]).expect("the folder can be written to");
    let (mut journal, recovered) = Journal::resume(dir.path()).expect("records");
    assert_eq!(recovered.cut_off, Some(8));
    assert_eq!(recovered.records.len(), 7);
    let (resumed, _) = run(&plan(MOCKS), &mut journal, recovered.records);
    assert_eq!(names(&resumed.records), names(&whole.records));
    let read = records::read(dir.path()).expect("records");
    assert_eq!(read.records, resumed.records);
    assert_eq!(read.cut_off, None);
}

#[test]
fn orders_are_permutations_and_depend_on_all_that_they_should() {
    for contenders in 0..9 {
        let mut places = order(1, 2, 3, contenders);
        places.sort_unstable();
        assert_eq!(places, (0..contenders).collect::<Vec<_>>());
    }
    let of = |seed, scenario, repetition| order(seed, scenario, repetition, 12);
    assert_eq!(of(1, 2, 3), of(1, 2, 3));
    assert_ne!(of(1, 2, 3), of(2, 2, 3));
    assert_ne!(of(1, 2, 3), of(1, 3, 3));
    assert_ne!(of(1, 2, 3), of(1, 2, 4));
}

/// Over many seeds each contender is first about as often as any other.
#[test]
fn orders_are_fair() {
    let mut firsts = [0_u32; 4];
    (0..4000).for_each(|repetition| firsts[order(5, 0, repetition, 4)[0]] += 1);
    assert!(firsts.iter().all(|first| (900..1100).contains(first)), "{firsts:?}");
}
