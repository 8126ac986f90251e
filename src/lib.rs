//! Copies files across the ranks of an MPI job as a swarm.

pub mod manifest;
pub mod time;
pub mod verify;
