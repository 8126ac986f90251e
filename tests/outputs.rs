//! What lies under a final name is whole, and nothing of anybody else's is lost: reruns, runs at once,
//! killed runs, and what others put in the way.

#[cfg(feature = "mpi")]
mod launch;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");
const ENGINES: [&str; 2] = ["lockfree", "mutex"];

/// Inputs of two peers: the first has files of so many segments each, the second wants them.
/// `salt` makes their content differ.
fn write_inputs(dir: &Path, salt: u32, files: &[(&str, u32)]) {
    fs::create_dir_all(dir).expect("a folder");
    let (mut owned, mut wanted) = (format!("{}\n", files.len()), format!("0\n{}\n", files.len()));
    for &(name, segments) in files {
        owned += &format!("{name} {segments}\n{}", content(salt, segments));
        wanted += &format!("{name}\n");
    }
    fs::write(dir.join("in1.txt"), owned + "0\n").expect("a small file");
    fs::write(dir.join("in2.txt"), wanted).expect("a small file");
}

/// Has a run take so long for each segment, one after another; the mutex engine never does otherwise.
fn slowly(engine: &str, delay: &'static str) -> Vec<&'static str> {
    let one_by_one: &[_] = if engine == "mutex" { &[] } else { &["--window", "1"] };
    [&["--inject", delay], one_by_one].concat()
}

/// What a peer writes for a file.
fn content(salt: u32, segments: u32) -> String {
    (0..segments).map(|position| format!("{salt:08x}{position:024x}\n")).collect()
}

fn command(engine: &str, inputs: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg(inputs).arg("--out").arg(out).args(["--engine", engine]);
    command.args(["--transport", "local", "--quiet", "--segment-bytes", "0"]).args(more);
    command
}

fn run(engine: &str, inputs: &Path, out: &Path, more: &[&str]) -> (Option<i32>, String) {
    ended(&command(engine, inputs, out, more).output().expect("the program starts"))
}

fn start(command: &mut Command) -> Child {
    command.stderr(Stdio::piped()).spawn().expect("the program starts")
}

fn ended(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(path).expect("a text")
}

fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let waited = |_| {
        thread::sleep(Duration::from_millis(1));
        is_there()
    };
    assert!((0..60_000).any(waited), "{what} within a minute");
}

#[test]
fn what_mpiswarm_did_not_write_is_replaced_only_with_overwrite() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().expect("a folder");
        let (inputs, out) = (dir.path().join("inputs"), dir.path().join("out"));
        let files = ["a", "b", "c", "d", "e"].map(|name| (name, 3));
        write_inputs(&inputs, 1, &files);
        fs::create_dir(&out).expect("a folder");
        fs::write(dir.path().join("precious"), "dear").expect("a small file");
        symlink("../precious", out.join("client2_b")).expect("a link");
        for name in ["a", "c", "e"] {
            fs::write(out.join(format!("client2_{name}")), "mine").expect("a small file");
        }
        let before = names(&out);
        let (code, errors) = run(engine, &inputs, &out, &[]);
        assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
        let expected = format!(
            "rank 2: {}: in the way: client2_a, client2_b, client2_c, client2_e: ",
            out.display()
        );
        assert!(errors.contains(&expected) && errors.contains("--overwrite"), "{errors}");
        assert_eq!(names(&out), before, "nothing was begun");
        assert_eq!(read(out.join("client2_a")), "mine");
        let (code, errors) = run(engine, &inputs, &out, &["--overwrite"]);
        assert_eq!(code, Some(0), "{errors}");
        for (name, segments) in files {
            let path = out.join(format!("client2_{name}"));
            assert!(fs::symlink_metadata(&path).expect("it is there").is_file(), "{name}");
            assert_eq!(read(path), content(1, segments));
        }
        assert_eq!(read(dir.path().join("precious")), "dear");
        fs::remove_file(out.join("client2_d")).expect("it is there");
        fs::create_dir(out.join("client2_d")).expect("a folder");
        let (code, errors) = run(engine, &inputs, &out, &["--overwrite"]);
        assert_eq!(code, Some(2), "a folder is never replaced: {errors}");
    }
}

