//! Messages as bytes. The format is `postcard`'s: what a version writes, that version reads.

use crate::config::MESSAGE_BYTES_MAX;

use super::Message;

/// The version of the messages of both engines. It grows when one of them changes.
// Ranks of two versions refuse each other: `postcard` has no names by which an old reader could skip
// what is new.
pub const PROTOCOL_VERSION: u32 = 6;

/// Bytes that are no message, or a message that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes do not decode.
    #[error("malformed message: {0}")]
    Malformed(postcard::Error),
    /// Bytes follow the message.
    #[error("{0} bytes follow a message")]
    Trailing(usize),
    /// The message is longer than [`MESSAGE_BYTES_MAX`].
    #[error("a message does not fit into {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
}

/// Writes a message into `buffer`, at most [`MESSAGE_BYTES_MAX`] long; returns its bytes.
///
/// # Errors
///
/// When it does not fit.
pub fn encode<'a>(message: &Message, buffer: &'a mut [u8]) -> Result<&'a mut [u8], CodecError> {
    postcard::to_slice(message, buffer).map_err(|_| CodecError::TooLong)
}

// `postcard` is a compact, specified format (varints, no names). Bytes come from other ranks, so that
// everything they claim is checked against the bounds of the types.
/// Reads a message that takes up all of `bytes`.
///
/// # Errors
///
/// When the bytes are not exactly one message.
pub fn decode(bytes: &[u8]) -> Result<Message, CodecError> {
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(CodecError::Malformed)?;
    if rest.is_empty() { Ok(message) } else { Err(CodecError::Trailing(rest.len())) }
}
