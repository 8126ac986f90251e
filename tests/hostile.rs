//! What is printed can't hurt: one hostile name, with a character of each class, through every command
//! and every format.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");

/// Controls that a terminal obeys, C1 among them.
const CONTROLS: &str = "\u{1b}[31m\n\r\t\u{7}\u{8}\u{7f}\u{9b}2J\u{85}";
/// What reverses a line, or is not seen: a file's name may have it.
const INVISIBLE: &str = "\u{202a}\u{202b}\u{202d}\u{202e}\u{202c}\u{2066}\u{2067}\u{2068}\u{2069}\
    \u{200e}\u{200f}\u{61c}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}\u{34f}\u{3164}\u{2028}\u{2029}\
    \u{a0}\u{fe0f}\u{e0100}\u{e0041}\u{301}";
/// What spreadsheets, Markdown and HTML take for theirs.
const MARKS: &str = "<script>alert(1)</script>\" onload='x' | *d* `c` [l](u) & ~~s~~ # ! \
    https://evil.example http://e www.evil.example ftp://e mailto:a@b.example @somebody";

/// A name that a plan, a record, criterion or a command line can hold.
fn hostile() -> String {
    format!("=1+{INVISIBLE}{CONTROLS}{MARKS}")
}

/// The same as part of a path, with bytes that are not UTF-8.
fn hostile_path(dir: &Path) -> PathBuf {
    let name = format!("={INVISIBLE}{CONTROLS}<b>\"'`|*_");
    dir.join(OsStr::from_bytes(&[name.as_bytes(), b"\xff\xc0"].concat()))
}

/// A string of TOML or JSON.
fn quoted(name: &str) -> String {
    let shown = |c: char| match u32::from(c) {
        code @ ..0x1_0000 if c == '"' || !c.is_ascii_graphic() => format!("\\u{code:04x}"),
        _ => c.to_string(),
    };
    format!("\"{}\"", name.chars().map(shown).collect::<String>())
}

fn mpiswarm<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Output {
    // What the environment says of MPI is recorded, and shown.
    let tuning = OsStr::from_bytes(&[hostile().as_bytes(), b"\xff"].concat()).to_owned();
    let mut command = Command::new(PROGRAM);
    let output = command.args(words).env("UCX_TEST", &tuning).env(&tuning, "x").output();
    let output = output.expect("the program starts");
    for (stream, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let text = str::from_utf8(bytes).expect("UTF-8 is printed");
        let raw = |&c: &char| (c.is_control() && c != '\n') || INVISIBLE.contains(c);
        let raw: Vec<char> = text.chars().filter(raw).collect();
        assert!(raw.is_empty(), "{stream} has {raw:?} in {text:?}");
        // The line feed of the name ends no line.
        let split = text.lines().find(|line| line.starts_with('\u{1b}') || line.starts_with("2J"));
        assert_eq!(split, None, "{stream}: {text:?}");
    }
    output
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// Runs it, and wants it refused in so many lines that have the name.
fn refused<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>, lines: usize) {
    let output = mpiswarm(words);
    assert!(matches!(output.status.code(), Some(1..=3)), "{output:?}");
    let text = printed(&output);
    assert!(text.contains(r"\u{202e}"), "{text}");
    assert!(lines == 0 || text.lines().count() == lines, "{text}");
}

