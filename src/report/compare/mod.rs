//! What changed, by how much, and is that significant?
//!
//! [`Set`]s of runs ([`model`]), of one launch or of several ([`launches`]), are matched scenario by
//! scenario ([`pairing`]), and each match is judged: [`judge`] describes the method. The result is shown as a table of text, Markdown or CSV ([`table`]), as JSON,
//! as a page ([`html`]), as a gate ([`gate`]), or over commits ([`history`]). [`import`] reads runs of
//! other tools; `harness::measured` makes a [`Set`] of our records.

mod cells;
mod conditions;
mod control;
mod figure;
pub(crate) mod gate;
pub(crate) mod grid;
mod grid_text;
pub(crate) mod history;
pub(crate) mod html;
pub(crate) mod import;
mod judge;
mod launches;
mod main_pairings;
mod model;
mod notes;
mod pairing;
pub(crate) mod raw_runs;
mod sentence;
pub(crate) mod table;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use cells::{interval, ratio};
pub(crate) use figure::Figure;
pub(crate) use grid_text::Screen;
#[cfg(test)]
pub(crate) use judge::Verdict;
pub(crate) use model::{Fact, Observation, Scenario, Set};
#[cfg(test)]
pub(crate) use pairing::Pairing;
pub(crate) use pairing::{CompareError, Comparison, Question, compare};
