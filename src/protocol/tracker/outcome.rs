//! What the tracker knows of a run: how far it has come, and how it went.

use crate::time::Timestamp;

/// How a run went, as the tracker saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What went wrong, a line each, naming ranks and files.
    pub errors: Vec<String>,
    /// Input was refused: nothing was moved.
    pub refused: bool,
    /// Names that somebody wanted and could not have.
    pub unavailable: Vec<String>,
    /// When the swarm opened: all had registered and reserved their memory.
    pub opened: Option<Timestamp>,
    /// By rank: when it had all that it wanted, verified; none for rank 0 and where something is
    /// missing.
    pub finished: Vec<Option<Timestamp>>,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Segments that peers want, each counted for each peer.
    pub segments_wanted: u64,
    /// Of those, verified.
    pub segments_verified: u64,
    /// Files that have their names.
    pub files_finished: u64,
    /// Peers that have all they want.
    pub peers_complete: usize,
}
