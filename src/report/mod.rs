//! What does it mean? The facts of a run become a record, and the record becomes text.

#[cfg(test)]
mod example;
pub mod compare;
pub mod facts;
pub mod limits;
pub mod scale;
pub mod statistics;
pub mod summary;
pub mod text;
pub(crate) mod units;

pub use facts::{Carrier, RunFacts};
pub use limits::{Limits, MpiLimits};
pub use summary::Summary;
pub use text::render;
