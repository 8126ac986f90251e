//! The documents say what their records say: every figure in README.md and results/FIGURES.md that comes
//! from a record is computed again from that record, by the code that `compare` uses.
//!
//! Marks in the documents say which figure stands where; nobody sees them on a page. Words of a mark are
//! `key=value`, or `key="several words"`; [`figures`] says which.
//!
//! - `<!--= WORDS -->12.3 ms<!--/-->` is a figure in a text.
//! - `<!--| WORDS | - | WORDS | … -->` above a table has words for all its figures, and then words for each
//!   column, or `-` for a column that has none. A row ends in `<!--: WORDS -->`. The words of a column go
//!   before those of its row, and those before the words for all. An empty cell stays empty.
//!
//! - `<!--# rivals -->` and `<!--/#-->`, each a line, have between them what [`rivals`] makes of the records of
//!   `scripts/stage-bench.sh`; `<!--# ladder -->` likewise what [`ladder`] makes of that of the plan `ladder`.
//!
//! `UPDATE_DOCS=1 cargo test docs` writes the figures and the pictures anew.

mod figures;
mod ladder;
mod rivals;
mod sources;
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use figures::Figures;
use ladder::Ladder;
use rivals::Rivals;
use words::Words;

use super::measured::has_records;

// Those that cite records.
const DOCUMENTS: [&str; 2] = ["README.md", "results/FIGURES.md"];
// All marks are comments of HTML, which no page shows. A sign tells them from other comments.
const TABLE: &str = "<!--|";
// Within a row, as the first cells of rows are what readers of the text look for.
const ROW: &str = "<!--:";
// Around a figure in a text, which may have blanks in it: `12.3 ms`.
const BEGIN: &str = "<!--=";
// Behind a part that is made as a whole.
const PART_END: &str = "<!--/#-->\n";
// It has no words: figures don't nest.
const END: &str = "<!--/-->";
// That of HTML.
const CLOSE: &str = "-->";

/// The words of a table and of its columns.
type Table = (Words, Vec<Option<Words>>);

/// The text with its figures computed anew. An error has the number of its line.
fn renewed(text: &str, figures: &mut Figures) -> Result<String, String> {
    let mut table: Option<(Table, usize)> = None;
    let mut out = String::new();
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let placed = |error: String| format!("line {number}: {error}");
        let mut line = line.to_owned();
        if let Some(mark) = line.trim_end().strip_prefix(TABLE) {
            table = Some((head(mark).map_err(placed)?, 0));
        } else if !line.starts_with('|') {
            table = None;
        } else if let Some((marks, rows)) = &mut table {
            *rows += 1;
            // The first two rows are the heading and the rule below it.
            if *rows > 2 {
                line = row(&line, marks, figures).map_err(placed)?;
            }
        }
        out += &in_text(&line, figures).map_err(placed)?;
    }
    Ok(out)
}

fn head(mark: &str) -> Result<Table, String> {
    let mark = mark.strip_suffix(CLOSE).ok_or("a mark of a table has a line of its own")?;
    let mut parts = mark.split('|');
    let all = Words::parse(parts.next().unwrap_or_default())?;
    let column = |text: &str| match text.trim() {
        "-" => Ok(None),
        words => Words::parse(words).map(Some),
    };
    Ok((all, parts.map(column).collect::<Result<_, String>>()?))
}

/// A row of a table, which has no bar but those between its cells.
fn row(line: &str, (all, columns): &Table, figures: &mut Figures) -> Result<String, String> {
    let (line, own, mark) = match line.split_once(ROW) {
        None => (line.to_owned(), Words::default(), String::new()),
        Some((before, rest)) => {
            let (words, after) = rest.split_once(CLOSE).ok_or("a mark has no end")?;
            let line = format!("{}{after}", before.trim_end_matches(' '));
            (line, Words::parse(words)?, format!("{ROW}{words}{CLOSE} "))
        }
    };
    let mut cells: Vec<String> = line.trim_end().split('|').map(ToOwned::to_owned).collect();
    // Before the first bar and after the last one there is no cell.
    if cells.len() != columns.len() + 2 {
        return Err(format!(
            "{} columns are marked, and there are {}",
            columns.len(),
            cells.len() - 2
        ));
    }
    for (cell, column) in cells[1..].iter_mut().zip(columns) {
        let stays = cell.trim().is_empty() || cell.contains(BEGIN);
        if let Some(column) = column.as_ref().filter(|_| !stays) {
            *cell = format!(" {} ", figures.text(&column.or(&own).or(all))?);
        }
    }
    if !mark.is_empty() {
        let last = columns.len();
        let cell = format!("{} {mark}", cells[last].trim());
        cells[last] = format!(" {}", cell.trim_start());
    }
    Ok(cells.join("|") + "\n")
}

fn in_text(line: &str, figures: &mut Figures) -> Result<String, String> {
    let mut parts = line.split(BEGIN);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (words, rest) = part.split_once(CLOSE).ok_or("a mark has no end")?;
        let (_, rest) = rest.split_once(END).ok_or(format!("a figure has no {END} behind it"))?;
        let figure = figures.text(&Words::parse(words)?)?;
        out += &format!("{BEGIN}{words}{CLOSE}{figure}{END}{rest}");
    }
    Ok(out)
}

