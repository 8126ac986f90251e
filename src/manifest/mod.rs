//! What is there? Identities, inputs, and the bytes that stand for them.

pub mod ids;

pub use ids::{Digest, FileId, NodeId, SegmentId};
