//! The metainfo file of a tree for BitTorrent v2 (BEP 52): with it a BitTorrent client fetches and checks the tree.
//!
//! Nothing is hashed for it: a segment of a large file is what one hash of its layer covers, and the digest of
//! the segment is that hash. Links and the right to execute are attributes as of BEP 47. What it can't say is
//! left out as in any torrent: other modes, times, holes, which names are hard links, empty folders.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::digest::parts_of_large_file;
use super::{Entry, EntryKind, FileRoots, Layout, Manifest, whole_file};
use crate::escape;

/// Hashes in the layers of all files together, at most.
// 512 MB of them: 128 TiB in segments of 8 MiB. A sparse file may claim 2^63 bytes and would fill the disk.
const LAYER_HASHES_MAX: u64 = 1 << 24;

/// A tree that a torrent can hold.
#[derive(Debug)]
pub struct Torrent<'a> {
    manifest: &'a Manifest,
    name: &'a str,
}

/// Why a torrent can't hold a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum TorrentError {
    #[error("a torrent has one source, and these are {0}: name one file or folder")]
    Sources(usize),
    #[error("{0}: a torrent has only names in UTF-8: rename it")]
    NotUtf8(String),
    #[error(
        "{path} links to {target}: a torrent has only links to files and folders in it, and no `..` behind a name: \
        replace it"
    )]
    LinkOut { path: String, target: String },
    #[error("{0} holds not one byte: a torrent has at least one")]
    NoBytes(String),
    #[error(
        "{0} holds only a file of its own name, and would be taken for that: name the file itself"
    )]
    Namesake(String),
    #[error("{0}: more than {LAYER_HASHES_MAX} segments in large files: name smaller ones")]
    TooLarge(String),
}

impl<'a> Torrent<'a> {
    /// Checks whether a torrent can hold the tree of a manifest that was checked.
    ///
    /// # Errors
    ///
    /// All that it can't hold.
    pub fn of(manifest: &'a Manifest) -> Result<Self, Vec<TorrentError>> {
        let [root] = manifest.roots()[..] else {
            return Err(vec![TorrentError::Sources(manifest.roots().len())]);
        };
        let shown = escape::path(OsStr::from_bytes(root).as_ref());
        let Ok(name) = str::from_utf8(root) else { return Err(vec![TorrentError::NotUtf8(shown)]) };
        let contents = || manifest.entries.iter().filter(|entry| entry.kind != EntryKind::Folder);
        let mut errors: Vec<_> = contents().filter_map(|entry| problem(manifest, entry)).collect();
        if manifest.bytes() == 0 {
            errors.push(TorrentError::NoBytes(shown.clone()));
        }
        // One file of the torrent's name stands for no folder (BEP 52).
        let mut names = contents().map(|entry| entry.path.below_root());
        if names.next() == Some(root) && names.next().is_none() {
            errors.push(TorrentError::Namesake(shown.clone()));
        }
        let segment_bytes = u64::from(manifest.segment_bytes);
        let hashes = |entry: &Entry| {
            let EntryKind::File { bytes, .. } = entry.kind else { return 0 };
            if bytes > segment_bytes { bytes.div_ceil(segment_bytes) } else { 0 }
        };
        if contents().map(hashes).fold(0, u64::saturating_add) > LAYER_HASHES_MAX {
            errors.push(TorrentError::TooLarge(shown));
        }
        if errors.is_empty() { Ok(Self { manifest, name }) } else { Err(errors) }
    }

    /// Writes a metainfo file, whole or not at all. One that is there is replaced.
    ///
    /// # Errors
    ///
    /// When writing fails; the file is then as it was. When the root of a file is not known.
    pub fn write_to(&self, path: &Path, layout: &Layout, hashed: &FileRoots) -> io::Result<()> {
        whole_file::write_to(path, |out| self.to_writer(layout, hashed, out))
    }