/// Checks a comparison in each format.
fn check_formats(words: &[&OsStr]) {
    for format in ["text", "md", "csv", "json", "html"] {
        let more = ["--format", format].map(OsStr::new);
        let output = mpiswarm(["compare".as_ref()].iter().chain(words).chain(&more));
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        match format {
            "json" => {
                let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                assert!(value.to_string().contains('\u{202e}'), "the name itself is there");
            }
            "csv" => {
                for record in csv::Reader::from_reader(text.as_bytes()).records() {
                    let record = record.expect("a record");
                    let formula = |cell: &&str| {
                        cell.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err()
                    };
                    assert_eq!(record.iter().find(formula), None);
                }
                assert!(text.contains("'=1+\\u{202a}"), "{text}");
            }
            "html" | "md" => assert!(!text.contains("<script>"), "{text}"),
            _ => {}
        }
        if format == "html" {
            assert!(!text.contains("\" onload="), "the name ends no attribute");
        }
        if format == "md" {
            let rows = text.lines().filter(|line| line.starts_with("| "));
            let bars = |line: &str| line.replace("\\|", "").matches('|').count();
            let bars: Vec<_> = rows.map(bars).collect();
            assert!(bars.iter().all(|count| *count == bars[0]), "{text}");
            assert!(text.contains(r"\*d\*") && !text.contains(" *d*"), "{text}");
            // A link needs no brackets, and a mention no link.
            for bare in ["https:", "http:", "ftp:", "mailto:", "www.", "a@b", " @somebody"] {
                assert!(!text.contains(bare), "{bare} in {text}");
            }
            assert!(text.contains(r"https\://evil.example"), "{text}");
        }
    }
}

#[test]
fn names_of_files_and_folders_of_a_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let inputs = hostile_path(dir.path());
    let run = |more: &[&OsStr]| {
        let words =
            [OsStr::new("run"), inputs.as_os_str(), "--transport".as_ref(), "local".as_ref()];
        words.iter().chain(more).map(|&word| word.to_owned()).collect::<Vec<_>>()
    };
    refused(run(&[]), 1);
    fs::create_dir(&inputs).expect("a folder");
    refused(run(&[]), 1);
    let name = format!("x{INVISIBLE}y");
    fs::write(inputs.join("in1.txt"), "0\n0\n").expect("written");
    fs::write(inputs.join("in2.txt"), format!("0\n2\n{name}\nx{CONTROLS}\n")).expect("written");
    refused(run(&[]), 1);
    for second in
        [format!("0\n2\n{name}\n{name}\n"), format!("0\n{name}\n"), format!("1\n{name}\n")]
    {
        fs::write(inputs.join("in2.txt"), second).expect("written");
        refused(run(&[]), 1);
    }
    fs::write(inputs.join("in2.txt"), format!("0\n1\n{name}\n")).expect("written");
    let out = hostile_path(&inputs);
    for more in [&["--quiet"][..], &["--json"], &[]] {
        let more = [
            &["--out".as_ref(), out.as_os_str()][..],
            &more.iter().map(OsStr::new).collect::<Vec<_>>(),
        ];
        let output = mpiswarm(run(&more.concat()));
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let text = printed(&output);
        assert!(text.contains(r"x\u{202a}\u{202b}"), "{text}");
    }
    let report = out.join("no-folder/report.json");
    refused(run(&["--quiet".as_ref(), "--report".as_ref(), report.as_ref()]), 0);
    // What stands where the folder for outputs is to be made.
    let file = out.join("file");
    fs::write(&file, "").expect("written");
    refused(run(&["--out".as_ref(), file.as_ref()]), 1);
    // Owners that contradict each other.
    fs::write(inputs.join("in1.txt"), format!("1\n{name} 1\n00000000\n0\n")).expect("written");
    fs::write(inputs.join("in2.txt"), format!("1\n{name} 2\n00000000\n00000000\n0\n"))
        .expect("written");
    refused(run(&[]), 1);
}

#[test]
fn names_that_only_look_alike_are_both_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
    write("in1.txt", "1\nFr\u{e9}d 1\n00112233\n0\n");
    write("in2.txt", "0\n1\nFre\u{301}d\n");
    let words = ["run".as_ref(), dir.path().as_os_str(), "--out".as_ref(), dir.path().as_os_str()];
    let output = mpiswarm(words.iter().chain(&["--transport", "local"].map(OsStr::new)));
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let expected = "in1.txt owns Fr\u{e9}d, which only looks like Fre\\u{301}d";
    assert!(printed(&output).contains(expected), "{output:?}");
}

