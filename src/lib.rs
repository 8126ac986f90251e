//! Copies files across the ranks of an MPI job as a swarm.

pub mod config;
pub mod manifest;
pub mod protocol;
pub mod simulation;
pub mod swarm;
mod sync;
pub mod time;
pub mod verify;