    /// Writes what a metainfo file holds.
    ///
    /// # Errors
    ///
    /// When writing fails, or the root of a file is not known.
    pub fn to_writer(
        &self,
        layout: &Layout,
        hashed: &FileRoots,
        out: impl Write,
    ) -> io::Result<()> {
        let mut out = Bencode(out);
        out.open()?;
        out.string("info")?;
        out.open()?;
        out.string("file tree")?;
        self.write_files(hashed, &mut out)?;
        out.string("meta version")?;
        out.integer(2)?;
        out.string("name")?;
        out.string(self.name)?;
        out.string("piece length")?;
        out.integer(self.manifest.segment_bytes.into())?;
        out.close()?;
        out.string("piece layers")?;
        self.write_layers(layout, hashed, &mut out)?;
        out.close()?;
        out.0.flush()
    }

    /// The entries come in the order of a depth-first walk by bytes, which is that of nested dictionaries.
    fn write_files(&self, hashed: &FileRoots, out: &mut Bencode<impl Write>) -> io::Result<()> {
        let mut folders: Vec<&[u8]> = Vec::new();
        out.open()?;
        for (index, entry) in self.manifest.entries.iter().enumerate() {
            if entry.kind == EntryKind::Folder {
                continue;
            }
            let mut parents: Vec<&[u8]> = entry.path.components().collect();
            let name = parents.pop().unwrap_or_default();
            // The first component is the torrent's own name; a lone file has no other.
            parents.splice(..parents.len().min(1), []);
            let common = folders.iter().zip(&parents).take_while(|(one, other)| one == other);
            let common = common.count();
            for _ in folders.drain(common..) {
                out.close()?;
            }
            for &folder in &parents[common..] {
                out.string(folder)?;
                out.open()?;
                folders.push(folder);
            }
            out.string(name)?;
            out.open()?;
            // No name is empty: that key stands for the file itself.
            out.string("")?;
            self.write_file(index, hashed, out)?;
            out.close()?;
        }
        folders.iter().try_for_each(|_| out.close())?;
        out.close()
    }

    fn write_file(
        &self,
        index: usize,
        hashed: &FileRoots,
        out: &mut Bencode<impl Write>,
    ) -> io::Result<()> {
        let entry = &self.manifest.entries[index];
        let mut content = index;
        if let EntryKind::HardLink { first } = entry.kind {
            content = first as usize;
        }
        out.open()?;
        match &self.manifest.entries[content].kind {
            EntryKind::File { bytes, .. } => {
                if entry.mode & 0o111 != 0 {
                    out.string("attr")?;
                    out.string("x")?;
                }
                out.string("length")?;
                out.integer(*bytes)?;
                if *bytes > 0 {
                    let root = hashed.roots.get(content).copied().flatten();
                    out.string("pieces root")?;
                    out.string(root.ok_or_else(|| unknown(entry))?.0)?;
                }
            }
            EntryKind::Link { target } => {
                out.string("attr")?;
                out.string("l")?;
                out.string("length")?;
                out.integer(0)?;
                out.string("symlink path")?;
                out.raw(b"l")?;
                let target = target_within(entry, target).unwrap_or_default();
                target.into_iter().try_for_each(|name| out.string(name))?;
                out.close()?;
            }
            EntryKind::Folder | EntryKind::HardLink { .. } => return Err(unknown(entry)),
        }
        out.close()
    }

    /// The layer of each file that is larger than a segment; files of one content share one.
    fn write_layers(
        &self,
        layout: &Layout,
        hashed: &FileRoots,
        out: &mut Bencode<impl Write>,
    ) -> io::Result<()> {
        let mut large = BTreeMap::new();
        for (index, entry) in (0..).zip(&self.manifest.entries) {
            let EntryKind::File { bytes, .. } = entry.kind else { continue };
            if bytes > u64::from(self.manifest.segment_bytes) {
                let root = hashed.roots.get(index as usize).copied().flatten();
                large.insert(root.ok_or_else(|| unknown(entry))?.0, index);
            }
        }
        out.open()?;
        for (root, index) in large {
            let entry = &self.manifest.entries[index as usize];
            let digest = |segment: crate::manifest::SegmentId| {
                hashed.digests.get(segment.index()).copied().flatten()
            };
            let runs = parts_of_large_file(self.manifest, layout, index, digest);
            let runs = runs.ok_or_else(|| unknown(entry))?;
            let hashes: u64 = runs.iter().map(|&(count, _)| count).sum();
            out.string(root)?;
            write!(out.0, "{}:", 32 * hashes)?;
            for (count, hash) in runs {
                (0..count).try_for_each(|_| out.raw(&hash.0))?;
            }
        }
        out.close()
    }
}

