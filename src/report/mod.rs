//! What does a run mean? Its facts become a record, the record becomes text, and records are compared.

#[cfg(test)]
mod example;
pub(crate) mod compare;
mod facts;
pub(crate) mod limits;
pub(crate) mod statistics;
pub(crate) mod summary;
mod text;
pub(crate) mod units;

pub(crate) use facts::{Carrier, RunFacts};
pub use limits::{Limits, MpiLimits};
pub use summary::Summary;