#[test]
fn a_rerun_replaces_what_an_earlier_run_wrote_unless_somebody_changed_it() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().expect("a folder");
        let (inputs, out) = (dir.path().join("inputs"), dir.path().join("out"));
        for (salt, files) in [(1, ["a", "b"]), (2, ["b", "c"]), (1, ["a", "b"]), (1, ["a", "b"])] {
            write_inputs(&inputs, salt, &files.map(|name| (name, 4)));
            let (code, errors) = run(engine, &inputs, &out, &["--digests"]);
            assert_eq!(code, Some(0), "{errors}");
            for name in files {
                assert_eq!(read(out.join(format!("client2_{name}"))), content(salt, 4));
            }
        }
        let visible = names(&out).into_iter().filter(|name| name.starts_with("client"));
        assert_eq!(visible.count(), 6, "a, b and c with their digests");
        assert_eq!(names(&out).len(), 7, "and the list of what rank 2 wrote: {:?}", names(&out));
        let edited = out.join("client2_b.sha256");
        fs::write(&edited, "edited").expect("it is writable");
        let (code, errors) = run(engine, &inputs, &out, &["--digests"]);
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains("in the way: client2_b.sha256: "), "{errors}");
        assert_eq!(run(engine, &inputs, &out, &[]).0, Some(0), "no digests, nothing in the way");
        assert_eq!(read(edited), "edited");
    }
}

#[test]
fn of_two_runs_at_once_in_one_folder_the_second_is_refused() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().expect("a folder");
        let (inputs, out) = (dir.path().join("inputs"), dir.path().join("out"));
        write_inputs(&inputs, 1, &[("a", 20)]);
        let first = start(&mut command(engine, &inputs, &out, &slowly(engine, "delay:100")));
        let list = out.join(".mpiswarm-0.outputs");
        wait_for("the first run", || fs::read(&list).is_ok_and(|list| !list.is_empty()));
        let (code, errors) = run(engine, &inputs, &out, &["--overwrite"]);
        assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
        let (place, process) = (out.display().to_string(), format!("process {})", first.id()));
        assert!(errors.contains(&place) && errors.contains(&process), "{errors}");
        let (code, errors) = ended(&first.wait_with_output().expect("it ends"));
        assert_eq!((code, &*errors), (Some(0), ""));
        assert_eq!(names(&out), [".mpiswarm-2.outputs", "client2_a"]);
        assert_eq!(run(engine, &inputs, &out, &[]).0, Some(0), "now the folder is free");
    }
}

#[test]
fn of_two_runs_that_start_at_once_in_one_folder_one_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    let inputs = [1, 2].map(|salt| {
        let inputs = dir.path().join(salt.to_string());
        write_inputs(&inputs, salt, &[("a", 300), ("b", 300)]);
        inputs
    });
    for _ in 0..8 {
        let slowly = ["--inject", "delay:20"];
        let both =
            [0, 1].map(|index| start(&mut command("lockfree", &inputs[index], &out, &slowly)));
        let both =
            both.map(|child| ended(&child.wait_with_output().expect("it ends")).0 == Some(0));
        assert!(both.contains(&true), "one goes on");
        // Both, if one ended before the other began: then the files are of the later one, all of them.
        let written = ["a", "b"].map(|name| read(out.join(format!("client2_{name}"))));
        let of = |salt| written == [content(salt, 300), content(salt, 300)];
        assert!(both[0] && of(1) || both[1] && of(2), "{both:?}");
    }
}

#[test]
fn a_killed_run_leaves_nothing_half_written_and_the_next_one_tidies_up() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().expect("a folder");
        let (inputs, out) = (dir.path().join("inputs"), dir.path().join("out"));
        let files = [("short", 5), ("long", 60_000)];
        write_inputs(&inputs, 1, &files);
        let is_left = || names(&out).iter().any(|name| name.ends_with(".part"));
        let mut killed = 0;
        for _ in 0..5 {
            let mut child = start(&mut command(engine, &inputs, &out, &[]));
            wait_for("the long file is begun", || {
                let size =
                    |name: &String| fs::metadata(out.join(name)).map_or(0, |file| file.len());
                names(&out).iter().any(|name| name.ends_with(".part") && size(name) > 1_000)
            });
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            killed += usize::from(is_left());
            for name in names(&out).iter().filter(|name| name.starts_with("client")) {
                let (_, segments) =
                    files.iter().find(|(file, _)| name.ends_with(file)).expect("it");
                assert!(read(out.join(name)) == content(1, *segments), "{name} is not whole");
            }
            if killed > 0 {
                break;
            }
        }
        assert_eq!(killed, 1, "a temporary file was left");
        let (code, errors) = run(engine, &inputs, &out, &[]);
        assert_eq!((code, &*errors), (Some(0), ""), "without --overwrite");
        assert_eq!(names(&out), [".mpiswarm-2.outputs", "client2_long", "client2_short"]);
        assert!(read(out.join("client2_long")) == content(1, 60_000));
    }
}

