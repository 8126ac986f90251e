//! Trees for tests, and an independent comparison of two of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// What is compared of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    kind: String,
    content: Vec<u8>,
    mode: u32,
    modified: (i64, i64),
    /// The first name of the same file.
    first: PathBuf,
}

/// Bytes that do not repeat.
pub(crate) fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..count.div_ceil(8)).flat_map(|_| next()).take(count).collect()
}

/// Makes a tree with something of every kind.
pub(crate) fn plant(root: &Path, seed: u64) {
    let write = |name: &str, content: &[u8]| {
        fs::write(root.join(name), content).expect("there is room");
    };
    fs::create_dir_all(root.join("folder/deep/deeper")).expect("folders");
    fs::create_dir(root.join("empty folder")).expect("a folder");
    write("small", b"a few words");
    write("empty", b"");
    write("folder/plain", &bytes(5_000, seed));
    write("folder/deep/medium", &bytes(70_001, seed + 1));
    write("large", &bytes(3_000_017, seed + 2));
    for number in 0..300 {
        write(&format!("folder/deep/deeper/{number}"), &bytes(number * 13, seed + number as u64));
    }
    let odd = OsStr::from_bytes(b"not utf-8 \xff\n\x1b[31m");
    fs::write(root.join(odd), b"odd").expect("a file");
    write(&"n".repeat(255), b"a long name");
    symlink("small", root.join("link")).expect("a link");
    symlink("/nowhere/at all", root.join("folder/broken link")).expect("a link");
    fs::hard_link(root.join("large"), root.join("folder/same as large")).expect("a link");
    let sparse = File::create(root.join("sparse")).expect("a file");
    sparse.set_len(40 << 20).expect("there is room");
    sparse.write_all_at(b"in the middle", 20 << 20).expect("there is room");
    let mode = |name: &str, mode: u32| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(root.join(name), permissions).expect("it is ours");
    };
    mode("small", 0o640);
    mode("folder/plain", 0o755);
    mode("folder/deep/deeper", 0o555);
}

/// All entries below a folder, itself included.
pub(crate) fn entries(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    let mut firsts = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
        let metadata = fs::symlink_metadata(&full).expect("it is there");
        let kind = metadata.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&full).expect("a link").as_os_str().as_bytes().to_vec()
        } else if kind.is_file() {
            fs::read(&full).expect("it can be read")
        } else {
            Vec::new()
        };
        if kind.is_dir() {
            let names = fs::read_dir(&full).expect("a folder");
            waiting.extend(names.map(|name| path.join(name.expect("a name").file_name())));
        }
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let mode = if kind.is_symlink() { 0 } else { metadata.mode() & 0o7777 };
        let kind = match (kind.is_dir(), kind.is_symlink(), kind.is_file()) {
            (true, ..) => "folder",
            (_, true, _) => "link",
            (.., true) => "file",
            _ => "something else",
        };
        let kind = kind.to_owned();
        let inode = (metadata.dev(), metadata.ino());
        let seen = Seen { kind, content, mode, modified, first: PathBuf::new() };
        firsts.entry(inode).or_insert_with(Vec::new).push(path.clone());
        found.insert(path, seen);
    }
    for mut names in firsts.into_values() {
        names.sort();
        for name in &names {
            found.get_mut(name).expect("it was found").first = names[0].clone();
        }
    }
    found
}

/// What differs between two trees, a line each.
pub(crate) fn differences(left: &Path, right: &Path) -> Vec<String> {
    let (left, right) = (entries(left), entries(right));
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differs = |name: &&PathBuf| left.get(*name) != right.get(*name);
    let shown = |name: &PathBuf| {
        let short = |seen: Option<&Seen>| {
            seen.map(|seen| {
                let Seen { kind, content, mode, modified, first } = seen;
                format!("{kind} {} bytes {mode:o} {modified:?} {}", content.len(), first.display())
            })
        };
        format!("{}: {:?} {:?}", name.display(), short(left.get(name)), short(right.get(name)))
    };
    names.into_iter().filter(differs).map(shown).collect()
}
