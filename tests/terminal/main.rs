//! What people see: tables that fit, no escape sequence where none is wanted, silence where it is asked for, and a
//! word on how to go on after Ctrl-C.

mod interrupts;
mod widths;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mpiswarm");

/// Two contenders whose names have 60 columns and more, and differ in the middle.
const PLAN: &str = r#"purpose = "a test"
budget_s = 60
repetitions = { least = 6, most = 6 }

[[workloads]]
name = "a workload whose name is as long as a name of a workload gets, with 4 peers"
shape = "broadcast"
peers = [4, 8]
segments = 4
segment_bytes = [1024, 4096]

[[contenders]]
name = "a mock with a window of 8 that is called by sixty characters, or by more of them"
engine = "mock"
times_ms = [500, 520, 510]

[[contenders]]
name = "a mock with a window of 16 that is called by sixty characters, or by more of them"
engine = "mock"
times_ms = [900, 940, 920]
"#;

/// The folder that all tests of this process share: a plan, its records, inputs, a tree, and what is staged of it.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let root =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("terminal-{}", std::process::id()));
    fs::create_dir_all(root.join("staged")).expect("a folder for this process");
    fs::write(root.join("plan.toml"), PLAN).expect("written");
    for line in [
        "bench plan.toml --out measured",
        "synthesize inputs --peers 2 --files 2 --segments 2",
        "synthesize --tree tree --files 3 --bytes 3K",
        "stage tree --to staged --transport local",
    ] {
        let output = mpiswarm(&root, line).output().expect("it starts");
        assert!(output.status.success(), "{line}: {output:?}");
    }
    root
});

/// The program in a folder, as in a terminal that could show colours, if it were one.
fn mpiswarm(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(line.split(' ')).current_dir(folder).env("TERM", "xterm-256color");
    ["NO_COLOR", "COLUMNS", "CLICOLOR_FORCE"].iter().for_each(|name| {
        command.env_remove(name);
    });
    command
}

fn piped(line: &str) -> Output {
    mpiswarm(&FOLDER, line).output().expect("it starts")
}

/// What a terminal of so many columns is sent; none without util-linux.
fn on_a_terminal(columns: u32, line: &str, environment: &[(&str, &str)]) -> Option<String> {
    let mut command = Command::new("script");
    let line = format!("stty cols {columns}; {PROGRAM} {line}");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).current_dir(&*FOLDER);
    ["NO_COLOR", "COLUMNS", "CLICOLOR_FORCE"].iter().for_each(|name| {
        command.env_remove(name);
    });
    command.env("TERM", "xterm-256color").envs(environment.iter().copied());
    let output = command.stdin(std::process::Stdio::null()).output().ok()?;
    assert!(output.status.success(), "{line}: {output:?}");
    // `script` passes on the end of its own stdin, which the terminal echoes.
    Some(String::from_utf8_lossy(&output.stdout).replace("^D\u{8}\u{8}", ""))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// One line for each command, and more where it shows different things; with the exit code of each.
const COMMANDS: [(&str, i32); 27] = [
    ("run inputs --out a --overwrite --transport local", 0),
    ("run inputs --out b --overwrite --transport local --json", 0),
    ("run nowhere --transport local", 2),
    ("stage tree --to staged --transport local", 0),
    ("stage tree --to staged --transport local --dry-run", 0),
    ("stage tree --to staged --transport local --progress json", 0),
    ("verify staged", 0),
    ("verify staged/nothing", 2),
    ("manifest tree", 0),
    ("synthesize more --peers 2 --files 2 --segments 2 --overwrite", 0),
    ("simulate --peers 4,8 --segments 20", 0),
    ("bench plan.toml --out measured --resume", 0),
    ("bench plan.toml --out measured", 2),
    ("compare measured", 0),
    ("compare measured --format md", 0),
    ("compare measured --format csv", 0),
    ("compare measured --format runs", 0),
    ("compare measured --format json", 0),
    ("compare measured --format html", 0),
    ("compare measured --contender none", 2),
    ("compare --history measured", 0),
    ("completions bash", 0),
    ("man", 0),
    ("man stage", 0),
    ("--help", 0),
    ("stage --help", 0),
    ("stage --nonsense", 2),
];

