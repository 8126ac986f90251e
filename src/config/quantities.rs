//! Sizes and times as people type them, in flags and plans alike, and as one would type them again.

use std::time::Duration;

/// How a size is typed, for a help or an error.
// A size that many flags take.
pub(super) const SIZE_EXAMPLE: &str = "64K";

/// Likewise of times.
// Two, since most flags take seconds and some milliseconds.
pub(super) const TIME_EXAMPLE: &str = "2s or 200ms";

// Bytes in one of a unit. `K`, `KB` and `KiB` are all 1024 bytes: segments and memory are powers of two, and
// a size that is read in two ways helps nobody.
const SIZE_UNITS: [(char, u64); 4] =
    [('T', 1 << 40), ('G', 1 << 30), ('M', 1 << 20), ('K', 1 << 10)];

// Nanoseconds in one of a unit, the longest first.
const TIME_UNITS: [(&str, u64); 7] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// A whole number of bytes, with a unit or without: `4096`, `64K`, `64KiB`, `1GB`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number = number.parse::<u64>().ok()?;
    let unit = unit.trim_start().to_ascii_uppercase();
    let mut letters = unit.chars();
    let bytes = match letters.next() {
        None | Some('B') => 1,
        Some(letter) => SIZE_UNITS.iter().find(|(name, _)| *name == letter)?.1,
    };
    let is_whole = matches!((bytes, letters.as_str()), (_, "") | (1024.., "B" | "IB"));
    number.checked_mul(bytes).filter(|_| is_whole)
}

/// A time with a unit, `200ms`, `1.5s`, `2m`; without one it is in units of `plain`.
pub(super) fn parse_time(text: &str, plain: Duration) -> Option<Duration> {
    let end = text.trim_end_matches(char::is_alphabetic).len();
    let (number, unit) = text.split_at(end);
    let one = match unit {
        "" => plain,
        _ => Duration::from_nanos(TIME_UNITS.iter().find(|(name, _)| *name == unit)?.1),
    };
    let number = number.trim_end().parse::<f64>().ok()?;
    // Divided, not multiplied, where that is exact: 3.5 µs are 3500 ns.
    let seconds = match one.subsec_nanos() {
        0 => number * one.as_secs_f64(),
        nanoseconds => number / (1e9 / f64::from(nanoseconds)),
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// A size as one would type it: in the largest unit that gives a whole number.
pub(super) fn typed_size(bytes: u64) -> String {
    let fits = |&&(_, one): &&(char, u64)| bytes > 0 && bytes.is_multiple_of(one);
    match SIZE_UNITS.iter().find(fits) {
        Some((name, one)) => format!("{}{name}", bytes / one),
        None => bytes.to_string(),
    }
}

/// A time as one would type it: in the largest unit of which it has at least one.
pub(super) fn typed_time(time: Duration) -> String {
    // Minutes and hours only where they are whole: 90 s are no 1.5m.
    let fits = |&&(_, one): &&(&str, u64)| match u128::from(one) {
        one if one > 1_000_000_000 => time.as_nanos() > 0 && time.as_nanos().is_multiple_of(one),
        one => time.as_nanos() >= one,
    };
    match TIME_UNITS.iter().find(fits) {
        Some((name, one)) => format!("{}{name}", time.as_nanos() as f64 / *one as f64),
        None => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_size_is_read_in_powers_of_1024() {
        let sizes =
            ["0", "7", "7B", "1K", "1k", "1KB", "1KiB", "64kib", "2M", "1GB", "3 MiB", "16T"];
        let read = sizes.map(|text| parse_size(text).expect(text));
        let (k, m, g) = (1 << 10, 1 << 20, 1 << 30);
        assert_eq!(read, [0, 7, 7, k, k, k, k, 64 * k, 2 * m, g, 3 * m, 1 << 44]);
        let wrong = [
            "",
            "K",
            "-1",
            "1.5M",
            "1e3",
            "nan",
            "1KK",
            "1iB",
            "1BB",
            "1Ki",
            "1 K B",
            "1X",
            "99999999T",
            "99999999999999999999999",
            "1µ",
        ];
        assert_eq!(wrong.map(parse_size), [None; 15]);
    }

    #[test]
    fn a_time_is_read_with_its_unit_or_in_that_of_its_flag() {
        let times = ["2", "2s", "1.5s", "200ms", "3.5us", "3.5µs", "7ns", "1m", "2h", "2 s"];
        let read = times.map(|text| parse_time(text, SECOND).expect(text));
        let ns =
            [2_000_000_000, 2_000_000_000, 1_500_000_000, 200_000_000, 3500, 3500, 7].as_slice();
        let ns = ns.iter().copied().chain([60_000_000_000, 7_200_000_000_000, 2_000_000_000]);
        assert_eq!(read.to_vec(), ns.map(Duration::from_nanos).collect::<Vec<_>>());
        assert_eq!(parse_time("3.5", Duration::from_micros(1)), Some(Duration::from_nanos(3500)));
        let wrong = ["", "s", "-1s", "nan", "inf", "1e300", "1e300s", "1d", "1sec", "s1", "1 2s"];
        assert_eq!(wrong.map(|text| parse_time(text, SECOND)), [None; 11]);
    }

    #[test]
    fn what_is_typed_again_is_the_same() {
        for (bytes, text) in
            [(0, "0"), (1023, "1023"), (1024, "1K"), (3 << 29, "1536M"), (1 << 40, "1T")]
        {
            assert_eq!((typed_size(bytes).as_str(), parse_size(text)), (text, Some(bytes)));
        }
        for (ns, text) in [
            (0, "0s"),
            (3500, "3.5us"),
            (10_000_000, "10ms"),
            (90_000_000_000, "90s"),
            (120_000_000_000, "2m"),
            (86_400_000_000_000, "24h"),
        ] {
            let time = Duration::from_nanos(ns);
            assert_eq!((typed_time(time).as_str(), parse_time(text, SECOND)), (text, Some(time)));
        }
    }
}