/// The text with what stands behind a line and before the next end of such a part made anew.
fn replaced(text: &str, begin: &str, made: &str) -> Result<String, String> {
    let Some((before, rest)) = text.split_once(begin) else { return Ok(text.to_owned()) };
    let (_, after) = rest.split_once(PART_END).ok_or(format!("{begin}has no end {PART_END}"))?;
    Ok(format!("{before}{begin}{made}{PART_END}{after}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn records() -> PathBuf {
    root().join("results")
}

#[test]
fn documents_say_what_their_records_say() {
    let mut figures = Figures::default();
    let mut wrong = Vec::new();
    let is_update = std::env::var_os("UPDATE_DOCS").is_some();
    let rivals = Rivals::read(&records()).unwrap_or_else(|error| panic!("{error}"));
    let ladder = Ladder::read(&records()).unwrap_or_else(|error| panic!("{error}"));
    for (name, drawn) in [(rivals::PICTURE, rivals.picture()), (ladder::PICTURE, ladder.picture())]
    {
        let picture = records().join(name);
        if is_update {
            fs::write(&picture, drawn).expect("the picture can be written");
        } else if fs::read_to_string(&picture).ok() != Some(drawn) {
            wrong.push(format!("results/{name} shows other records"));
        }
    }
    for document in DOCUMENTS {
        let path = root().join(document);
        let stored = fs::read_to_string(&path).expect("a document");
        let text = rivals.renewed(&stored).and_then(|text| ladder.renewed(&text));
        let text = text.unwrap_or_else(|error| panic!("{document}: {error}"));
        if text != stored && !is_update {
            wrong.push(format!(
                "{document}: the tables of rivals or of the ladder are of other records"
            ));
        }
        let new =
            renewed(&text, &mut figures).unwrap_or_else(|error| panic!("{document}: {error}"));
        if is_update {
            fs::write(&path, &new).expect("the document can be written");
            continue;
        }
        let lines = (1..).zip(text.lines().zip(new.lines()));
        let different = lines.filter(|(_, (is, should))| is != should);
        wrong.extend(different.map(|(number, (is, should))| {
            format!("{document}:{number}:\n  is      {is}\n  must be {should}")
        }));
    }
    assert!(
        wrong.is_empty(),
        "{}\nUPDATE_DOCS=1 cargo test docs writes what must be",
        wrong.join("\n")
    );
    // A mark that is gone checks nothing.
    let list = fs::read_to_string(root().join("results/README.md")).expect("the list of records");
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: BTreeSet<_> =
        rows.filter(|record| holds_figures(&records().join(record))).collect();
    let unread: Vec<_> = listed.iter().filter(|record| !figures.has_read(record)).collect();
    assert!(listed.len() >= 10 && unread.is_empty(), "no document has a figure of {unread:?}");
}

/// Whether marks can cite it: runs, in it or in folders below it, or a file of other figures.
fn holds_figures(record: &Path) -> bool {
    let others = ["table.txt", "scale.jsonl"];
    let below = fs::read_dir(record).into_iter().flatten().flatten().map(|entry| entry.path());
    has_records(record)
        || others.iter().any(|name| record.join(name).is_file())
        || below.filter(|path| path.is_dir()).any(|folder| holds_figures(&folder))
}

#[test]
fn docs_with_wrong_figures_are_mended_and_wrong_marks_named() {
    let record = "record=small-segments-2026-11-28-18e2d7d";
    let row = "contender=lockfree";
    let text = format!(
        "<!--| {record} figure=bound | - | base=chain stat=interval | -->\n| who | ÷ chain | bound |\n\
         | --- | --- | --- |\n| all | 9 | 1 <!--: {row} --> |\n| none | | 1 <!--: {row} --> |\n\n\
         <!--= {record} {row} figure=makespan stat=least -->1 h<!--/--> at least.\n"
    );
    let mut figures = Figures::default();
    let new = renewed(&text, &mut figures).expect("right marks");
    assert_eq!(renewed(&new, &mut figures).as_ref(), Ok(&new));
    let lines: Vec<_> = new.lines().zip(text.lines()).collect();
    assert!(lines[3].0.starts_with("| all | 1.8") && lines[3].0.contains('['), "{new}");
    assert!(lines[4].0.starts_with("| none | | ") && lines[4].0 != lines[4].1, "{new}");
    assert!(!new.contains("1 h") && new.contains(" ms<!--/--> at least."), "{new}");
    for (right, wrong, said) in [
        (record, "record=nowhere", "line 4: record=nowhere: "),
        (row, "contender=nobody", "line 4: no result of nobody"),
        ("figure=bound", "figure=speed", "line 4: figure=speed: `speed` is not one of"),
        ("stat=least", "stat=mode", "line 7: stat=mode: use median,"),
        ("base=chain", "base", "line 1: \"base\" is not key=value"),
        ("| none |", "|", "line 5: 3 columns are marked, and there are 2"),
        ("<!--/-->", "", "line 7: a figure has no <!--/--> behind it"),
    ] {
        let error = renewed(&text.replacen(right, wrong, 1), &mut figures);
        let error = error.or_else(|_| renewed(&text.replace(right, wrong), &mut figures));
        let error = error.expect_err(said);
        assert!(error.starts_with(said), "{error}");
    }
}
