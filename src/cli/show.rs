//! The only output: progress and errors on stderr, results on stdout.
use std::env;
use std::fs;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use clap::error::ContextValue;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::termios::tcgetwinsize;

use super::args::RunArgs;
use super::colour::takes_escapes;
use super::{FAILED, OK, REFUSED, UNAVAILABLE};
use crate::driver::job::JobResult;
use crate::escape::{self, LISTED_MAX};
use crate::harness;
use crate::protocol::tracker::Progress;
use crate::report::compare::Screen;
use crate::report::limits::BOUND_BYTES_LEAST;
use crate::report::{Carrier, Limits, Summary};
use crate::time::Clock;

// Time spent on measuring the machine's limits after a run.
// A blink for somebody who waits for the prompt, and 8 rounds of a millisecond for each of two rates.
const LIMITS_BUDGET: Duration = Duration::from_millis(16);

// How often a line shows progress where there is no terminal.
// Rare enough for a log file; chosen, not tuned.
const LINE_EVERY: Duration = Duration::from_secs(3);

// How wide a table is where nothing tells.
// What terminals have had since the VT100, and what mails and tickets show unbroken.
const COLUMNS: usize = 80;

// A table is made for so many columns at least.
// Narrower ones have no room for a name beside a number.
const COLUMNS_LEAST: usize = 20;

// Set once a result could not be printed: the exit code says so in the end.
static OUTPUT_FAILED: OnceLock<()> = OnceLock::new();

/// Whether a result could not be printed.
pub(super) fn output_failed() -> bool {
    OUTPUT_FAILED.get().is_some()
}

pub(super) fn error(text: &str) {
    note(&format!("mpiswarm: {text}"));
}

/// The first errors, and how many more there are.
pub(super) fn errors(all: impl Iterator<Item = String>) {
    first(all, error);
}

/// The first remarks, and how many more there are.
pub(super) fn notes(all: impl Iterator<Item = String>) {
    first(all, note);
}

fn first(mut all: impl Iterator<Item = String>, show: fn(&str)) {
    all.by_ref().take(LISTED_MAX).for_each(|one| show(&one));
    let more = all.count();
    if more > 0 {
        show(&format!("and {more} more"));
    }
}

/// Prints what is wrong with the command line, or the help; returns the exit code.
pub(super) fn usage(wrong: &clap::Error) -> u8 {
    if let Err(cause) = wrong.print()
        && cause.kind() != ErrorKind::BrokenPipe
    {
        error(&format!("stdout: {cause}"));
        return FAILED;
    }
    if wrong.exit_code() == 0 { OK } else { REFUSED }
}

/// What is wrong with the command line, in one line.
pub(super) fn usage_line(wrong: &clap::Error) -> String {
    let text = wrong.render().to_string();
    // Behind a blank line stand tips, and how the command is used.
    let lines: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let line = lines.join(" ");
    escape::line(line.strip_prefix("error: ").unwrap_or(&line))
}

/// The error with nothing hidden: clap repeats what was typed.
pub(super) fn printable(mut wrong: clap::Error) -> clap::Error {
    // Nothing to escape: the tips keep their colours.
    if env::args_os().all(|word| Some(&*escape::path(word.as_ref())) == word.to_str()) {
        return wrong;
    }
    let typed: Vec<_> = wrong.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in typed {
        let value = if let ContextValue::String(text) = value {
            ContextValue::String(escape::terminal(&text))
        } else if let ContextValue::Strings(all) = value {
            ContextValue::Strings(all.iter().map(|text| escape::terminal(text)).collect())
        } else if let ContextValue::StyledStrs(all) = value {
            // A tip that repeats it, without colours.
            let tips = all.iter().map(|tip| escape::line(&tip.to_string()).into());
            ContextValue::StyledStrs(tips.collect())
        } else {
            continue;
        };
        wrong.insert(kind, value);
    }
    wrong
}

pub(super) fn note(text: &str) {
    // Where stderr can't be written, nobody is left to tell: the exit code remains.
    drop(writeln!(io::stderr(), "{}", escape::line(text)));
}

