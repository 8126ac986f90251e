//! Reads the output of OSU micro-benchmarks: a heading `# OSU MPI Latency Test v7.4`, comments that say what
//! was measured (`# [ pairs: 2 ] [ window size: 64 ]`), the names of the columns in a line
//! `# Size   Latency (us)`, and a line of numbers for each size, or a single one without a size.
//!
//! Each heading begins another launch of its benchmark. Several can be in one file, or in several files of a
//! folder. Other lines, such as a warning of the MPI between two rows, are passed over with a note.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{ImportError, PassedOver, below, entries, set, text};
use crate::escape;
use crate::report::compare::{Figure, Observation, Scenario, Set};
use crate::report::units::count;

// How the output begins.
const HEADING: &str = "# OSU ";
// The datatype of a benchmark that names none, as those before version 7.
const USUAL_DATATYPE: &str = "Datatype: MPI_CHAR";

// What is passed over, as the notes say it.
const NO_TEXT: &str = "passed over, for there is no text of an OSU benchmark in it";
const UNREAD: &str = "passed over, for it can't be read";
const NO_TABLE: &str = "benchmarks without a table that is read";
const NO_ROWS: &str = "lines that are no rows of a table";
const FAILED: &str = "validation failed";
const POOLED: &str = "several files have one benchmark and count as launches of it (if they differ in their ranks, put them \
     into folders of their own)";

enum OsuColumn {
    /// Its figure, and its unit in ours: OSU prints µs, and MB/s of 10^6 bytes.
    Figure(Figure, f64),
    Validation,
    /// One that is not read.
    Other,
}

struct OsuColumns {
    has_size: bool,
    after_size: Vec<OsuColumn>,
}

/// A benchmark whose heading was read.
struct OpenBenchmark {
    line: usize,
    title: String,
    comments: Vec<String>,
    columns: Option<OsuColumns>,
    /// Known from the first row on.
    launch: Option<u32>,
    /// How many lines after its columns are no rows, and the first of them.
    others: (usize, usize),
}

#[derive(Default)]
struct Reader {
    observations: Vec<Observation>,
    versions: BTreeSet<String>,
    /// Of each benchmark: how many launches there were, and in which files.
    launches: BTreeMap<(String, String), (u32, BTreeSet<String>)>,
    passed_over: PassedOver,
}

/// Reads all files of a folder; none if no benchmark is in them.
pub(crate) fn read_folder(dir: &Path) -> Result<Option<Set>, ImportError> {
    let (files, others): (Vec<_>, Vec<_>) =
        entries(dir)?.into_iter().partition(|path| path.is_file());
    let mut set = read_files(dir, &files)?;
    let others: Vec<_> = others.iter().map(|path| below(dir, path)).collect();
    if let Some(set) = set.as_mut().filter(|_| !others.is_empty()) {
        set.warnings.push(format!("not read, for it is no file: {}", escape::some(&others, ", ")));
    }
    Ok(set)
}

/// Reads files; none if no benchmark is in them.
pub(crate) fn read_files(dir: &Path, paths: &[PathBuf]) -> Result<Option<Set>, ImportError> {
    let mut reader = Reader::default();
    let mut without = Vec::new();
    for path in paths {
        let name = below(dir, path);
        match text(path) {
            Ok(text) if reader.read(&name, &text) => {}
            Ok(_) => without.push(name),
            Err(cause) => reader.passed_over.add(UNREAD, format!("{name}: {cause}")),
        }
    }
    let Reader { observations, versions, launches, mut passed_over } = reader;
    if !observations.is_empty() {
        without.into_iter().for_each(|name| passed_over.add(NO_TEXT, name));
    }
    for ((title, _), (_, files)) in launches.into_iter().filter(|(_, (_, files))| files.len() > 1) {
        let files: Vec<_> = files.into_iter().collect();
        passed_over.add(POOLED, format!("{title} of {}", escape::some(&files, " and ")));
    }
    let versions: Vec<_> = versions.into_iter().collect();
    let tool = format!("OSU micro-benchmarks {}", versions.join(" and "));
    set(tool.trim_end().to_owned(), dir, observations, &passed_over)
}

impl Reader {
    /// Whether a benchmark is in the text of a file.
    fn read(&mut self, file: &str, text: &str) -> bool {
        let mut open: Option<OpenBenchmark> = None;
        for (line, text) in (1..).zip(text.lines()) {
            let text = without_rank(text).trim();
            if let Some(heading) = text.strip_prefix(HEADING) {
                open.replace(self.begin(line, heading))
                    .into_iter()
                    .for_each(|one| self.end(file, &one));
                continue;
            }
            let Some(open) = &mut open else { continue };
            if let Some(comment) = text.strip_prefix('#') {
                open.comment(comment.trim());
            } else if let Some((bytes, values, failed)) = open.row(text) {
                if failed {
                    self.passed_over.add(FAILED, format!("{file}:{line}"));
                }
                self.add(file, open, bytes, values);
            } else if !text.is_empty() {
                let (count, first) = open.others;
                open.others = (count + 1, if count == 0 { line } else { first });
            }
        }
        let has_any = open.is_some();
        open.into_iter().for_each(|one| self.end(file, &one));
        has_any
    }

