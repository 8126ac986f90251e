//! How fast, compared with what? Calibration of the limits that results stand beside.

pub mod limits;