#[test]
fn pipes_get_no_escape_sequence_from_any_command() {
    for (line, code) in COMMANDS {
        let output = piped(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
        for bytes in [&output.stdout, &output.stderr] {
            assert!(!bytes.contains(&0x1b), "{line}: {}", String::from_utf8_lossy(bytes));
        }
    }
    let help = mpiswarm(&FOLDER, "--help").env("COLUMNS", "300").output().expect("it starts");
    let help = text(&help.stdout);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() >= 10, "{help}");
    let known = |name: &&str| COMMANDS.iter().any(|(line, _)| line.split(' ').next() == Some(name));
    let forgotten: Vec<_> =
        commands.iter().filter(|name| **name != "help" && !known(name)).collect();
    assert!(forgotten.is_empty(), "no line of COMMANDS is of {forgotten:?}");
}

#[test]
fn a_terminal_gets_no_escape_sequence_where_it_is_not_wanted() {
    for (line, code) in COMMANDS {
        if code != 0 {
            continue;
        }
        for unwanted in [("NO_COLOR", "1"), ("NO_COLOR", "x"), ("TERM", "dumb")] {
            // Some libraries colour everything where `CI` is set.
            let Some(said) = on_a_terminal(100, line, &[unwanted, ("CI", "true")]) else { return };
            assert!(!said.contains('\u{1b}'), "{line}, {unwanted:?}: {said:?}");
        }
    }
    // Open MPI gives a rank a pseudo-terminal, whatever its output goes to.
    let rank_0 = [("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "2")];
    let said = on_a_terminal(100, "compare measured", &rank_0);
    assert!(said.is_none_or(|said| !said.contains('\u{1b}')));
    let shows = |line: &str, environment: &[(&str, &str)]| {
        on_a_terminal(100, line, environment).is_none_or(|said| said.contains('\u{1b}'))
    };
    for line in ["compare measured", "verify staged", "bench plan.toml --out live"] {
        assert!(shows(line, &[("NO_COLOR", "")]), "{line}: an empty NO_COLOR forbids nothing");
    }
}

#[test]
fn who_asks_for_silence_gets_it() {
    for (line, is_result) in [
        ("run inputs --out c --overwrite --transport local", false),
        ("stage tree --to staged --transport local", false),
        ("verify staged", false),
        ("manifest tree", true),
        ("synthesize quiet --peers 2 --files 2 --segments 2 --overwrite", false),
        ("simulate --peers 4 --segments 20", true),
        ("bench plan.toml --out measured --resume", true),
        ("compare measured", true),
        ("compare --history measured", true),
    ] {
        let output = piped(&format!("{line} --quiet"));
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{line}");
        assert_eq!(output.stdout.is_empty(), !is_result, "{line}: {output:?}");
        let Some(said) = on_a_terminal(100, &format!("{line} --quiet >nothing"), &[]) else {
            continue;
        };
        assert_eq!(said, "", "{line}");
    }
}

#[test]
fn silence_hides_no_error() {
    let copy = FOLDER.join("changed");
    fs::create_dir_all(copy.join("to")).expect("a folder");
    let staged = mpiswarm(&FOLDER, "stage tree --to changed/to --transport local --quiet").status();
    assert!(staged.expect("it starts").success());
    let tree = copy.join("to/tree");
    let mut names = fs::read_dir(&tree).expect("a folder").flatten().map(|entry| entry.path());
    let file = names.find(|path| path.is_file()).expect("the tree has a file");
    fs::write(file, "other bytes").expect("written");
    let differs = piped("verify changed/to --quiet");
    assert_eq!((differs.status.code(), differs.stdout.len()), (Some(1), 0), "{differs:?}");
    assert!(text(&piped("verify changed/to").stdout).contains(" differences\n"));
    for line in [
        "run nowhere --transport local --quiet",
        "stage nowhere --to staged --transport local --quiet",
        "verify nowhere --quiet",
        "manifest nowhere --quiet",
        "synthesize inputs --peers 2 --files 2 --segments 2 --quiet",
        "simulate --peers 100000 --segments 1001 --quiet",
        "bench nowhere.toml --quiet",
        "bench plan.toml --out measured --quiet",
        "compare nowhere --quiet",
    ] {
        let output = piped(line);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{line}: {output:?}");
        assert!(text(&output.stderr).starts_with("mpiswarm: "), "{line}: {output:?}");
    }
}
