//! The manifest on disk: JSON lines, a header and one line an entry.
//!
//! A name is a string of JSON. One that is not UTF-8 is an object: `base64` holds its bytes, and `text` is
//! for the eye only. A mode is octal, as `chmod` takes it. What hard links have in common, the line of their
//! first name says.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::ops::Range;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fd::AsFd;
use serde::{Deserialize, Serialize};

use super::{
    Attributes, Entry, EntryKind, FileOwner, FileTime, Manifest, ManifestError, TreePath, Xattr,
    whole_file,
};
use crate::escape;
use crate::verify::Digest;

/// What the first line says the file is.
// So that no other JSON is taken for a manifest.
const FORMAT: &str = "mpiswarm manifest";

/// The version of the format.
// It grows when an older reader would take a file for something else.
const VERSION: u32 = 1;

/// Bytes of a line, at most.
// A file with 65,536 ranges of data has about 3 MB; a path of 4,096 bytes is nothing beside that.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Entries, at most.
// More than one tree has on the file systems of clusters; the list of so many takes several GB.
const ENTRIES_MAX: u64 = 1 << 26;

/// Characters of what is wrong with a line, at most.
// A line may hold a name of 16 MB. A path of a few folders is shown whole, and the number of the line tells it
// from others.
const CAUSE_CHARS_MAX: usize = 1024;

/// A manifest with the roots of its files (BEP 52).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredManifest {
    /// The manifest.
    pub manifest: Manifest,
    /// By entry; none for what is no file, for empty files, and where it is not known.
    pub roots: Vec<Option<Digest>>,
}

/// Why a manifest file can't be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum ManifestFileError {
    #[error("{path}: {cause}")]
    Io { path: String, cause: io::Error },
    #[error(
        "{path}:{line}: {}: use a manifest as mpiswarm wrote it",
        escape::abridged(&cause.to_string(), CAUSE_CHARS_MAX)
    )]
    Line { path: String, line: u64, cause: ManifestLineError },
}

/// What is wrong with a line of a manifest file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum ManifestLineError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{}", escape::line(&.0.to_string()))]
    Json(#[from] serde_json::Error),
    #[error("no `{FORMAT}` of version {VERSION}")]
    Format,
    #[error("a line of more than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("more than {ENTRIES_MAX} entries")]
    TooMany,
    #[error("the file was cut off")]
    CutOff,
    #[error("sources, entries, files or bytes are not those of the lines that follow")]
    Totals,
    #[error("a name that is no Base64")]
    Base64,
    #[error("a mode that is not octal digits")]
    Mode,
    #[error("a root that is not 64 hexadecimal digits, or that of an empty file")]
    Root,
    #[error("{0}")]
    Manifest(#[from] ManifestError),
}

/// The first line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    segment_bytes: u32,
    sources: Vec<NameText>,
    entries: u64,
    files: u64,
    bytes: u64,
}

/// A line of an entry.
#[derive(Debug, Serialize, Deserialize)]
struct EntryLine {
    path: NameText,
    #[serde(flatten)]
    kind: KindFields,
    mode: String,
    modified: FileTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<FileOwner>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xattrs: Option<Vec<XattrText>>,
}

/// An extended attribute.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct XattrText {
    name: NameText,
    value: NameText,
}

/// What depends on the type of an entry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
enum KindFields {
    Folder,
    File {
        bytes: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data: Option<Vec<Range<u64>>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<String>,
    },
    Link {
        target: NameText,
    },
    HardLink {
        first: NameText,
    },
}

/// A name of bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum NameText {
    Utf8(String),
    Bytes { text: String, base64: String },
}

impl NameText {
    fn of(name: &[u8]) -> Self {
        match str::from_utf8(name) {
            Ok(text) => Self::Utf8(text.to_owned()),
            Err(_) => Self::Bytes {
                text: String::from_utf8_lossy(name).into_owned(),
                base64: STANDARD.encode(name),
            },
        }
    }

    fn bytes(self) -> Result<Vec<u8>, ManifestLineError> {
        match self {
            Self::Utf8(text) => Ok(text.into_bytes()),
            Self::Bytes { base64, .. } => {
                STANDARD.decode(base64).map_err(|_| ManifestLineError::Base64)
            }
        }
    }
}

impl Header {
    fn of(manifest: &Manifest) -> Self {
        let is_file = |entry: &&Entry| matches!(entry.kind, EntryKind::File { .. });
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            segment_bytes: manifest.segment_bytes,
            sources: manifest.roots().into_iter().map(NameText::of).collect(),
            entries: manifest.entries.len() as u64,
            files: manifest.entries.iter().filter(is_file).count() as u64,
            bytes: manifest.bytes(),
        }
    }
}

