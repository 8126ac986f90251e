//! Plans that are right, and what is said of those that are not.

use super::*;

// A plan that is right.
const RIGHT: &str = "\
purpose = \"a test\"
budget_s = 1.5
repetitions = { least = 2, most = 3 }

[[workloads]]
name = \"w\"
shape = \"broadcast\"
segments = 8
segment_bytes = [0, 1024]

[[contenders]]
engine = \"lockfree\"

[[contenders]]
name = \"swept\"
engine = \"lockfree\"
switches = { window = [1, 4], index = \"mutex\" }

[[contenders]]
engine = \"mock\"
times_ms = [1.5, 2]
";

fn parse(text: &str) -> Result<Plan, PlanError> {
    Plan::parse(Path::new("p.toml"), text.to_owned(), None)
}

/// What is said when a part of the plan that is right is replaced.
fn said(part: &str, by: &str) -> String {
    assert!(RIGHT.contains(part), "{part}");
    parse(&RIGHT.replacen(part, by, 1)).expect_err("it is wrong").to_string()
}

#[test]
fn a_plan_is_multiplied_out() {
    let plan = parse(RIGHT).expect("it is right");
    assert_eq!(plan.name, "p");
    assert_eq!(plan.text, RIGHT);
    assert_eq!(plan.budget, Duration::from_millis(1500));
    assert_eq!((plan.warm_up, plan.target), (1, 0.05));
    assert_eq!(plan.scenarios.iter().map(|one| one.segment_bytes).collect::<Vec<_>>(), [0, 1024]);
    let names: Vec<_> = plan.contenders.iter().map(|one| one.name.as_str()).collect();
    let expected = ["lockfree", "swept index=mutex window=1", "swept index=mutex window=4", "mock"];
    assert_eq!(names, expected);
    assert_eq!(plan.contenders[3].times, [1500, 2000].map(Duration::from_micros));
}

#[test]
fn what_is_no_plan_is_said_with_file_line_and_field() {
    let wrong = [
        ("segments = 8", "segmants = 8"),
        ("segment_bytes = [0, 1024]", "segment_bytes = \"1x\""),
        ("segment_bytes = [0, 1024]", "segment_bytes = -1"),
        ("[0, 1024]", "[]"),
        ("\"broadcast\"", "\"ring\""),
        ("index = \"mutex\"", "index = \"btree\""),
        ("budget_s = 1.5\n", ""),
    ];
    insta::assert_snapshot!(wrong.map(|(part, by)| said(part, by)).join("\n"));
    let broken = said("repetitions = {", "repetitions = ");
    assert!(broken.starts_with("p.toml:3: `repetitions = "), "{broken}");
}

#[test]
fn what_makes_no_sense_is_said_with_file_and_line() {
    let whole = "name = \"swept\"\nengine = \"lockfree\"\n\
                 switches = { window = [1, 4], index = \"mutex\" }";
    let wrong = [
        ("budget_s = 1.5", "budget_s = 0"),
        ("budget_s = 1.5", "target = -1.0\nbudget_s = nan"),
        ("budget_s = 1.5", "budget_s = 1.5\ntarget = 0.0"),
        ("least = 2", "least = 4"),
        ("segments = 8", "segments = 8\npeers = 0"),
        ("segments = 8", "segments = 8\npeers = 5000"),
        ("index = \"mutex\"", "handout = 99"),
        ("engine = \"lockfree\"\nswitches", "engine = \"mutex\"\nswitches"),
        (whole, "engine = \"lockfree\""),
        ("times_ms = [1.5, 2]", ""),
        ("engine = \"lockfree\"\nswitches", "engine = \"lockfree\"\nstage = {}\nswitches"),
        ("segments = 8", "segments = 8\nbytes = 7"),
    ];
    insta::assert_snapshot!(wrong.map(|(part, by)| said(part, by)).join("\n"));
}

#[test]
fn a_contender_may_keep_a_trace_where_its_engine_does() {
    let traced = |engine: &str| format!("engine = \"{engine}\"\ntrace = true");
    let plan = parse(&RIGHT.replacen("engine = \"lockfree\"", &traced("lockfree"), 1));
    let plan = plan.expect("it is right");
    let traced_first: Vec<_> = plan.contenders.iter().map(|one| one.trace).collect();
    assert_eq!(traced_first, [true, false, false, false]);
    assert_eq!(plan.contenders[0].name, "lockfree trace");
    let error = said("engine = \"lockfree\"", &traced("mutex"));
    let why = "only the engine `lockfree` keeps a `trace`: leave it out";
    assert_eq!(error, format!("p.toml:11: contender \"mutex\": {why}"));
}

#[test]
fn a_stage_has_choices_of_its_own_and_a_program_never_verifies() {
    let stage = "engine = \"stage\"\nswitches = { handout = 4 }\n\
                 stage = { workers = [1, 2], sync = false }\n\n[[contenders]]\nengine = \"tar\"";
    let plan = parse(&RIGHT.replacen("engine = \"lockfree\"", stage, 1)).expect("it is right");
    let names: Vec<_> = plan.contenders.iter().take(3).map(|one| one.name.as_str()).collect();
    let expected =
        ["stage handout=4 sync=false workers=1", "stage handout=4 sync=false workers=2", "tar"];
    assert_eq!(names, expected);
    let [_, second, tar, ..] = &plan.contenders[..] else { panic!("there are three") };
    let named = serde_json::json!({ "handout": 4, "sync": false, "workers": 2 });
    assert_eq!(serde_json::Value::Object(second.named()), named);
    assert_eq!(second.threads_of_peer(CoreShare::default()), 2);
    assert_eq!(tar.switches.verify, Some(Verify::Off));
    assert_eq!(tar.threads_of_peer(CoreShare::default()), 0);
}

#[test]
fn workloads_need_names_of_their_own_and_plans_something_to_run() {
    let start = RIGHT.find("[[workloads]]").expect("there is a workload");
    let end = RIGHT.find("[[contenders]]").expect("there is a contender");
    let twice = format!("{}{}", RIGHT, &RIGHT[start..end]);
    let error = parse(&twice).expect_err("two workloads have one name").to_string();
    assert_eq!(error, "p.toml:22: two workloads are called \"w\": rename one");
    let nothing = parse(&RIGHT[..start]).expect_err("there is nothing to run").to_string();
    assert_eq!(
        nothing,
        "p.toml:1: nothing to run: add [[workloads]] and [[contenders]], or a [tracker]"
    );
}

#[test]
fn lists_that_give_too_many_runs_are_refused() {
    let list = |least: u32, count: u32| {
        let numbers: Vec<_> = (least..least + count).map(|number| number.to_string()).collect();
        format!("[{}]", numbers.join(", "))
    };
    let sizes = format!("{}\npeers = {}", list(1, 1000), list(1, 1000));
    assert_eq!(
        said("[0, 1024]", &sizes),
        "p.toml:5: workload \"w\": its lists give 1000000 combinations: use 1 to 10000"
    );
    assert_eq!(
        said("[0, 1024]", &list(1, 5000)),
        "p.toml:14: workloads and contenders give 15000 runs in one repetition: use 1 to 10000"
    );
    let load = format!(
        "\n[tracker]\npeers = {}\nsegments = {}\nservice_threads = 1\nhandout = 1\nseconds = 1\n",
        list(1, 1000),
        list(1, 11)
    );
    let said = parse(&format!("{RIGHT}{load}")).expect_err("too many").to_string();
    assert_eq!(said, "p.toml:23: `[tracker]`: its lists give 11000 combinations: use 1 to 10000");
}

#[test]
fn a_plan_that_is_not_there_is_named() {
    let error = Plan::read(Path::new("/nowhere/p.toml"), None).expect_err("nothing is there");
    assert!(error.to_string().starts_with("/nowhere/p.toml: "), "{error}");
}

#[test]
fn the_plans_that_come_with_the_program_are_right() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("inputs/plans");
    let plans = std::fs::read_dir(dir).expect("there are plans");
    let paths = plans.map(|plan| plan.expect("a plan can be listed").path());
    let mut names = Vec::new();
    for path in paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml")) {
        for ranks in [None, Some(1), Some(12)] {
            let plan = Plan::read(&path, ranks).expect("a plan that comes with the program");
            names.push(plan.name);
        }
    }
    let promised =
        ["ablation", "balance", "broadcast", "quick", "ranks", "segment-size", "stage", "tracker"];
    for name in promised {
        assert!(names.iter().any(|found| found == name), "{name} is missing");
    }
}

#[test]
fn each_step_of_the_ladder_is_one_choice() {
    let text = include_str!("../../../inputs/plans/ladder.toml");
    let plan = parse(text).expect("it is right");
    let names: Vec<_> = plan.contenders.iter().map(|one| one.name.clone()).collect();
    assert_eq!(ladder(text), names);
    let [mutex, steps @ ..] = plan.contenders.as_slice() else { panic!("it has contenders") };
    assert_eq!((mutex.engine, steps.len()), (ContenderKind::Mutex, 9));
    for pair in steps.windows(2) {
        let [before, after] = [&pair[0], &pair[1]].map(|one| one.switches.named());
        assert!(after.iter().all(|(name, value)| before.get(name) == Some(value)));
        assert_eq!(before.len(), after.len() + 1, "{} → {}", pair[0].name, pair[1].name);
    }
    assert_eq!(steps[8].switches, Overrides::default());
    // Other plans are none, and neither is what can't be read.
    assert_eq!(
        [ladder(RIGHT), ladder("ladder = true"), ladder("")],
        [const { Vec::<String>::new() }; 3]
    );
}
