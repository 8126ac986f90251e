//! Fault injection: tests and demonstrations show that a run survives lost, late and corrupt segments.

use std::str::FromStr;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::manifest::{NodeId, Quoted};

/// One kind of fault, as given on the command line: `corrupt:RATE`, `drop:RATE` or `delay:MS`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// This share of segments arrives with a byte changed.
    Corrupt(f64),
    /// This share of segments is never sent.
    Drop(f64),
    /// Each segment arrives later by this time.
    Delay(Duration),
}

/// A fault that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not corrupt:RATE, drop:RATE (RATE from 0 to 1) or delay:MS (from 0 to 60000)", Quoted::new(.0))]
pub struct FaultError(String);

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let error = || FaultError(text.to_owned());
        let (kind, value) = text.split_once(':').ok_or_else(error)?;
        let value: f64 = value.parse().map_err(|_| error())?;
        let is_rate = (0.0..=1.0).contains(&value);
        match kind {
            "corrupt" if is_rate => Ok(Self::Corrupt(value)),
            "drop" if is_rate => Ok(Self::Drop(value)),
            // A minute: longer than any patience, so that more would show nothing new.
            "delay" if (0.0..=60_000.0).contains(&value) => {
                Ok(Self::Delay(Duration::from_secs_f64(value / 1e3)))
            }
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
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ u64::from(node.0) << 32);
        let mut this = Self { corrupt: 0.0, drop: 0.0, delay: Duration::ZERO, rng };
        for fault in faults {
            match *fault {
                Fault::Corrupt(rate) => this.corrupt = rate,
                Fault::Drop(rate) => this.drop = rate,
                Fault::Delay(delay) => this.delay = delay,
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_and_refused() {
        assert_eq!("corrupt:0.5".parse(), Ok(Fault::Corrupt(0.5)));
        assert_eq!("delay:20".parse(), Ok(Fault::Delay(Duration::from_millis(20))));
        for bad in ["corrupt", "corrupt:2", "drop:-1", "delay:x", "delay:NaN", "other:1"] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }
}
