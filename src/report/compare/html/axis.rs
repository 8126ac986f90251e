//! Scales: they map values to coordinates, and choose the ticks of an axis.

/// Maps values to coordinates along one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    is_log: bool,
    /// Ticks are round in this unit.
    unit: f64,
}

impl Scale {
    /// From zero to a value that is round in `unit` and not below `largest`, for lengths that are
    /// compared.
    pub(super) fn zero_based(largest: f64, unit: f64, from: f64, to: f64) -> Self {
        let largest = if largest > 0.0 { largest } else { unit };
        let step = unit * step(largest / unit / 4.0);
        Self { low: 0.0, high: (largest / step).ceil() * step, from, to, is_log: false, unit }
    }

    pub(super) fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { low, high, from, to, is_log: false, unit: 1.0 }
    }

    /// Logarithmic, for ratios and for values over several magnitudes. Both ends are above 0.
    pub(super) fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        let low = low.max(f64::MIN_POSITIVE);
        let high = if high > low * 1.01 { high } else { low * 1.01 };
        Self { low, high, from, to, is_log: true, unit: 1.0 }
    }

    /// The unit in which ticks are round.
    pub(super) fn unit(&self) -> f64 {
        self.unit
    }

    /// The coordinate of a value; values beyond an end are clamped.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let part = if self.is_log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + part * (self.to - self.from)
    }

    /// Round values between the ends, about five.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if !self.is_log || self.high / self.low < 2.5 {
            let ticks = steps(self.low / self.unit, self.high / self.unit);
            return ticks.into_iter().map(|tick| tick * self.unit).collect();
        }
        let decades = (self.high / self.low).log10();
        let digits: &[f64] = if decades > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let mut decade = 10.0_f64.powf(self.low.log10().floor());
        let mut ticks = Vec::new();
        while decade <= self.high {
            ticks.extend(digits.iter().map(|digit| digit * decade));
            decade *= 10.0;
        }
        // Rounding must not drop a tick at an end.
        let inside = self.low * (1.0 - 1e-9)..=self.high * (1.0 + 1e-9);
        ticks.retain(|tick| inside.contains(tick));
        ticks
    }
}

fn steps(low: f64, high: f64) -> Vec<f64> {
    let step = step((high - low) / 4.0);
    let first = (low / step - 1e-9).ceil();
    (0..12)
        .map(|index| (first + f64::from(index)) * step)
        .take_while(|tick| *tick <= high * (1.0 + 1e-9))
        .collect()
}

/// The least of 1, 2 or 5 times a power of ten that is not below `rough`.
fn step(rough: f64) -> f64 {
    let decade = 10.0_f64.powf(rough.log10().floor());
    let digits = [1.0, 2.0, 5.0, 10.0];
    let fitting = digits.into_iter().find(|digit| digit * decade >= rough * (1.0 - 1e-9));
    fitting.unwrap_or(10.0) * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_begin_at_zero_and_end_round() {
        let scale = Scale::zero_based(730.0, 1.0, 0.0, 100.0);
        assert_eq!(scale.ticks(), [0.0, 200.0, 400.0, 600.0, 800.0]);
        assert_eq!(
            [0.0, 400.0, 800.0, 900.0].map(|value| scale.place(value)),
            [0.0, 50.0, 100.0, 100.0]
        );
        assert_eq!(Scale::zero_based(0.0, 1.0, 0.0, 1.0).place(1.0), 1.0);
        assert_eq!(
            Scale::zero_based(3000.0, 1024.0, 0.0, 1.0).ticks(),
            [0.0, 1024.0, 2048.0, 3072.0]
        );
    }

    #[test]
    fn factors_are_equally_far() {
        let scale = Scale::log(0.1, 10.0, 0.0, 100.0);
        assert_eq!(scale.place(1.0).round(), 50.0);
        assert_eq!(scale.ticks().len(), 7);
        assert!((scale.ticks()[3] - 1.0).abs() < 1e-12);
        assert!(Scale::log(0.95, 1.05, 0.0, 1.0).ticks().len() >= 3);
    }
}