#[test]
fn many_names_are_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let names: String = (0..1000).map(|number| format!("absent{number}\n")).collect();
    fs::write(dir.path().join("in1.txt"), format!("0\n1000\n{names}")).expect("written");
    let inputs = dir.path().to_str().expect("a plain path");
    let words = ["run", inputs, "--transport", "local", "--out", inputs, "--quiet"];
    let output = mpiswarm(words);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = printed(&output);
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(text.ends_with("mpiswarm: and 995 more\n"), "{text}");
}

#[test]
fn command_lines() {
    let dir = tempfile::tempdir().expect("a folder");
    let (name, path) = (hostile(), hostile_path(dir.path()));
    for words in [
        &[&*name][..],
        &["run", &format!("--x{INVISIBLE}{CONTROLS}")],
        &["run", ".", &name],
        &["run", "--engine", &name],
        &["run", "--verify", &name],
        &["run", "--nodes", &name],
        &["run", "--inject", &name],
        &["run", "--patience", &name],
        &["run", "--patience", &format!("{name}=3s")],
        &["run", "--patience", &format!("silence={name}")],
        &["simulate", "--rates", &name],
        &["simulate", "--peers", &name],
        &["simulate", "--link-gbit", &name],
        &["synthesize", "x", "--peers", "2", "--files", "2", "--segments", "2", "--owners", &name],
        &["synthesize", "x", "--peers", "2", "--files", "2", "--segments", "2", "--wanted", &name],
        &[
            "synthesize",
            "x",
            "--peers",
            "2",
            "--files",
            "2",
            "--segments",
            "2",
            "--popularity",
            &name,
        ],
        &["compare", ".", "--figure", &name],
        &["compare", ".", "--format", &name],
        &["compare", &name],
        &["compare", "--history", &name],
        &["bench", &name],
        &["manifest", &name],
        &["manifest", "src", "--out", &format!("none/{name}")],
        &["verify", &name],
        &["verify", "src", "--manifest", &name],
        &["synthesize", "--tree", &format!("/proc/{name}"), "--files", "1", "--bytes", "1"],
        &["synthesize", "--tree", "x", "--files", "1", "--bytes", &name],
    ] {
        refused(words, 0);
    }
    fs::write(&path, "").expect("written");
    let file = path.as_os_str();
    let words =
        |text: &str| text.split(' ').map(|word| OsStr::new(word).to_owned()).collect::<Vec<_>>();
    let with = |text: &str| words(text).into_iter().chain([file.to_owned()]);
    refused(with("compare"), 1);
    refused(with("simulate --peers 1 --segments 1 --out"), 0);
    refused(with("synthesize --peers 2 --files 2 --segments 2"), 1);
    refused(with("bench inputs/plans/quick.toml --resume --out"), 0);
    refused(with("verify src --manifest"), 0);
    refused(with("verify"), 0);
    // The name of the program is the caller's choice, too.
    let renamed = Command::new(PROGRAM).arg0(&name).arg("--help").output().expect("it starts");
    assert!(!printed(&renamed).contains('\u{202e}'), "{renamed:?}");
}