#[test]
fn a_folder_that_is_removed_meanwhile_is_an_error_for_each_file() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().expect("a folder");
        let (inputs, out) = (dir.path().join("inputs"), dir.path().join("out"));
        write_inputs(&inputs, 1, &[("a", 2), ("b", 40)]);
        let child = start(&mut command(engine, &inputs, &out, &slowly(engine, "delay:50")));
        wait_for("the first file", || out.join("client2_a").exists());
        fs::rename(&out, dir.path().join("away")).expect("it can be moved");
        let (code, errors) = ended(&child.wait_with_output().expect("it ends"));
        assert_eq!((code, errors.lines().count()), (Some(1), 1), "{errors}");
        assert!(errors.contains("client2_b: No such file or directory"), "{errors}");
        assert!(!out.exists());
        assert_eq!(names(&dir.path().join("away")).last().expect("a file"), "client2_a");
    }
}

#[test]
fn what_is_planted_where_the_lists_are_kept_is_refused_and_untouched() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().expect("a folder");
        let (inputs, precious) = (dir.path().join("inputs"), dir.path().join("precious"));
        write_inputs(&inputs, 1, &[("a", 2)]);
        fs::write(&precious, "dear").expect("a small file");
        for kind in ["link", "hard link", "file", "fifo", "folder"] {
            let out = dir.path().join(kind);
            fs::create_dir(&out).expect("a folder");
            for rank in [0, 2] {
                let list = out.join(format!(".mpiswarm-{rank}.outputs"));
                match kind {
                    "link" => symlink(&precious, list).expect("a link"),
                    "hard link" => fs::hard_link(&precious, list).expect("a link"),
                    "file" => fs::write(list, "dear").expect("a small file"),
                    "fifo" => {
                        let made = Command::new("mkfifo").arg(list).status();
                        assert!(made.expect("mkfifo starts").success());
                    }
                    _ => fs::create_dir(list).expect("a folder"),
                }
            }
            let (code, errors) = run(engine, &inputs, &out, &["--overwrite"]);
            assert_eq!((code, errors.lines().count()), (Some(2), 1), "{kind}: {errors}");
            assert!(errors.contains(".mpiswarm-2.outputs: "), "{kind}: {errors}");
            assert_eq!(names(&out).len(), 2, "{kind}");
            assert_eq!(read(precious.clone()), "dear", "{kind}");
        }
    }
}

#[cfg(feature = "mpi")]
#[test]
fn a_bare_job_fills_the_current_folder_again_and_again() {
    if !launch::can_start_ranks() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    for salt in [1, 1, 2, 1] {
        write_inputs(dir.path(), salt, &[("a", 3), ("b", 3)]);
        let job = launch::ranks(3, PROGRAM).current_dir(dir.path()).output();
        assert_eq!(ended(&job.expect("mpirun starts")).0, Some(0));
        for name in ["a", "b"] {
            assert_eq!(read(dir.path().join(format!("client2_{name}"))), content(salt, 3));
        }
    }
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_refuse_what_threads_refuse() {
    if !launch::can_start_ranks() {
        return;
    }
    for engine in ENGINES {
        let dir = tempfile::tempdir().expect("a folder");
        let (inputs, out) = (dir.path().join("inputs"), dir.path().join("out"));
        write_inputs(&inputs, 1, &[("a", 20)]);
        let job = |more: &[&str]| {
            let mut job = launch::ranks(3, PROGRAM);
            job.args(["run", "--quiet", "--segment-bytes", "0", "--engine", engine]).arg(&inputs);
            job.arg("--out").arg(&out).args(more);
            job
        };
        let said = |errors: &str| -> Vec<String> {
            errors
                .lines()
                .filter_map(|line| Some(line.strip_prefix("mpiswarm: ")?.into()))
                .collect()
        };
        let first = start(&mut job(&slowly(engine, "delay:200")));
        let list = out.join(".mpiswarm-0.outputs");
        wait_for("the first job", || fs::read(&list).is_ok_and(|list| !list.is_empty()));
        let (code, errors) = ended(&job(&[]).output().expect("mpirun starts"));
        let lines = said(&errors);
        assert_eq!((code, lines.len()), (Some(2), 1), "{errors}");
        assert!(lines[0].contains(": another run writes here (host "), "{errors}");
        let (code, errors) = ended(&first.wait_with_output().expect("it ends"));
        assert_eq!(code, Some(0), "{errors}");
        fs::write(out.join("client2_a"), "edited").expect("it is writable");
        let (code, errors) = ended(&job(&[]).output().expect("mpirun starts"));
        assert_eq!((code, said(&errors).len()), (Some(2), 1), "{errors}");
        assert!(errors.contains("in the way: client2_a: "), "{errors}");
        let (code, errors) = ended(&job(&["--overwrite"]).output().expect("mpirun starts"));
        assert_eq!(code, Some(0), "{errors}");
        assert_eq!(read(out.join("client2_a")), content(1, 20));
        assert_eq!(names(&out), [".mpiswarm-2.outputs", "client2_a"]);
    }
}