    /// `MPI Latency Test v7.4` is a name and a version.
    fn begin(&mut self, line: usize, heading: &str) -> OpenBenchmark {
        let is_version = |word: &&str| {
            word.strip_prefix('v')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let (versions, words): (Vec<&str>, Vec<&str>) =
            heading.split_whitespace().partition(is_version);
        self.versions.extend(versions.into_iter().map(ToOwned::to_owned));
        let (comments, title) = (Vec::new(), words.join(" "));
        OpenBenchmark { line, title, comments, columns: None, launch: None, others: (0, 0) }
    }

    fn end(&mut self, file: &str, ended: &OpenBenchmark) {
        let (others, first) = ended.others;
        if ended.launch.is_none() {
            self.passed_over.add(NO_TABLE, format!("{} at {file}:{}", ended.title, ended.line));
        } else if others > 0 {
            let lines = count(others as u64, "line");
            self.passed_over.add(NO_ROWS, format!("{lines} from {file}:{first} on"));
        }
    }

    fn add(
        &mut self,
        file: &str,
        open: &mut OpenBenchmark,
        bytes: Option<usize>,
        values: BTreeMap<Figure, f64>,
    ) {
        let parameters = open.comments.join(", ");
        let launch = *open.launch.get_or_insert_with(|| {
            let key = (open.title.clone(), parameters.clone());
            let (launches, files) = self.launches.entry(key).or_default();
            files.insert(file.to_owned());
            *launches += 1;
            *launches - 1
        });
        self.observations.push(Observation {
            scenario: Scenario {
                workload: open.title.clone(),
                segment_bytes: bytes,
                parameters,
                ..Scenario::default()
            },
            contender: "osu".to_owned(),
            // Each heading is of a program that was started anew.
            launch,
            repetition: Some(launch),
            values,
            ..Observation::default()
        });
    }
}

impl OpenBenchmark {
    /// Takes the names of the columns, or what was measured: pairs, window, buffers, datatype.
    fn comment(&mut self, comment: &str) {
        if let Some(columns) = columns(comment) {
            self.columns = Some(columns);
        } else if self.columns.is_none() {
            let said = comment.trim_end_matches('.');
            if !said.is_empty() && said != USUAL_DATATYPE {
                self.comments.push(said.to_owned());
            }
        }
    }

    /// The size, the figures and whether validation failed; none for what is no row of the table.
    fn row(&self, text: &str) -> Option<(Option<usize>, BTreeMap<Figure, f64>, bool)> {
        let OsuColumns { has_size, after_size } = self.columns.as_ref()?;
        let mut words = text.split_whitespace();
        let bytes = if *has_size { Some(words.next()?.parse().ok()?) } else { None };
        let (mut values, mut failed) = (BTreeMap::new(), false);
        for column in after_size {
            let word = words.next()?;
            match column {
                OsuColumn::Figure(figure, unit) => {
                    let scaled = word.parse::<f64>().ok()? * unit;
                    if !(scaled.is_finite() && scaled >= 0.0) {
                        return None;
                    }
                    values.entry(*figure).or_insert(scaled);
                }
                OsuColumn::Validation => failed |= word.eq_ignore_ascii_case("fail"),
                OsuColumn::Other => {}
            }
        }
        (words.next().is_none() && !values.is_empty()).then_some((bytes, values, failed))
    }
}

/// The columns that a comment names; none if it names none. Two blanks or more stand between their names.
fn columns(comment: &str) -> Option<OsuColumns> {
    let mut names: Vec<_> =
        comment.split("  ").map(str::trim).filter(|name| !name.is_empty()).collect();
    let has_size = names.first().is_some_and(|name| name.starts_with("Size"));
    if has_size {
        names.remove(0);
    }
    let has_unit = |name: &&str| name.contains('(') || name.ends_with("/s");
    let after_size: Vec<_> = names.iter().map(|name| column(name)).collect();
    let is_table = names.iter().any(has_unit)
        && after_size.iter().any(|column| matches!(column, OsuColumn::Figure(..)));
    (has_size || is_table).then_some(OsuColumns { has_size, after_size })
}

fn column(name: &str) -> OsuColumn {
    let name = name.to_lowercase();
    let extremes = ["min", "max", "p50", "p90", "p95", "p99"];
    match name {
        name if extremes.iter().any(|word| name.starts_with(word)) => OsuColumn::Other,
        name if name == "validation" => OsuColumn::Validation,
        // Of a call that does not block: what it takes without the work beside it.
        name if name.contains("latency") || name.starts_with("pure comm") => {
            OsuColumn::Figure(Figure::MessageLatency, 1e-6)
        }
        name if name.contains("mb/s") => OsuColumn::Figure(Figure::Bandwidth, 1e6),
        name if name.contains("messages/s") => OsuColumn::Figure(Figure::MessageRate, 1.0),
        _ => OsuColumn::Other,
    }
}

/// A line without the rank that a launcher put before it: `[1,0]<stdout>:` (Open MPI), `[0] ` (Hydra),
/// `0: ` (srun).
fn without_rank(line: &str) -> &str {
    if let Some((_, rest)) = line.split_once("<stdout>:") {
        return rest;
    }
    let line = line.trim_start();
    let inside = line.strip_prefix('[').and_then(after_digits);
    let bracketed = inside.and_then(|rest| rest.strip_prefix(']'));
    let labelled = || after_digits(line)?.strip_prefix(": ");
    bracketed.or_else(labelled).unwrap_or(line)
}

/// What follows the digits that a text begins with; none if it begins with none.
fn after_digits(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|one: char| one.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
}