/// Prints a result of several lines.
// Not `print!`, which panics on a full disk: on rank 0 all other ranks would then wait.
pub(super) fn text(text: &str) {
    let mut stdout = io::stdout();
    printed(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

fn printed(result: io::Result<()>) {
    match result {
        // A reader such as `head` has seen enough.
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => {}
        Err(cause) if OUTPUT_FAILED.set(()).is_ok() => error(&format!("stdout: {cause}")),
        Ok(()) | Err(_) => {}
    }
}

/// Prints a result as it is made.
pub(super) fn stream(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
    let mut stdout = BufWriter::new(io::stdout().lock());
    printed(write(&mut stdout).and_then(|()| stdout.flush()));
}

/// Prints one line of the result.
pub(super) fn line(line: &str) {
    text(&format!("{line}\n"));
}

/// What a table on stdout is made for.
pub(super) fn screen(is_wide: bool) -> Screen {
    let columns = if is_wide { usize::MAX } else { columns() };
    Screen { colour: takes_escapes(&io::stdout()), columns }
}

/// The width of what reads stdout: what `COLUMNS` says (POSIX.1-2024, 8.3), that of the terminal, or
/// [`COLUMNS`].
pub(super) fn columns() -> usize {
    let asked = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let asked = asked.filter(|&columns| columns > 0);
    let known = asked.or_else(|| columns_of(io::stdout()));
    known.unwrap_or(COLUMNS).max(COLUMNS_LEAST)
}

/// The width of the terminal that a bar is shown on.
pub(super) fn columns_of_bar() -> usize {
    columns_of(io::stderr()).unwrap_or(COLUMNS)
}

fn columns_of(terminal: impl AsFd) -> Option<usize> {
    Some(usize::from(tcgetwinsize(terminal).ok()?.ws_col)).filter(|&columns| columns > 0)
}

/// A progress bar on a terminal; elsewhere, and where nobody wants it, a hidden one.
pub(super) fn bar(quiet: bool, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let is_shown = !quiet && takes_escapes(&io::stderr());
    let bar = if is_shown { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.with_style(style)
}

/// Ends the line that a bar may stand on.
pub(super) fn end_bar() {
    if takes_escapes(&io::stderr()) {
        drop(writeln!(io::stderr()));
    }
}

/// Whether lines take the place of a bar.
pub(super) fn has_lines(quiet: bool) -> bool {
    !quiet && !takes_escapes(&io::stderr())
}

/// Shows a progress bar on a terminal; elsewhere a line every [`LINE_EVERY`].
pub(super) fn progress(args: &RunArgs, clock: &Clock) -> impl FnMut(Progress) + use<> {
    let bar = bar(args.shared.quiet, "{bar:40} {pos}/{len} segments, {msg}");
    let has_lines = has_lines(args.shared.quiet);
    let (clock, mut shown) = (*clock, clock.now());
    move |progress| {
        let Progress { segments_wanted, segments_verified, peers_complete, .. } = progress;
        bar.set_length(segments_wanted);
        bar.set_position(segments_verified);
        bar.set_message(format!("{peers_complete} peers complete"));
        let is_over = segments_verified == segments_wanted;
        if is_over && segments_wanted > 0 {
            bar.finish_and_clear();
        }
        if has_lines && !is_over && clock.now().since(shown) >= LINE_EVERY {
            shown = clock.now();
            note(&format!(
                "{segments_verified} of {segments_wanted} segments, {peers_complete} peers complete"
            ));
        }
    }
}

/// A progress bar over bytes.
pub(super) fn bytes_bar(quiet: bool, bytes: u64) -> ProgressBar {
    let bar = bar(quiet, "{bar:40} {bytes}/{total_bytes}, {bytes_per_sec}");
    bar.set_length(bytes);
    bar
}

/// Prints the summary and the errors; returns the exit code. `cores` is how many the machine has, if
/// all nodes are on one.
pub(super) fn summary(
    args: &RunArgs,
    clock: &Clock,
    transport: &'static str,
    cores: Option<usize>,
    ended: JobResult,
) -> u8 {
    let outcome = &ended.outcome;
    errors(outcome.errors.iter().cloned());
    let names = outcome.unavailable.iter().map(|name| escape::terminal(name));
    errors(names.map(|name| format!("{name}: no rank could provide it")));
    errors(outcome.lookalikes.iter().map(|(wanted, owner, owned)| {
        let [wanted, owned] = [wanted, owned].map(|name| escape::terminal(name));
        format!(
            "in{}.txt owns {owned}, which only looks like {wanted}: other code points (NFC, NFD): use one \
             of both names in all inputs",
            owner.0
        )
    }));
    if outcome.refused {
        return if outcome.lost.is_empty() { REFUSED } else { FAILED };
    }
    let code = match (outcome.errors.is_empty(), outcome.unavailable.is_empty()) {
        (false, _) => FAILED,
        (true, false) => UNAVAILABLE,
        (true, true) => OK,
    };
    let one_machine = cores.is_some();
    // Measuring takes longer than a short run: not where nobody reads the limits.
    let is_read = !args.shared.quiet || args.shared.json || args.report.is_some();
    let moved = ended.metrics.iter().map(|rank| rank.received_bytes).fold(0, u64::saturating_add);
    let has_bound = one_machine && is_read && moved >= BOUND_BYTES_LEAST as u64;
    let limits = has_bound.then(|| Limits::measure(args.segment_bytes.get(), LIMITS_BUDGET, clock));
    let cores = cores.unwrap_or_else(harness::cores);
    let carrier = Carrier { engine: args.engine.name(), transport, cores, limits };
    let summary = Summary::new(&args.job(!one_machine, error), &carrier, ended);
    publish(args, &summary).unwrap_or(code)
}

/// Prints and writes the summary as asked; an exit code if that fails.
fn publish(args: &RunArgs, summary: &Summary) -> Option<u8> {
    let json = serde_json::to_string(summary).expect("a summary holds only plain data");
    let json = escape::json(&json);
    if args.shared.json {
        line(&json);
    } else if !args.shared.quiet {
        text(&summary.text(columns()));
    }
    let path = args.report.as_ref()?;
    let cause = fs::write(path, json + "\n").err()?;
    error(&format!("{}: {cause}", escape::path(path)));
    Some(FAILED)
}
