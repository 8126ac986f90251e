//! What is there? Identities, inputs, and the bytes that stand for them.

pub mod geometry;
pub mod ids;

pub use geometry::{Block, Geometry, TooManySegments};
pub use ids::{Digest, FileId, NodeId, SegmentId};
