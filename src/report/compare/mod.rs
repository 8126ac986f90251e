//! What changed, by how much, and is it real?
//!
//! [`Set`]s of runs ([`model`]) are matched scenario by scenario ([`pairing`]), each match is
//! judged ([`judge`]), and what comes out is shown: as a table of text, Markdown or CSV
//! ([`table`]), as JSON, as a page ([`html`]), as a gate's verdict ([`gate`]), or over commits
//! ([`history`]). Runs of other tools come in through [`import`].
//!
//! Nothing here reads our own records: who does makes a [`Set`] of them.

mod figure;
pub(crate) mod gate;
mod grid;
pub(crate) mod history;
pub(crate) mod html;
pub(crate) mod import;
mod judge;
mod model;
mod pairing;
pub(crate) mod table;
#[cfg(test)]
mod tests;

pub(crate) use figure::Figure;
pub(crate) use model::{Fact, Observation, Scenario, Set};
pub(crate) use pairing::{CompareError, Comparison, Question, compare};
