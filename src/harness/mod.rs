//! How fast, compared with what? Calibration of the limits that results stand beside.

pub mod limits;

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
