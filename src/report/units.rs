//! Quantities as a person reads them: the one place that turns sizes, rates and times into text.

/// A unit: its name, and how many of the base unit (B, B/s, s) it is.
pub(crate) type Unit = (&'static str, f64);

// Sizes are binary, because segments and memory are powers of two: 65536 B read 64 KiB.
pub(crate) const SIZES: [Unit; 5] = [
    ("TiB", (1_u64 << 40) as f64),
    ("GiB", (1_u64 << 30) as f64),
    ("MiB", (1_u64 << 20) as f64),
    ("KiB", (1_u64 << 10) as f64),
    ("B", 1.0),
];
// Rates are binary as sizes are, so that a person can divide one by the other, and have two units only, so that any
// two can be compared at a glance.
pub(crate) const RATES: [Unit; 2] =
    [("GiB/s", (1_u64 << 30) as f64), ("MiB/s", (1_u64 << 20) as f64)];
// The prefixes of the SI.
pub(crate) const TIMES: [Unit; 4] = [("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)];
const COUNTS: [Unit; 5] = [("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0)];

/// The largest unit of which `amount` has at least one, or the smallest.
pub(crate) fn fitting(units: &[Unit], amount: f64) -> Unit {
    let fits = units.iter().find(|(_, one)| amount.abs() >= *one);
    *fits.or(units.last()).expect("every table of units has one")
}

/// A size in bytes: `512 B`, `64 KiB`, `1.50 MiB`, `11.7 GiB`. Exact multiples have no decimals.
pub(crate) fn size(bytes: f64) -> String {
    let (name, one) = fitting(&SIZES, bytes);
    let amount = bytes / one;
    match amount {
        _ if amount.fract() == 0.0 => format!("{amount:.0} {name}"),
        _ if amount < 10.0 => format!("{amount:.2} {name}"),
        _ => format!("{amount:.1} {name}"),
    }
}

/// The segments of a workload: `segments of 64 KiB`; without a payload only hashes are moved.
pub(crate) fn segments(segment_bytes: usize) -> String {
    match segment_bytes {
        0 => "hashes only".to_owned(),
        bytes => format!("segments of {}", size(bytes as f64)),
    }
}

/// A rate in bytes/s: `0.850 MiB/s`, `12.3 MiB/s`, `4.56 GiB/s`.
pub(crate) fn rate(bytes_per_second: f64) -> String {
    let (name, one) = fitting(&RATES, bytes_per_second);
    format!("{} {name}", three_digits(bytes_per_second / one))
}

/// How often something happens in a second: `12.0/s`, `4.56 M/s`.
pub(crate) fn per_second(count: f64) -> String {
    let (prefix, one) = fitting(&COUNTS, count);
    let space = if prefix.is_empty() { "" } else { " " };
    format!("{}{space}{prefix}/s", three_digits(count / one))
}

fn three_digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A time: `850.0 ns`, `12.3 µs`, `4.5 ms`, `1.234 s`.
pub(crate) fn seconds(seconds: f64) -> String {
    match fitting(&TIMES, seconds) {
        _ if seconds == 0.0 => "0 s".to_owned(),
        ("s", _) => format!("{seconds:.3} s"),
        (name, one) => format!("{:.1} {name}", seconds / one),
    }
}

/// A count and its noun, in the plural where there is not one.
pub(crate) fn count(count: u64, noun: &str) -> String {
    let plural = match count {
        1 => "",
        _ if noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_exact_ones_have_no_decimals() {
        let sizes = [0.0, 999.0, 65_536.0, 1_536.0, 12_582_912.0, 1_000_000.0, 1.5e9].map(size);
        assert_eq!(
            sizes,
            ["0 B", "999 B", "64 KiB", "1.50 KiB", "12 MiB", "976.6 KiB", "1.40 GiB"]
        );
        assert_eq!([0, 1024].map(segments), ["hashes only", "segments of 1 KiB"]);
    }

    #[test]
    fn rates_are_binary_with_three_digits() {
        let mebibytes = [0.0, 0.012, 0.85, 12.0, 999.0, 1126.4].map(|rate| rate * 1_048_576.0);
        let rates = mebibytes.map(rate);
        let expected =
            ["0 MiB/s", "0.012 MiB/s", "0.850 MiB/s", "12.0 MiB/s", "999 MiB/s", "1.10 GiB/s"];
        assert_eq!(rates, expected);
        assert_eq!([0.0, 12.0, 4.56e6].map(per_second), ["0/s", "12.0/s", "4.56 M/s"]);
    }

    #[test]
    fn times_take_the_fitting_unit() {
        let times = [0.0, 850e-9, 12.34e-6, 4.5e-3, 61.5].map(seconds);
        assert_eq!(times, ["0 s", "850.0 ns", "12.3 µs", "4.5 ms", "61.500 s"]);
    }

    #[test]
    fn one_has_no_plural() {
        assert_eq!(count(1, "segment"), "1 segment");
        assert_eq!(count(0, "segment"), "0 segments");
    }
}
