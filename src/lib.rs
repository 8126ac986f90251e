//! Copies files across the ranks of an MPI job as a swarm.
//!
//! The modules stand in the way of the data: what there is ([`manifest`]), what happened
//! ([`metrics`]), who has it ([`swarm`]), what is said ([`protocol`]), where bytes lie
//! ([`store`]), how they move ([`transport`]), and the loop where all of them meet ([`driver`]).
//! [`baseline`] is the classic engine that all of this is measured against, and [`simulation`]
//! drives the lockfree nodes in virtual time; [`report`] says what a run means, [`harness`] what the
//! machine could do, and [`cli`] is the command.

pub mod time;
mod sync;
pub mod config;
pub mod verify;
pub mod manifest;
pub mod metrics;
pub mod swarm;
pub mod protocol;
pub mod store;
pub mod transport;
pub mod driver;
pub mod baseline;
pub mod simulation;
pub mod report;
pub mod harness;
pub mod cli;
