//! Files that somebody else wrote, read within a bound.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// Reads a file, or a pipe, of at most `bytes_max` bytes.
///
/// # Errors
///
/// The file cannot be read, is longer, or is a folder or a device, which may have no end.
pub fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // A pipe may have no writer: whoever opens it then waits, as at a file server that is down.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() && !metadata.file_type().is_fifo() {
        return Err(io::Error::other("not a file: put one with the text in its place"));
    }
    let mut bytes = Vec::new();
    // The size that the system tells is not enough: a file may grow, and those in /proc have none.
    if metadata.len() <= bytes_max {
        File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    }
    if metadata.len().max(bytes.len() as u64) > bytes_max {
        return Err(io::Error::other(format!("longer than {bytes_max} bytes: use a shorter one")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("in1.txt");
        fs::write(&path, "0123456789").expect("writable");
        assert_eq!(read_bounded(&path, 10).expect("ten bytes"), b"0123456789");
        let said = |path: &Path, most| read_bounded(path, most).expect_err("refused").to_string();
        assert_eq!(said(&path, 9), "longer than 9 bytes: use a shorter one");
        for endless in [Path::new("/dev/zero"), folder.path()] {
            assert!(said(endless, 9).starts_with("not a file: "), "{}", endless.display());
        }
    }
}
