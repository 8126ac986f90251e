//! What a peer registers, and the catalogue that answers it. Both can be longer than a message, and
//! travel in parts, one after another: stop-and-wait, since they pass once a run.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::config::PART_BYTES_MAX;
use crate::manifest::FileId;
use crate::verify::Digest;

use super::Part;

/// What a peer registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Registration {
    /// What it has and what it wants.
    Ready {
        /// Files that it owns.
        owned: Vec<OwnedEntry>,
        /// Names of files that it wants.
        wanted: Vec<Box<str>>,
    },
    /// It can't take part, and the whole run ends.
    Refused {
        /// Why not, naming file and line.
        reason: Box<str>,
    },
}

/// A file that a peer owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedEntry {
    /// Its name.
    pub name: Box<str>,
    /// The hashes of its segments, each followed by a line feed.
    pub hashes: Box<str>,
    /// The SHA-256 of its segments' payloads.
    pub digests: Box<[Digest]>,
}

/// How the files that a peer named are numbered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// Of its owned files, in the order in which it registered them.
    pub owned: Vec<Listing>,
    /// Of its wanted files likewise; none where nobody owns the file.
    pub wanted: Vec<Option<Listing>>,
}

/// Where a file's segments lie in the numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The file's number.
    pub file: FileId,
    /// Its first segment.
    pub first: u32,
    /// How many segments it has.
    pub count: u32,
}

/// A long message that is sent in parts. Any part can be sent again.
#[derive(Clone, Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
}

impl Outgoing {
    pub(super) fn new(content: &impl Serialize) -> Self {
        let bytes = postcard::to_allocvec(content).expect("plain data can be serialized");
        Self { bytes }
    }

    /// Part `index`, or the last one if there are fewer.
    pub(super) fn part(&self, index: u32) -> Part {
        let last = self.bytes.len().saturating_sub(1) / PART_BYTES_MAX;
        let index = (index as usize).min(last);
        let start = index * PART_BYTES_MAX;
        let end = self.bytes.len().min(start + PART_BYTES_MAX);
        Part {
            index: u32::try_from(index).expect("it came from 32 bits"),
            last: index == last,
            bytes: self.bytes[start..end].to_vec(),
        }
    }
}

/// A long message that arrives in parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    next: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartProgress {
    /// Nothing: it is a duplicate, or out of order.
    Ignored,
    /// The next part is missing.
    More,
    Whole,
}

impl Incoming {
    pub(super) fn accept(&mut self, part: &Part) -> PartProgress {
        if part.index != self.next {
            return PartProgress::Ignored;
        }
        self.bytes.extend_from_slice(&part.bytes);
        self.next += 1;
        if part.last { PartProgress::Whole } else { PartProgress::More }
    }

    /// The index of the first part that is missing.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Decodes the message; none if the bytes are not a `T`.
    pub(super) fn open<T: DeserializeOwned>(&self) -> Option<T> {
        postcard::from_bytes(&self.bytes).ok()
    }
}
