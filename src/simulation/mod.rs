//! The same nodes in virtual time: seeded worlds with faults, and a checker after every event.
//!
//! A discrete-event simulation: a queue holds the events to come, and time jumps from one to the next.
//! A run of hours takes seconds, and a seed repeats it exactly.
//!
//! Invariant: nothing here depends on a clock, a thread or a hash map's order: the same scenario
//! gives the same run, event for event.

mod checker;
mod fingerprint;
mod links;
mod nodes;
mod queue;
mod run;
mod world_config;
mod shared_links;
mod world;
mod world_links;

pub use run::Run;
pub use world::World;
pub use world_config::{Faults, Fragments, Racks, WorldConfig};