/// What of an entry no torrent can hold.
fn problem(manifest: &Manifest, entry: &Entry) -> Option<TorrentError> {
    if str::from_utf8(entry.path.as_bytes()).is_err() {
        return Some(TorrentError::NotUtf8(entry.path.to_string()));
    }
    let EntryKind::Link { target } = &entry.kind else { return None };
    if target_within(entry, target).is_some_and(|path| has_file(manifest, entry.path.root(), &path))
    {
        return None;
    }
    let target = escape::path(OsStr::from_bytes(target).as_ref());
    Some(TorrentError::LinkOut { path: entry.path.to_string(), target })
}

/// Where a link leads, from the root of its source on; none if that is not below it, or can't be told by its
/// words: a `..` behind the name of another link leads elsewhere.
fn target_within<'a>(entry: &'a Entry, target: &'a [u8]) -> Option<Vec<&'a [u8]>> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut path: Vec<&[u8]> = entry.path.components().skip(1).collect();
    path.pop();
    let mut is_behind_name = false;
    for word in target.split(|&byte| byte == b'/') {
        match word {
            b"" | b"." => {}
            b".." if is_behind_name => return None,
            b".." => drop(path.pop()?),
            name => {
                is_behind_name = true;
                path.push(name);
            }
        }
    }
    let is_utf8 = path.iter().all(|name| str::from_utf8(name).is_ok());
    (is_utf8 && !path.is_empty()).then_some(path)
}

/// Whether a path below a root is a file, or a folder that holds one: no torrent has empty folders. A client such
/// as libtorrent has a link to anything else lead to itself.
fn has_file(manifest: &Manifest, root: &[u8], path: &[&[u8]]) -> bool {
    let path = || std::iter::once(root).chain(path.iter().copied());
    let entries = &manifest.entries;
    let from = entries.partition_point(|entry| entry.path.components().lt(path()));
    let is_below = |entry: &&Entry| {
        let mut components = entry.path.components();
        path().all(|name| components.next() == Some(name))
    };
    let mut below = entries[from..].iter().take_while(is_below);
    below.any(|entry| entry.kind != EntryKind::Folder)
}

fn unknown(entry: &Entry) -> io::Error {
    io::Error::other(format!("{}: the root of its content is not known", entry.path))
}

/// Bencode (BEP 3). Keys of a dictionary have to come in the order of their bytes.
struct Bencode<W>(W);

impl<W: Write> Bencode<W> {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn string(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = bytes.as_ref();
        write!(self.0, "{}:", bytes.len())?;
        self.raw(bytes)
    }

    fn integer(&mut self, number: u64) -> io::Result<()> {
        write!(self.0, "i{number}e")
    }

    fn open(&mut self) -> io::Result<()> {
        self.raw(b"d")
    }

    fn close(&mut self) -> io::Result<()> {
        self.raw(b"e")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Attributes, FileTime, TreePath};
    use super::*;

    #[test]
    fn what_would_fill_the_disk_with_hashes_is_refused() {
        let entry = |path: &[u8], kind| Entry {
            path: TreePath::new(path).expect("a path"),
            kind,
            mode: 0o755,
            modified: FileTime::default(),
            attributes: Attributes::default(),
        };
        let hole = |bytes| EntryKind::File { bytes, data: Some(Box::default()) };
        let refusals = |bytes: [u64; 2]| {
            let [a, b] = bytes.map(hole);
            let entries = vec![entry(b"t", EntryKind::Folder), entry(b"t/a", a), entry(b"t/b", b)];
            let manifest = Manifest { entries, segment_bytes: 1 << 14, ..Manifest::default() };
            Torrent::of(&manifest).err()
        };
        let most = LAYER_HASHES_MAX << 14;
        assert_eq!(refusals([most, 1 << 14]), None);
        let too_large = Some(vec![TorrentError::TooLarge("t".to_owned())]);
        for bytes in [[most, (1 << 14) + 1], [u64::MAX, u64::MAX]] {
            assert_eq!(refusals(bytes), too_large);
        }
    }
}
