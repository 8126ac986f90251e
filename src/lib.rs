//! Shares files among the ranks of an MPI job as a swarm.
//!
//! The modules stand in the order of the data. The steps of one segment, and where each happens:
//!
//! - what there is: [`manifest`]; who has it, and the handout policy: [`swarm`],
//!   [`swarm::Swarm::hand_out`];
//! - what is said: [`protocol`], with the two state machines [`protocol::Tracker`] and
//!   [`protocol::Peer`] behind one trait, [`protocol::Node`];
//! - where bytes lie: [`store`]; how they move: [`transport`]; whether they are right: [`verify`],
//!   checked in [`store::FilledSlot::check`];
//! - the loop in which all of them meet: [`driver`]; a whole run: [`driver::job::run_threads`].
//!
//! [`baseline`] is the classic engine that all of this is measured against, and [`simulation`] drives
//! the same nodes in virtual time. [`report`] says what a run means, [`harness`] measures and
//! compares, and [`cli`] is the command. `src/README.md` follows a segment, an announcement and a
//! record through the functions that handle them.

pub mod time;
mod sync;
mod watchdog;
mod spawn;
mod escape;
pub mod config;
pub mod verify;
pub mod manifest;
pub mod tree;
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
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
