//! Copies files across the ranks of an MPI job as a swarm.

pub mod time;
mod sync;
pub mod config;
pub mod verify;
pub mod manifest;
pub mod metrics;
pub mod swarm;
pub mod protocol;
pub mod simulation;
pub mod report;
pub mod harness;