/// The name of a source's manifest beside staged trees.
pub fn manifest_file_name(source: &[u8]) -> Vec<u8> {
    // A name of a file has at most 255 bytes.
    let (head, hash) = match source.get(..200) {
        Some(head) if source.len() > 255 - ".manifest".len() => {
            (head, format!("-{}", Digest::of(source)))
        }
        _ => (source, String::new()),
    };
    [head, &hash.as_bytes()[..hash.len().min(33)], b".manifest"].concat()
}

impl StoredManifest {
    /// Reads a manifest file.
    ///
    /// # Errors
    ///
    /// It can't be read, or a line of it is wrong.
    pub fn read(path: &Path) -> Result<Self, ManifestFileError> {
        let failed = |cause| ManifestFileError::Io { path: escape::path(path), cause };
        // Opening a pipe would wait for its writer.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("not a file: name a manifest")));
        }
        let file = File::open(path).map_err(failed)?;
        Self::parse(BufReader::new(file)).map_err(|(line, cause)| {
            let path = escape::path(path);
            ManifestFileError::Line { path, line, cause }
        })
    }

    /// Reads the lines of a manifest file.
    ///
    /// # Errors
    ///
    /// The number of the line that is wrong, from 1, and what is wrong with it.
    pub fn parse(mut lines: impl BufRead) -> Result<Self, (u64, ManifestLineError)> {
        let mut text = Vec::new();
        let at = |line| move |cause| (line, cause);
        let is_there = next_line(&mut lines, &mut text).map_err(at(1))?;
        if !is_there {
            return Err((1, ManifestLineError::CutOff));
        }
        let header: Header =
            serde_json::from_slice(&text).map_err(|cause| (1, ManifestLineError::Json(cause)))?;
        if header.format != FORMAT || header.version != VERSION {
            return Err((1, ManifestLineError::Format));
        }
        if header.entries > ENTRIES_MAX {
            return Err((1, ManifestLineError::TooMany));
        }
        let mut stored = Self::default();
        stored.manifest.segment_bytes = header.segment_bytes;
        stored.manifest.check().map_err(|cause| (1, cause.into()))?;
        let mut line = 2;
        while next_line(&mut lines, &mut text).map_err(at(line))? {
            // At once: a file that goes on for ever must not take memory for ever.
            if line - 2 == header.entries {
                return Err((1, ManifestLineError::Totals));
            }
            stored.add(&text).map_err(at(line))?;
            line += 1;
        }
        stored
            .manifest
            .check_entries()
            .map_err(|(index, cause)| (index as u64 + 2, cause.into()))?;
        match Header::of(&stored.manifest) {
            found if found == header => Ok(stored),
            found if found.entries < header.entries => Err((line, ManifestLineError::CutOff)),
            _ => Err((1, ManifestLineError::Totals)),
        }
    }

    /// Some of the entries. If the first name of a file is not among them, the next one takes its place.
    pub(super) fn only(&self, taken: &[bool]) -> Self {
        let (manifest, origins) = self.manifest.only(taken);
        let roots = manifest.entries.iter().zip(origins).map(|(entry, origin)| match entry.kind {
            EntryKind::File { .. } => self.roots.get(origin as usize).copied().flatten(),
            EntryKind::Folder | EntryKind::Link { .. } | EntryKind::HardLink { .. } => None,
        });
        Self { roots: roots.collect(), manifest }
    }

    fn add(&mut self, text: &[u8]) -> Result<(), ManifestLineError> {
        let entries = &mut self.manifest.entries;
        let line: EntryLine = serde_json::from_slice(text)?;
        let (mut root, path) = (None, TreePath::new(line.path.bytes()?)?);
        let kind = match line.kind {
            KindFields::Folder => EntryKind::Folder,
            KindFields::File { bytes, data, root: hexadecimal } => {
                root = hexadecimal.map(|text| digest(&text)).transpose()?;
                if bytes == 0 && root.is_some() {
                    return Err(ManifestLineError::Root);
                }
                EntryKind::File { bytes, data: data.map(Into::into) }
            }
            KindFields::Link { target } => EntryKind::Link { target: target.bytes()?.into() },
            KindFields::HardLink { first } => {
                let first = TreePath::new(first.bytes()?)?;
                // Entries that are not in order are found by the check of the whole.
                let found = entries
                    .binary_search_by(|entry| entry.path.components().cmp(first.components()));
                let found = found.map_err(|_| ManifestError::HardLink(path.to_string()))?;
                EntryKind::HardLink { first: u32::try_from(found).unwrap_or(u32::MAX) }
            }
        };
        let is_octal = line.mode.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let mode = u32::from_str_radix(&line.mode, 8).ok().filter(|_| is_octal);
        let mode = mode.ok_or(ManifestLineError::Mode)?;
        let xattr = |text: XattrText| {
            Ok(Xattr { name: text.name.bytes()?.into(), value: text.value.bytes()?.into() })
        };
        let xattrs = line.xattrs.map(|all| all.into_iter().map(xattr).collect());
        let xattrs: Option<Result<Box<[Xattr]>, ManifestLineError>> = xattrs;
        let attributes = Attributes { owner: line.owner, xattrs: xattrs.transpose()? };
        entries.push(Entry { path, kind, mode, modified: line.modified, attributes });
        self.roots.push(root);
        Ok(())
    }

    /// Writes the lines of a manifest file.
    ///
    /// # Errors
    ///
    /// When writing fails.
    pub fn to_writer(&self, mut out: impl Write) -> io::Result<()> {
        // What a terminal would obey is escaped in JSON, too.
        let mut line = |text: serde_json::Result<String>| writeln!(out, "{}", escape::json(&text?));
        line(serde_json::to_string(&Header::of(&self.manifest)))?;
        for (index, entry) in self.manifest.entries.iter().enumerate() {
            let root = self.roots.get(index).copied().flatten();
            line(serde_json::to_string(&self.line(entry, root)))?;
        }
        out.flush()
    }

    fn line(&self, entry: &Entry, root: Option<Digest>) -> EntryLine {
        let kind = match &entry.kind {
            EntryKind::Folder => KindFields::Folder,
            EntryKind::File { bytes, data } => KindFields::File {
                bytes: *bytes,
                data: data.as_ref().map(|data| data.to_vec()),
                root: root.map(|root| root.to_string()),
            },
            EntryKind::Link { target } => KindFields::Link { target: NameText::of(target) },
            EntryKind::HardLink { first } => {
                let first = &self.manifest.entries[*first as usize];
                KindFields::HardLink { first: NameText::of(first.path.as_bytes()) }
            }
        };
        let xattr = |one: &Xattr| XattrText {
            name: NameText::of(&one.name),
            value: NameText::of(&one.value),
        };
        let xattrs = entry.attributes.xattrs.as_ref();
        EntryLine {
            owner: entry.attributes.owner,
            xattrs: xattrs.map(|all| all.iter().map(xattr).collect()),
            path: NameText::of(entry.path.as_bytes()),
            kind,
            mode: format!("{:04o}", entry.mode),
            modified: entry.modified,
        }
    }

    /// Writes the file `name` of an open folder, whole or not at all. One that is there is replaced.
    ///
    /// # Errors
    ///
    /// When writing fails; the file is then as it was.
    pub fn write(&self, folder: impl AsFd, name: &[u8]) -> io::Result<()> {
        whole_file::write_in(folder.as_fd(), name, |out| self.to_writer(out))
    }

    /// Writes a file, whole or not at all. One that is there is replaced.
    ///
    /// # Errors
    ///
    /// When writing fails; the file is then as it was.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        whole_file::write_to(path, |out| self.to_writer(out))
    }
}

/// Reads a line without its line feed; false at the end.
fn next_line(lines: &mut impl BufRead, text: &mut Vec<u8>) -> Result<bool, ManifestLineError> {
    text.clear();
    lines.take(LINE_BYTES_MAX + 1).read_until(b'\n', text)?;
    match text.pop() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) if text.len() as u64 == LINE_BYTES_MAX => Err(ManifestLineError::TooLong),
        Some(_) => Err(ManifestLineError::CutOff),
    }
}

fn digest(text: &str) -> Result<Digest, ManifestLineError> {
    let mut root = [0; 32];
    let digits = text.as_bytes();
    let is_hexadecimal = digits.iter().all(u8::is_ascii_hexdigit);
    if digits.len() != 2 * root.len() || !is_hexadecimal {
        return Err(ManifestLineError::Root);
    }
    for (byte, pair) in root.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = str::from_utf8(pair).map_err(|_| ManifestLineError::Root)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| ManifestLineError::Root)?;
    }
    Ok(Digest(root))
}
