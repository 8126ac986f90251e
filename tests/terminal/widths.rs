//! Tables and helps fit into 60, 80 and 120 columns.

use unicode_width::UnicodeWidthStr as _;

use super::{FOLDER, mpiswarm, on_a_terminal, piped, text};

/// What prints a table of the wide plan.
const TABLES: [&str; 5] = [
    "bench plan.toml --out measured --resume",
    "compare measured",
    "compare --history measured",
    "simulate --peers 4,100 --segments 20 --rates log-normal:0.3,slow:0.25:3.5",
    "run inputs --out w --overwrite --transport local",
];

/// The lines that are too wide.
fn too_wide(text: &str, columns: usize) -> Vec<&str> {
    text.lines().filter(|line| line.width() > columns).collect()
}

#[test]
fn tables_fit_the_width_that_is_asked_for() {
    for line in TABLES {
        for columns in [60, 80, 120] {
            let mut command = mpiswarm(&FOLDER, line);
            let output = command.env("COLUMNS", columns.to_string()).output().expect("it starts");
            assert!(output.status.success(), "{line}: {output:?}");
            let said = text(&output.stdout);
            assert_eq!(too_wide(&said, columns), [""; 0], "{line}: {said}");
        }
        let said = text(&piped(line).stdout);
        assert_eq!(too_wide(&said, 80), [""; 0], "{line} in a pipe: {said}");
        let Some(said) = on_a_terminal(97, line, &[("NO_COLOR", "1")]) else { continue };
        let table = said.replace('\r', "");
        let from = table.find("left out to fit").map_or("", |at| &table[at..]);
        assert!(
            from.is_empty() || from.starts_with("left out to fit 97 columns: "),
            "{line}: {said}"
        );
    }
}

#[test]
fn a_cut_table_names_what_it_leaves_out_and_the_flag_that_shows_it() {
    for line in &TABLES[..4] {
        let narrow = text(&piped(line).stdout);
        assert!(narrow.contains("left out to fit 80 columns: "), "{line}: {narrow}");
        assert!(narrow.contains("--wide shows all"), "{line}: {narrow}");
        let wide = text(&piped(&format!("{line} --wide")).stdout);
        assert!(!wide.contains("left out to fit") && !wide.contains('…'), "{line}: {wide}");
    }
    let short = text(&piped("compare measured").stdout);
    assert!(short.contains('…'), "{short}");
    let rows = short.lines().filter(|line| line.contains("faster") || line.contains("slower"));
    let rows: Vec<_> = rows.collect();
    let distinct: std::collections::BTreeSet<_> = rows.iter().collect();
    assert_eq!(distinct.len(), rows.len(), "{short}");
}

#[test]
fn a_file_has_all_columns() {
    let out = FOLDER.join("comparison.txt");
    let output = piped(&format!("compare measured --out {}", out.display()));
    assert!(output.status.success(), "{output:?}");
    let filed = std::fs::read_to_string(out).expect("it was written");
    assert!(filed.contains(" δ ") && !filed.contains("left out"), "{filed}");
}

#[test]
fn a_bench_ends_with_its_result_as_one_sentence() {
    let said = text(&piped("bench plan.toml --out measured --resume").stdout);
    // It is wrapped as all else is: its own paragraph, whose lines but the first are indented.
    let paragraph = said.trim_end().rsplit("\n\n").next().expect("a paragraph");
    assert!(paragraph.lines().skip(1).all(|line| line.starts_with("  ")), "{said}");
    assert!(paragraph.lines().count() > 1, "{said}");
    let sentence = paragraph.replace("\n  ", " ");
    let names = ["8", "16"].map(|window| {
        format!("a mock with a window of {window} that is called by sixty characters, or by more of them")
    });
    assert!(
        sentence.starts_with(&format!("{} is 1.80 times as fast as {} (95% ", names[0], names[1])),
        "{said}"
    );
    assert!(sentence.contains("; 6 runs each; a workload whose name is "), "{said}");
    assert!(sentence.ends_with("; over 4 workloads 1.80 to 1.80 times"), "{said}");
}

#[test]
fn helps_fit_80_columns_and_break_no_example() {
    for command in [
        "run",
        "stage",
        "verify",
        "manifest",
        "synthesize",
        "simulate",
        "bench",
        "compare",
        "completions",
        "man",
        "",
    ] {
        let line = format!("{command} --help");
        let output =
            mpiswarm(&FOLDER, line.trim()).env("COLUMNS", "80").output().expect("it starts");
        let help = text(&output.stdout);
        assert_eq!(too_wide(&help, 80), [""; 0], "{command}: {help}");
        // A line that was broken goes on at the margin.
        let text = help.split("Exit codes:").nth(1).unwrap_or_default();
        let broken: Vec<_> = text
            .lines()
            .zip(text.lines().skip(1))
            .filter(|(line, next)| {
                line.starts_with("  ") && !next.is_empty() && !next.starts_with("  ")
            })
            .collect();
        assert!(broken.is_empty(), "{command}: {broken:?}");
    }
}
