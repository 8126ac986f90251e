//! Atomics, from `std` or, in model checking, from `loom`.
// `loom` explores the executions that the C11 memory model allows, up to a bound, and needs its own types
// for that (after Norris and Demsky, "CDSChecker", OOPSLA 2013).

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
