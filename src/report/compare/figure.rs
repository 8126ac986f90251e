//! The figures that can be compared, their units, and which direction is better.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::escape;
use crate::report::units;

/// What is measured once a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Figure {
    /// From the start until the last peer had all it wanted, seconds.
    Makespan,
    /// Payload delivered a second, bytes/s.
    Rate,
    /// Segments delivered a second, 1/s.
    Segments,
    /// The makespan ÷ the shortest that is possible.
    Bound,
    /// The median latency of a segment, seconds.
    LatencyP50,
    /// 99% of the segments took at most this, seconds.
    LatencyP99,
    /// 99.9% of the segments took at most this, seconds.
    LatencyP999,
    /// The most bytes that a peer served ÷ the mean.
    Balance,
    /// How many times the original holders sent what was wanted.
    OriginCopies,
    /// Processor time, seconds.
    Cpu,
    /// The most memory that one process held, bytes.
    Memory,
    /// Answers of the tracker alone that gave at least one segment, 1/s.
    Handouts,
    /// 99% of the answers took the tracker at most this, seconds.
    ServiceP99,
    /// One iteration of a benchmark of another tool, seconds.
    Iteration,
    /// A message one way, or a collective call, by another tool, seconds.
    MessageLatency,
    /// Payload between ranks by another tool, bytes/s.
    Bandwidth,
    /// Messages between ranks by another tool, 1/s.
    MessageRate,
}

impl Figure {
    /// All of them, in the order of tables.
    pub(crate) const ALL: [Self; 17] = [
        Self::Makespan,
        Self::Rate,
        Self::Segments,
        Self::Bound,
        Self::LatencyP50,
        Self::LatencyP99,
        Self::LatencyP999,
        Self::Balance,
        Self::OriginCopies,
        Self::Cpu,
        Self::Memory,
        Self::Handouts,
        Self::ServiceP99,
        Self::Iteration,
        Self::MessageLatency,
        Self::Bandwidth,
        Self::MessageRate,
    ];

    /// On the command line and in JSON.
    pub(crate) fn name(self) -> &'static str {
        self.described().0
    }

    pub(crate) fn title(self) -> &'static str {
        self.described().1
    }

    /// The name, the heading, the unit.
    fn described(self) -> (&'static str, &'static str, FigureUnit) {
        match self {
            Self::Makespan => ("makespan", "Makespan", FigureUnit::Seconds),
            Self::Rate => ("rate", "Delivered bytes a second", FigureUnit::BytesPerSecond),
            Self::Segments => ("segments", "Delivered segments a second", FigureUnit::PerSecond),
            Self::Bound => ("bound", "Makespan ÷ bound", FigureUnit::Ratio),
            Self::LatencyP50 => {
                ("latency-p50", "Latency of a segment, median", FigureUnit::Seconds)
            }
            Self::LatencyP99 => ("latency-p99", "Latency of a segment, p99", FigureUnit::Seconds),
            Self::LatencyP999 => {
                ("latency-p999", "Latency of a segment, p99.9", FigureUnit::Seconds)
            }
            Self::Balance => ("balance", "Bytes served, most ÷ mean", FigureUnit::Ratio),
            Self::OriginCopies => ("origin-copies", "Copies sent by owners", FigureUnit::Ratio),
            Self::Cpu => ("cpu", "Processor time", FigureUnit::Seconds),
            Self::Memory => ("memory", "Peak memory of a process", FigureUnit::Bytes),
            Self::Handouts => {
                ("handouts", "Handouts of the tracker a second", FigureUnit::PerSecond)
            }
            Self::ServiceP99 => {
                ("service-p99", "Tracker's time for an answer, p99", FigureUnit::Seconds)
            }
            Self::Iteration => ("iteration", "Time of an iteration", FigureUnit::Seconds),
            Self::MessageLatency => {
                ("message-latency", "Latency of a message", FigureUnit::Seconds)
            }
            Self::Bandwidth => ("bandwidth", "Bandwidth", FigureUnit::BytesPerSecond),
            Self::MessageRate => ("message-rate", "Messages a second", FigureUnit::PerSecond),
        }
    }

    pub(crate) fn more_is_better(self) -> bool {
        match self.described().2 {
            FigureUnit::BytesPerSecond | FigureUnit::PerSecond => true,
            FigureUnit::Seconds | FigureUnit::Bytes | FigureUnit::Ratio => false,
        }
    }

    /// The words for better and for worse: `2× faster`, `2× more`.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self.described().2 {
            FigureUnit::Bytes => ("less", "more"),
            FigureUnit::Ratio => ("better", "worse"),
            FigureUnit::Seconds if self == Self::Cpu => ("less", "more"),
            FigureUnit::Seconds | FigureUnit::BytesPerSecond | FigureUnit::PerSecond => {
                ("faster", "slower")
            }
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self.described().2 {
            FigureUnit::Seconds => "s",
            FigureUnit::Bytes => "B",
            FigureUnit::BytesPerSecond => "B/s",
            FigureUnit::PerSecond => "1/s",
            FigureUnit::Ratio => "",
        }
    }

    pub(crate) fn show(self, value: f64) -> String {
        match self.described().2 {
            FigureUnit::Seconds => units::seconds(value),
            FigureUnit::Bytes => units::size(value),
            FigureUnit::BytesPerSecond => units::rate(value),
            FigureUnit::PerSecond => units::per_second(value),
            FigureUnit::Ratio => format!("{value:.2}"),
        }
    }

    /// The unit of an axis of values up to `largest`.
    pub(super) fn axis_unit(self, largest: f64) -> units::Unit {
        match self.described().2 {
            FigureUnit::Seconds => units::time_unit(largest),
            FigureUnit::Bytes => units::size_unit(largest),
            FigureUnit::BytesPerSecond => units::rate_unit(largest),
            FigureUnit::PerSecond | FigureUnit::Ratio => (self.unit(), 1.0),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FigureUnit {
    Seconds,
    Bytes,
    BytesPerSecond,
    PerSecond,
    Ratio,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Figure {
    type Err = UnknownFigure;

    fn from_str(text: &str) -> Result<Self, UnknownFigure> {
        let named = Self::ALL.into_iter().find(|figure| figure.name() == text);
        named.ok_or_else(|| UnknownFigure { name: text.to_owned() })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no figure is called \"{}\"; choose from {all}", escape::terminal(name), all = Figure::ALL.map(Figure::name).join(", "))]
pub(crate) struct UnknownFigure {
    pub name: String,
}
