//! The readers of files and frames, for fuzz targets: whatever a file holds, the answer is a value or one line.

use std::path::Path;

#[cfg(feature = "zstd")]
use crate::driver::frames::FrameCodec;
use crate::harness::{Plan, measured};
use crate::report::compare::import;
use crate::tree::{ManifestLineError, StoredManifest};

/// Reads a plan.
///
/// # Errors
///
/// What is wrong in it.
pub fn plan(text: &str) -> Result<(), String> {
    let plan = Plan::parse(Path::new("plan.toml"), text.to_owned(), Some(3));
    plan.map(drop).map_err(|error| error.to_string())
}

/// Reads a folder of records.
///
/// # Errors
///
/// What is wrong in it.
pub fn measured(dir: &Path) -> Result<(), String> {
    measured::read(dir).map(drop).map_err(|error| error.to_string())
}

/// Reads the results of another tool.
///
/// # Errors
///
/// What is wrong in them.
pub fn import(path: &Path) -> Result<(), String> {
    import::read(path).map(drop).map_err(|error| error.to_string())
}

/// Reads a manifest file; what is right is written and read back the same.
///
/// # Errors
///
/// What is wrong in it.
///
/// # Panics
///
/// When another manifest is read back than was written.
pub fn manifest(bytes: &[u8]) -> Result<(), String> {
    let shown = |(line, cause): (u64, ManifestLineError)| format!("{line}: {cause}");
    let stored = StoredManifest::parse(bytes).map_err(shown)?;
    let mut text = Vec::new();
    stored.to_writer(&mut text).map_err(|error| error.to_string())?;
    assert_eq!(StoredManifest::parse(&text[..]).map_err(shown), Ok(stored));
    Ok(())
}

/// Decompresses what came for a segment of `bytes` bytes; what is right is compressed and read back the same.
///
/// # Panics
///
/// When something else is read back.
#[cfg(feature = "zstd")]
pub fn frame(frame: &[u8], bytes: usize) {
    let mut plain = vec![0; bytes];
    if FrameCodec::default().decompress(frame, &mut plain) {
        segment(&plain);
    }
}

/// Compresses a segment and reads it back.
///
/// # Panics
///
/// When something else is read back.
#[cfg(feature = "zstd")]
pub fn segment(plain: &[u8]) {
    let mut codec = FrameCodec::default();
    let mut room = vec![0; plain.len()];
    let Some(bytes) = codec.compress(plain, &mut room) else { return };
    assert!(bytes < plain.len(), "a frame is shorter");
    let mut found = vec![0; plain.len()];
    assert!(codec.decompress(&room[..bytes], &mut found), "it is a frame");
    assert_eq!(found, plain);
}
