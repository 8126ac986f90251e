//! The unit in which a file system keeps times.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use super::FileTime;

/// The units that file systems keep times in, nanoseconds.
// NTFS 100 ns, CIFS and HFS+ 1 µs, 1 ms or 1 s, ext3 1 s, FAT 2 s.
const UNITS: [i128; 6] = [1, 100, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000];

/// The unit of a file system, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeUnit(i128);

impl TimeUnit {
    /// One that keeps all.
    pub(super) const NANOSECOND: Self = Self(1);

    /// The finest with which a file system keeps `kept` where it was told `told`.
    pub(super) fn of_kept(told: FileTime, kept: FileTime) -> Self {
        let is_unit = |unit: &i128| nanoseconds(told).div_euclid(*unit) * unit == nanoseconds(kept);
        UNITS.into_iter().find(is_unit).map_or(Self::NANOSECOND, Self)
    }

    /// The one of a file or folder, as far as its times tell.
    // Where nothing may be written, nothing can be tried out. But nobody chooses when a file last changed, so that
    // a clock of nanoseconds shows itself in that time.
    pub(super) fn of(found: &Metadata) -> Self {
        let nanos = u32::try_from(found.ctime_nsec()).unwrap_or_default();
        let changed = nanoseconds(FileTime { seconds: found.ctime(), nanos });
        let unit = UNITS.into_iter().rev().find(|unit| changed % unit == 0);
        unit.map_or(Self::NANOSECOND, Self)
    }

    /// Whether a time is what the file system made of another.
    pub(super) fn is_same(self, found: FileTime, wanted: FileTime) -> bool {
        let units = |time| nanoseconds(time).div_euclid(self.0);
        units(found) == units(wanted)
    }
}

fn nanoseconds(time: FileTime) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn times_are_compared_in_the_unit_in_which_they_are_kept() {
        let time = |seconds, nanos| FileTime { seconds, nanos };
        let told = time(1_234_567_891, 123_456_789);
        let kept = [
            (told, 1),
            (time(1_234_567_891, 123_456_700), 100),
            (time(1_234_567_891, 123_456_000), 1_000),
            (time(1_234_567_891, 123_000_000), 1_000_000),
            (time(1_234_567_891, 0), 1_000_000_000),
            (time(1_234_567_890, 0), 2_000_000_000),
            (time(7, 7), 1),
        ];
        for (kept, unit) in kept {
            assert_eq!(TimeUnit::of_kept(told, kept), TimeUnit(unit));
        }
        let second = TimeUnit(1_000_000_000);
        assert!(second.is_same(time(5, 0), time(5, 999_999_999)));
        assert!(second.is_same(time(-1, 0), time(-1, 1)), "before 1970");
        assert!(!second.is_same(time(5, 0), time(6, 0)));
        assert!(!TimeUnit::NANOSECOND.is_same(time(5, 0), time(5, 1)));
    }
}
