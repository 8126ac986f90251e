//! Writes a file whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, openat, renameat, unlinkat};

/// Writes the file `name` of an open folder. One that is there is replaced.
///
/// # Errors
///
/// When writing fails; the file is then as it was.
pub(super) fn write_in(
    folder: BorrowedFd<'_>,
    name: &[u8],
    content: impl FnOnce(BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    // Nobody can guess the name and plant a link under it.
    let temporary = format!(".mpiswarm-{:032x}.part", rand::random::<u128>());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = File::from(openat(folder, &*temporary, flags, Mode::from(0o644))?);
    let written = content(BufWriter::new(&file))
        .and_then(|()| Ok(fsync(&file)?))
        .and_then(|()| Ok(renameat(folder, &*temporary, folder, name)?));
    if let Err(cause) = written {
        // What was wrong first is told.
        let _ = unlinkat(folder, &*temporary, AtFlags::empty());
        return Err(cause);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fsync(openat(folder, ".", flags, Mode::empty())?)?)
}

/// The same by its path.
///
/// # Errors
///
/// When writing fails; the file is then as it was.
pub(super) fn write_to(
    path: &Path,
    content: impl FnOnce(BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, folder, flags, Mode::empty())?;
    write_in(folder.as_fd(), name.as_encoded_bytes(), content)
}
