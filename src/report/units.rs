//! Numbers as a person reads them: decimal prefixes, three to four digits.

/// A size in bytes: `512 B`, `65.5 kB`, `12.6 MB`, `1.50 GB`.
pub(crate) fn size(bytes: u64) -> String {
    let amount = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", amount / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", amount / 1e6),
        1_000_000_000.. => format!("{:.2} GB", amount / 1e9),
    }
}

/// A rate in bytes a second, always in decimal MB/s, so that any two can be compared at a glance.
pub(crate) fn rate(bytes_per_second: f64) -> String {
    format!("{:.1} MB/s", bytes_per_second / 1e6)
}

/// An amount with a decimal prefix and its unit: `850 B/s`, `12.3 kB/s`, `4.56 M/s`.
pub(super) fn amount(value: f64, unit: &str) -> String {
    let space = if unit.starts_with('/') { "" } else { " " };
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match steps.into_iter().find(|(step, _)| value.abs() >= *step) {
        // A rate without a noun needs the prefix beside its number: `4.56 M/s`.
        Some((step, prefix)) => format!("{} {prefix}{unit}", three_digits(value / step)),
        None => format!("{}{space}{unit}", three_digits(value)),
    }
}

fn three_digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A latency in ns: `850 ns`, `12.3 µs`, `4.5 ms`, `1.234 s`.
pub(crate) fn latency(ns: u64) -> String {
    let amount = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", amount / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", amount / 1e6),
        1_000_000_000.. => format!("{:.3} s", amount / 1e9),
    }
}

/// A time in seconds: `12.3 µs`, `4.5 ms`, `1.234 s`.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.1} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.3} s")
    }
}

/// A count and its noun, in the plural where there is not one.
pub(crate) fn count(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_the_fitting_prefix() {
        let sizes = [0, 999, 65_536, 12_582_912, 1_500_000_000].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "65.5 kB", "12.6 MB", "1.50 GB"]);
        assert_eq!(rate(1_234_567_890.0), "1234.6 MB/s");
    }

    #[test]
    fn times_take_the_fitting_prefix() {
        let latencies = [0, 850, 12_340, 4_500_000, 1_234_000_000].map(latency);
        assert_eq!(latencies, ["0 ns", "850 ns", "12.3 µs", "4.5 ms", "1.234 s"]);
        let times = [0.0, 12.34e-6, 4.5e-3, 61.5].map(seconds);
        assert_eq!(times, ["0.0 µs", "12.3 µs", "4.5 ms", "61.500 s"]);
    }

    #[test]
    fn amounts_have_three_digits() {
        let amounts = [0.0, 1.5, 999.0, 12_345.0, 4.56e6, 9.9e9].map(|value| amount(value, "B/s"));
        assert_eq!(
            amounts,
            ["0 B/s", "1.50 B/s", "999 B/s", "12.3 kB/s", "4.56 MB/s", "9.90 GB/s"]
        );
        assert_eq!([12.0, 4.56e6].map(|value| amount(value, "/s")), ["12.0/s", "4.56 M/s"]);
    }

    #[test]
    fn one_has_no_plural() {
        assert_eq!(count(1, "segment"), "1 segment");
        assert_eq!(count(0, "segment"), "0 segments");
    }
}
