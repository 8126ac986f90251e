//! How numbers and verdicts read in a cell or a note.

use super::Figure;
use super::grid::{Cell, Tone};
use super::judge::{JudgedPair, Verdict};
use crate::report::statistics::Interval;
use crate::report::units::count;

pub(super) fn shown<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

pub(super) fn percent(part: Option<f64>) -> String {
    shown(part, |part| format!("{:.1}%", 100.0 * part))
}

/// `4.2%` for a factor of 1.042.
pub(super) fn part(factor: f64) -> String {
    percent(Some(factor - 1.0))
}

/// Three digits, more for ratios close to 1, where small differences matter.
pub(crate) fn ratio(ratio: f64) -> String {
    with_digits(ratio, digits(ratio))
}

/// The ratio of a result; none is finite where one side is 0, and any change from 0 is one by more than any
/// factor.
pub(super) fn ratio_of(row: &JudgedPair) -> String {
    let zero = match (row.base.median, row.other.median) {
        (0.0, 0.0) => "-",
        (0.0, _) => "from 0",
        (_, 0.0) => "to 0",
        _ => "-",
    };
    row.ratio.map_or_else(|| zero.to_owned(), ratio)
}

/// An interval with as many digits as its ratio has.
pub(crate) fn interval(row: &JudgedPair) -> String {
    shown(row.ratio_interval, |ends| ends_of(row.ratio, ends))
}

pub(super) fn ends_of(ratio: Option<f64>, Interval { low, high }: Interval) -> String {
    let digits = digits(ratio.unwrap_or(low));
    format!("[{}, {}]", with_digits(low, digits), with_digits(high, digits))
}

/// `5.20 to 6.10`, with as many digits as the ratio has.
pub(super) fn ratio_between(ratio: f64, low: f64, high: f64) -> String {
    let digits = digits(ratio);
    format!("{} to {}", with_digits(low, digits), with_digits(high, digits))
}

fn digits(ratio: f64) -> usize {
    match ratio {
        0.9..1.1 => 3,
        _ if ratio >= 100.0 => 0,
        _ if ratio >= 10.0 => 1,
        _ if ratio < 0.1 => 3,
        _ => 2,
    }
}

fn with_digits(ratio: f64, digits: usize) -> String {
    format!("{ratio:.digits$}")
}

pub(super) fn probability(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}

/// `2.41× faster`, `~` for no significant difference, or `? 3 runs, 6 needed`.
pub(super) fn verdict(figure: Figure, row: &JudgedPair) -> Cell {
    if row.verdict != Verdict::TooFew {
        return judgement(figure, row.ratio, row.verdict);
    }
    let (units, least) = row.units();
    let units = count(units as u64, row.tested.name());
    Cell::from(format!("? {units}, {least} needed")).toned(Tone::Faint)
}

/// A verdict in words. A ratio that is no number, as from 0 to 5 ns, has none in its verdict.
pub(super) fn judgement(figure: Figure, of: Option<f64>, verdict: Verdict) -> Cell {
    let (better, worse) = figure.words();
    let words = |word: &str| match of {
        Some(of) => format!("{}× {word}", ratio(of.max(of.recip()))),
        None => word.to_owned(),
    };
    match verdict {
        Verdict::Better => Cell::from(words(better)).toned(Tone::Good),
        Verdict::Worse => Cell::from(words(worse)).toned(Tone::Bad),
        Verdict::Same => Cell::from("~").toned(Tone::Faint),
        Verdict::TooFew => Cell::from("?").toned(Tone::Faint),
        Verdict::Void => Cell::from("void: the control moved").toned(Tone::Faint),
        Verdict::Control => Cell::from("control").toned(Tone::Faint),
    }
}
