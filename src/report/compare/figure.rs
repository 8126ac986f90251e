//! The figures that can be compared, their units, and which direction is better.

use crate::config::{Choice as _, choice};
use crate::report::units;

choice! {
    /// What is measured once a run.
    pub(crate) enum Figure {
        /// From the start until the last peer had all it wanted, seconds.
        Makespan = "makespan",
        /// Payload delivered a second, bytes/s.
        Rate = "rate",
        /// Segments delivered a second, 1/s.
        Segments = "segments",
        /// Files of a tree delivered a second, 1/s.
        Files = "files",
        /// The makespan ÷ the shortest that is possible.
        Bound = "bound",
        /// The median latency of a segment, seconds.
        LatencyP50 = "latency-p50",
        /// 99% of the segments took at most this, seconds.
        LatencyP99 = "latency-p99",
        /// 99.9% of the segments took at most this, seconds.
        LatencyP999 = "latency-p999",
        /// The most bytes that a peer served ÷ the mean.
        Balance = "balance",
        /// How many times the original holders sent what was wanted.
        OriginCopies = "origin-copies",
        /// Processor time, seconds.
        Cpu = "cpu",
        /// Processor time before the swarm opens, seconds.
        CpuSetup = "cpu-setup",
        /// The most memory that one process held, bytes.
        Memory = "memory",
        /// Answers of the tracker alone that gave at least one segment, 1/s.
        Handouts = "handouts",
        /// 99% of the answers took the tracker at most this, seconds.
        ServiceP99 = "service-p99",
        /// One iteration of a benchmark of another tool, seconds.
        Iteration = "iteration",
        /// A message one way, or a collective call, by another tool, seconds.
        MessageLatency = "message-latency",
        /// Payload between ranks by another tool, bytes/s.
        Bandwidth = "bandwidth",
        /// Messages between ranks by another tool, 1/s.
        MessageRate = "message-rate",
    }
}

impl Figure {
    /// All of them, in the order of tables.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::VALUES.iter().copied()
    }

    pub(crate) fn title(self) -> &'static str {
        self.described().0
    }

    /// The heading and the unit.
    fn described(self) -> (&'static str, FigureUnit) {
        use FigureUnit::{Bytes, BytesPerSecond, PerSecond, Ratio, Seconds};
        match self {
            Self::Makespan => ("Makespan", Seconds),
            Self::Rate => ("Delivered bytes a second", BytesPerSecond),
            Self::Segments => ("Delivered segments a second", PerSecond),
            Self::Files => ("Delivered files a second", PerSecond),
            Self::Bound => ("Makespan ÷ bound", Ratio),
            Self::LatencyP50 => ("Latency of a segment, median", Seconds),
            Self::LatencyP99 => ("Latency of a segment, p99", Seconds),
            Self::LatencyP999 => ("Latency of a segment, p99.9", Seconds),
            Self::Balance => ("Bytes served, most ÷ mean", Ratio),
            Self::OriginCopies => ("Copies sent by owners", Ratio),
            Self::Cpu => ("Processor time", Seconds),
            Self::CpuSetup => ("Processor time before the swarm opens", Seconds),
            Self::Memory => ("Peak memory of a process", Bytes),
            Self::Handouts => ("Handouts of the tracker a second", PerSecond),
            Self::ServiceP99 => ("Tracker's time for an answer, p99", Seconds),
            Self::Iteration => ("Time of an iteration", Seconds),
            Self::MessageLatency => ("Latency of a message", Seconds),
            Self::Bandwidth => ("Bandwidth", BytesPerSecond),
            Self::MessageRate => ("Messages a second", PerSecond),
        }
    }

    pub(crate) fn more_is_better(self) -> bool {
        matches!(self.described().1, FigureUnit::BytesPerSecond | FigureUnit::PerSecond)
    }

    /// Whether a slower machine changes it: times and rates.
    pub(super) fn follows_machine(self) -> bool {
        use FigureUnit::{BytesPerSecond, PerSecond, Seconds};
        matches!(self.described().1, Seconds | BytesPerSecond | PerSecond)
    }

    /// The words for better and for worse: `2× faster`, `2× more`.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self.described().1 {
            FigureUnit::Bytes => ("less", "more"),
            FigureUnit::Ratio => ("better", "worse"),
            FigureUnit::Seconds if matches!(self, Self::Cpu | Self::CpuSetup) => ("less", "more"),
            FigureUnit::Seconds | FigureUnit::BytesPerSecond | FigureUnit::PerSecond => {
                ("faster", "slower")
            }
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self.described().1 {
            FigureUnit::Seconds => "s",
            FigureUnit::Bytes => "B",
            FigureUnit::BytesPerSecond => "B/s",
            FigureUnit::PerSecond => "1/s",
            FigureUnit::Ratio => "",
        }
    }

    pub(crate) fn show(self, value: f64) -> String {
        match self.described().1 {
            FigureUnit::Seconds => units::seconds(value),
            FigureUnit::Bytes => units::size(value),
            FigureUnit::BytesPerSecond => units::rate(value),
            FigureUnit::PerSecond => units::per_second(value),
            FigureUnit::Ratio => format!("{value:.2}"),
        }
    }

    /// The unit of an axis of values up to `largest`.
    pub(super) fn axis_unit(self, largest: f64) -> units::Unit {
        match self.described().1 {
            FigureUnit::Seconds => units::fitting(&units::TIMES, largest),
            FigureUnit::Bytes => units::fitting(&units::SIZES, largest),
            FigureUnit::BytesPerSecond => units::fitting(&units::RATES, largest),
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