#[test]
fn plans_and_records() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = quoted(&hostile());
    let second = quoted(&format!("@{}", hostile()));
    let workload = format!(
        "[[workloads]]\nname = {name}\nshape = \"all-to-all\"\npeers = 2\nfiles = 1\nsegments = 1\n\
         segment_bytes = 10\n"
    );
    let mock = |name: &str, ms: u32| {
        format!("[[contenders]]\nname = {name}\nengine = \"mock\"\ntimes_ms = [{ms}]\n")
    };
    let head = "purpose = \"a test\"\nbudget_s = 60\nrepetitions = { least = 6, most = 6 }\n";
    let plan = hostile_path(dir.path()).with_extension("toml");
    let bench = |text: &str, out: &Path| {
        fs::write(&plan, text).expect("written");
        let words = ["bench".as_ref(), plan.as_os_str(), "--out".as_ref(), out.as_os_str()];
        words.map(OsStr::to_owned)
    };
    let out = hostile_path(&dir.path().join("first"));
    fs::create_dir(dir.path().join("first")).expect("a folder");
    for wrong in [
        format!("{head}{workload}{workload}{}", mock(&name, 5)),
        format!("{head}{workload}{}{}", mock(&name, 5), mock(&name, 6)),
        format!("{head}{workload}{}", mock(&name, 0)),
        format!("{head}{name} = 1\n"),
        format!("{head}x = {name} {name}"),
        format!("{head}{workload}[[contenders]]\nengine = {name}\n"),
        format!(
            "{head}{workload}[[contenders]]\nname = {name}\nengine = \"mutex\"\nswitches = {{ window = 1 }}\n"
        ),
    ] {
        refused(bench(&wrong, &out), 1);
    }
    let plan = format!("{head}{workload}{}{}", mock(&name, 5), mock(&second, 7));
    let output = mpiswarm(bench(&plan, &out));
    assert!(printed(&output).contains(r"=1+\u{202a}"), "{output:?}");
    refused(bench(&plan, &out), 1);
    let other = dir.path().join("second");
    mpiswarm(bench(&plan, &other));
    check_formats(&[out.as_ref()]);
    check_formats(&[out.as_ref(), other.as_ref()]);
    check_formats(&["--history".as_ref(), dir.path().as_ref()]);
    for option in ["--contender", "--against", "--gate"] {
        let name = format!("x{}", hostile());
        refused(["compare".as_ref(), out.as_os_str(), option.as_ref(), name.as_ref()], 1);
    }
    let gate = dir.path().join("gate.toml");
    for text in [format!("{name} = 1\n"), format!("figures = [{name}]\n"), "effect = 0.0\n".into()]
    {
        fs::write(&gate, text).expect("written");
        let words = ["compare".as_ref(), out.as_os_str(), "--gate".as_ref(), gate.as_os_str()];
        mpiswarm(words);
    }
    fs::write(out.join("records.jsonl"), format!("{{\"schema\": 1, {name}: 2}}\n"))
        .expect("written");
    refused([OsStr::new("compare"), out.as_os_str()], 1);
}

#[test]
fn results_of_other_tools() {
    let dir = tempfile::tempdir().expect("a folder");
    let criterion = |folder: &str| {
        let folder = hostile_path(&dir.path().join(folder));
        for (number, group) in
            [hostile(), format!("-{}", hostile()), "名前".into()].iter().enumerate()
        {
            let new = folder.join(format!("n{number}/new"));
            fs::create_dir_all(&new).expect("folders");
            let id = quoted(group);
            let named =
                format!("{{\"group_id\": {id}, \"function_id\": {id}, \"value_str\": {id}}}");
            fs::write(new.join("benchmark.json"), named).expect("written");
            let sample = r#"{"iters": [1, 1, 1, 1, 1, 1], "times": [9, 8, 9, 8, 9, 8]}"#;
            fs::write(new.join("sample.json"), sample).expect("written");
        }
        folder
    };
    let (left, right) = (criterion("left"), criterion("right"));
    check_formats(&[left.as_ref(), right.as_ref()]);
    check_formats(&[left.as_ref(), right.as_ref(), "--beside".as_ref(), left.as_ref()]);
    fs::write(left.join("n0/new/benchmark.json"), format!("{{{}: 1, ", quoted(&hostile())))
        .expect("written");
    refused([OsStr::new("compare"), left.as_ref()], 1);
    let osu = dir.path().join("osu.txt");
    fs::write(&osu, format!("# OSU {} Test\n# Size  Latency (us)\n", hostile())).expect("written");
    refused([OsStr::new("compare"), osu.as_ref()], 1);
}
