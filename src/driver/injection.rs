//! Fault injection: tests and demonstrations show that a run survives lost, late and corrupt segments.

use std::str::FromStr;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::config::ranges::DelayTime;
use crate::manifest::{NodeId, Quoted};

/// One kind of fault, as given on the command line: `KIND:RATE`, or `delay:TIME`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// This share of segments arrives with a byte changed.
    Corrupt(f64),
    /// This share of segments is never sent.
    Drop(f64),
    /// Each segment arrives later by this time.
    Delay(Duration),
    /// This share of messages is sent as other bytes.
    Garble(f64),
    /// This share of messages is sent longer than any may be.
    Lengthen(f64),
    /// In place of this share of messages one is sent that names what there is not.
    Invalidate(f64),
}

impl Fault {
    /// Whether it is one of messages, which have bytes only between ranks of an MPI job.
    pub fn needs_ranks(&self) -> bool {
        matches!(self, Self::Garble(_) | Self::Lengthen(_) | Self::Invalidate(_))
    }
}

/// A fault that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not corrupt:RATE, drop:RATE, garble:RATE, lengthen:RATE, invalidate:RATE (RATE from 0 to 1) or \
     delay:TIME (milliseconds, or with a unit, up to 1m)",
    Quoted::new(.0)
)]
pub struct FaultError(String);

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let error = || FaultError(text.to_owned());
        let (kind, value) = text.split_once(':').ok_or_else(error)?;
        if kind == "delay" {
            return value
                .parse()
                .map(|time: DelayTime| Self::Delay(time.get()))
                .map_err(|_| error());
        }
        let value: f64 = value.parse().map_err(|_| error())?;
        let is_rate = (0.0..=1.0).contains(&value);
        match kind {
            "corrupt" if is_rate => Ok(Self::Corrupt(value)),
            "drop" if is_rate => Ok(Self::Drop(value)),
            "garble" if is_rate => Ok(Self::Garble(value)),
            "lengthen" if is_rate => Ok(Self::Lengthen(value)),
            "invalidate" if is_rate => Ok(Self::Invalidate(value)),
            _ => Err(error()),
        }
    }
}

/// The faults of one node, and its random generator.
#[derive(Clone, Debug)]
pub struct Injection {
    corrupt: f64,
    drop: f64,
    delay: Duration,
    rng: Xoshiro256PlusPlus,
}

impl Injection {
    /// The faults of `node`. Each node and each seed has a random sequence of its own.
    pub fn new(faults: &[Fault], seed: u64, node: NodeId) -> Self {
        let rng = generator(seed, node);
        let mut this = Self { corrupt: 0.0, drop: 0.0, delay: Duration::ZERO, rng };
        for fault in faults {
            match *fault {
                Fault::Corrupt(rate) => this.corrupt = rate,
                Fault::Drop(rate) => this.drop = rate,
                Fault::Delay(delay) => this.delay = delay,
                Fault::Garble(_) | Fault::Lengthen(_) | Fault::Invalidate(_) => {}
            }
        }
        this
    }

    pub(crate) fn corrupts(&mut self) -> bool {
        self.corrupt > 0.0 && self.rng.random_bool(self.corrupt)
    }

    pub(crate) fn drops(&mut self) -> bool {
        self.drop > 0.0 && self.rng.random_bool(self.drop)
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        (!self.delay.is_zero()).then_some(self.delay)
    }
}

fn generator(seed: u64, node: NodeId) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed ^ u64::from(node.0) << 32)
}

/// The faults in the messages of one node.
#[cfg(feature = "mpi")]
#[derive(Clone, Debug)]
pub(crate) struct MessageFaults {
    garble: f64,
    lengthen: f64,
    invalidate: f64,
    rng: Xoshiro256PlusPlus,
}

#[cfg(feature = "mpi")]
impl MessageFaults {
    /// The faults of `node`; none if it sends what it should.
    pub(crate) fn new(faults: &[Fault], seed: u64, node: NodeId) -> Option<Self> {
        let rng = generator(seed, node);
        let mut this = Self { garble: 0.0, lengthen: 0.0, invalidate: 0.0, rng };
        for fault in faults {
            match *fault {
                Fault::Garble(rate) => this.garble = rate,
                Fault::Lengthen(rate) => this.lengthen = rate,
                Fault::Invalidate(rate) => this.invalidate = rate,
                Fault::Corrupt(_) | Fault::Drop(_) | Fault::Delay(_) => {}
            }
        }
        faults.iter().any(Fault::needs_ranks).then_some(this)
    }

    /// What is sent in place of a message, if anything. None is longer than `longest`, and `invalid`
    /// encodes one that can't be.
    pub(crate) fn replace(
        &mut self,
        message: &[u8],
        longest: usize,
        invalid: impl FnOnce() -> Vec<u8>,
    ) -> Option<Vec<u8>> {
        if self.rng.random_bool(self.garble) {
            let mut bytes: Vec<u8> = message.iter().map(|_| self.rng.random()).collect();
            // No kind of a message has this number, and no segment.
            bytes.iter_mut().take(4).for_each(|byte| *byte = 0xff);
            return Some(bytes);
        }
        if self.rng.random_bool(self.lengthen) {
            return Some(vec![0; longest + 1]);
        }
        self.rng.random_bool(self.invalidate).then(invalid)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_and_refused() {
        assert_eq!("corrupt:0.5".parse(), Ok(Fault::Corrupt(0.5)));
        assert_eq!("delay:20".parse(), Ok(Fault::Delay(Duration::from_millis(20))));
        assert_eq!("invalidate:1".parse(), Ok(Fault::Invalidate(1.0)));
        for bad in
            ["corrupt", "garble:2", "corrupt:2", "drop:-1", "delay:x", "delay:NaN", "other:1"]
        {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }
}
