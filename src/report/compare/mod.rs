//! What changed, by how much, and is it real?
//!
//! [`Set`]s of runs ([`model`]) are matched scenario by scenario ([`pairing`]), each match is
//! judged ([`judge`]), and what comes out is shown: as a table of text, Markdown or CSV
//! ([`table`]), as JSON, as a page ([`html`]), as a gate's verdict ([`gate`]), or over commits
//! ([`history`]). Runs of other tools come in through [`import`].
//!
//! Nothing here reads our own records: who does makes a [`Set`] of them.

pub mod figure;
pub mod gate;
pub mod grid;
pub mod history;
pub mod html;
pub mod import;
pub mod judge;
pub mod model;
pub mod pairing;
pub mod table;
#[cfg(test)]
mod tests;

pub use figure::Figure;
pub use judge::{Group, JudgedPair, RUNS_LEAST, Verdict};
pub use model::{Fact, Observation, Scenario, Set};
pub use pairing::{CompareError, Comparison, Pairing, Question, compare};
