//! What is read of this machine and this program, and under which conditions runs are told apart.

use super::*;
use crate::harness::records::tests::example;

#[test]
fn the_program_knows_what_it_was_built_with() {
    let program = Program::capture();
    assert!(program.compiler.starts_with("rustc "), "{program:?}");
    assert!(program.target.contains('-'), "{program:?}");
    assert!(["debug", "release"].contains(&program.profile.as_str()), "{program:?}");
}

#[test]
fn a_program_claims_no_commit_that_it_was_not_built_from() {
    let state = |commit: Option<&str>, dirty| program::TreeState {
        commit: commit.map(ToOwned::to_owned),
        dirty: Some(dirty),
    };
    let (old, new, gone) =
        (state(Some("old"), true), state(Some("new"), false), state(None, false));
    let of = |now: &program::TreeState, is_older| {
        program::TreeState::of_program(old.clone(), now.clone(), is_older)
    };
    assert_eq!(of(&new, Some(true)), old, "the source has moved on");
    assert_eq!(of(&new, Some(false)), new, "what was built is committed by now");
    assert_eq!(of(&new, None), old, "nobody knows");
    assert_eq!(of(&gone, Some(false)), old, "there is no git");
    assert_ne!(Program::capture().older_than_source, Some(true));
}

#[test]
fn the_source_of_a_program_is_all_but_its_tests() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(dir.path().join("src/a/snapshots")).expect("a folder");
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("written");
        source_digest::source_digest(dir.path()).ok().map(|(digest, _)| digest)
    };
    for part in ["Cargo.toml", "Cargo.lock", "build.rs", "src/a/mod.rs"] {
        write(part, "");
    }
    let first = write("src/lib.rs", "mod a;");
    assert!(first.is_some());
    for test in ["src/a/tests.rs", "src/a/snapshots/a.snap", "src/README.md", "README.md"] {
        assert_eq!(write(test, "other"), first, "{test}");
    }
    let mut seen = std::collections::BTreeSet::from([first]);
    for part in ["src/a/mod.rs", "src/a/style.css", "Cargo.lock", "build.rs"] {
        assert!(seen.insert(write(part, "other")), "{part}");
    }
}

#[test]
fn conditions_are_what_a_run_stood_under() {
    let plan = |text: &str| {
        let text = format!(
            "{text}[[workloads]]\nname = \"w\"\nshape = \"broadcast\"\nsegments = 1\n\
             segment_bytes = 1\n[[contenders]]\nengine = \"lockfree\"\n"
        );
        Plan::parse(Path::new("p.toml"), text, None).expect("a plan")
    };
    let capture =
        |plan: &Plan| Environment::capture(plan, &Launch::Threads, Calibration::default());
    let one = capture(&plan("purpose = \"a\"\nbudget_s = 1\n"));
    let longer = "# Longer.\npurpose = \"b\"\nbudget_s = 9\ntarget = 0.1\n\
                  repetitions = { least = 1, most = 2 }\n";
    assert_eq!(one.conditions(), capture(&plan(longer)).conditions());
    let mut warmer = capture(&plan("purpose = \"a\"\nbudget_s = 1\nwarm_up = 5\n"));
    assert_ne!(one.conditions(), warmer.conditions());
    warmer.plan_text.clone_from(&one.plan_text);
    assert_eq!(warmer.differs_from(&one), None);

    let mpi = |by_host: Vec<u32>| Mpi {
        library: "MPICH Version:      4.2\nMPICH Device: ch4:ofi\n".to_owned(),
        standard: "4.0".to_owned(),
        ranks: 5,
        ranks_here: 2,
        ranks_by_host: by_host,
        threading: "Funneled".to_owned(),
        limits: None,
    };
    let differs = |change: &dyn Fn(&mut Environment)| {
        let mut changed = one.clone();
        change(&mut changed);
        changed.differs_from(&one)
    };
    let tuning = ("OMPI_MCA_btl".to_owned(), "tcp,self".to_owned());
    assert_eq!(differs(&|changed| changed.mpi = Some(mpi(vec![2, 3]))), Some("transport"));
    assert_eq!(differs(&|changed| changed.tuning.extend([tuning.clone()])), Some("MPI tuning"));
    assert_eq!(differs(&|changed| changed.links = Some("10 Mbit/s".to_owned())), Some("links"));
    assert_eq!(differs(&|changed| changed.machine.kernel.push('1')), Some("kernel"));
    assert_eq!(mpi(Vec::new()).named(), "MPICH Version: 4.2");
    assert_eq!(mpi(vec![2, 3]).ranks_on_hosts(), "5 on 2 hosts: 2, 3");
    assert_eq!(mpi(Vec::new()).ranks_on_hosts(), "5 on several hosts, 2 on the first");
}

#[test]
fn the_word_in_brackets_is_chosen() {
    assert_eq!(machine::chosen("always [madvise] never").as_deref(), Some("madvise"));
    assert_eq!(machine::chosen("always"), None);
}

#[test]
fn small_segments_are_bounded_by_messages() {
    let mut run = example(0).run;
    (run.segments, run.bytes_delivered) = (1000, 40_000_000);
    let limits = Limits { copy_bytes_per_second: 40e9, hash_bytes_per_second: 40e9 };
    let at = LimitsAt { segment_bytes: 1024, limits, messages_per_second: None };
    let cores = at.bound_s(&run, Verify::Inline).expect("limits are known");
    assert_eq!(at.bound_s(&run, Verify::Off), Some(cores / 2.0), "nobody hashes");
    let rate = 1000.0 / cores;
    let of = |rate| LimitsAt { messages_per_second: Some(rate), ..at };
    assert_eq!(of(2.0 * rate).bound_s(&run, Verify::Inline), Some(cores));
    let bound = of(rate / 2.0).bound_s(&run, Verify::Inline).expect("limits are known");
    assert!((bound - 2.0 * cores).abs() < 1e-12);
    run.engine = "mpi-bcast".to_owned();
    assert_eq!(of(rate / 2.0).bound_s(&run, Verify::Inline), Some(cores));
}

#[cfg(target_os = "linux")]
#[test]
fn the_machine_has_memory_and_caches() {
    let machine = Machine::capture("Linux".to_owned(), 2);
    assert!(machine.memory_bytes > 1 << 20, "{machine:?}");
    assert_eq!(machine.cores, 2);
    assert!(machine::load().is_some());
}
