//! What is there? Identities, inputs, and the bytes that stand for them.
//!
//! - [`NodeId`], [`FileId`], [`SegmentId`], [`Geometry`]: nodes, files and segments as the swarm
//!   numbers them.
//! - [`FileName`]: a name that may become a path, because it was checked.
//! - [`Hashes`]: the hashes of one file's segments, in order.
//! - [`PeerInput`]: what one peer has and wants; its parser is the only one for `in<R>.txt`.
//! - [`Filler`]: the bytes of a segment, generated from its hash.
//! - [`Workload`]: who has and wants which files, and the inputs made from that.
//!
//! Nothing here knows a message, a clock or a thread.

mod geometry;
mod ids;
mod input;
mod name;
mod outputs;
mod parse_error;
mod parser;
mod payload;
mod quote;
mod segment_set;
mod bounded_file;
mod synthesis;
mod hashes;
mod workload;

pub use bounded_file::read_bounded;
pub use geometry::{Block, Geometry, TooManySegments};
pub use hashes::{HASH_BYTES_MAX, Hashes};
pub use ids::{FileId, NodeId, SegmentId};
pub use input::{
    InputError, InputWarning, OwnedFile, PeerInput, highest_peer, input_path, peers_in,
    segments_held,
};
pub use name::{FileName, NAME_BYTES_MAX, NameError};
pub use parse_error::ParseError;
use parse_error::{Count, ParseCause};
pub use payload::{Filler, hash_of, payload_bytes};
pub use quote::Quoted;
pub use segment_set::SegmentSet;
pub use synthesis::{SYNTHETIC_HASH_BYTES, WriteError, inputs_present, synthesize, write_all};
pub use workload::{Owners, Popularity, Wanted, Workload, WorkloadError};
