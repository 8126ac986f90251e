//! What does a run mean? Its facts become a record, the record becomes text, and records are compared.

#[cfg(test)]
pub(crate) mod example;
pub(crate) mod compare;
pub(crate) mod limits;
pub(crate) mod statistics;
pub(crate) mod summary;
mod text;
pub(crate) mod trace_file;
pub(crate) mod units;

pub use limits::{Limits, MpiLimits};
pub(crate) use summary::Carrier;
pub use summary::Summary;
