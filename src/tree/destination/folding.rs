//! File systems that take several names for one: they ignore case, how a character is composed, or what a name
//! ends with.
//!
//! Each has rules of its own, from ASCII letters alone to a version of Unicode. So the file system is asked:
//! names that any rule could make one are tried out in an empty folder.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use unicode_normalization::UnicodeNormalization as _;

use super::super::{Manifest, TreePath};
use super::folder_cache::Folders;
use super::look::stat;
use super::{Trash, make_folder};

/// What is left of a name under all rules together: names with different keys are never one.
// More names have one key than any file system takes for one, which costs a look and no more. Compatibility
// decomposition undoes composition; to upper and then to lower case folds what has several forms, such as
// the German sharp s; accents and what is invisible go.
fn key(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let folded = text.trim_end_matches(['.', ' ']).nfkd().flat_map(char::to_uppercase);
    let folded = folded.flat_map(char::to_lowercase).collect::<String>();
    folded.nfkd().filter(|letter| letter.is_ascii() || letter.is_alphanumeric()).collect()
}

/// Entries of one folder whose names could be one, in groups.
fn groups(manifest: &Manifest, folders: &Folders) -> Vec<Vec<u32>> {
    let mut groups: HashMap<(u32, String), Vec<u32>> = HashMap::new();
    let count = u32::try_from(manifest.entries.len()).expect("a layout numbers entries in 32 bits");
    for entry in 0..count {
        let key = (folders.parent(entry), key(folders.name(entry)));
        groups.entry(key).or_default().push(entry);
    }
    let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
    // The first pair in the order of the list is told, on each rank the same.
    groups.sort_unstable();
    groups
}

/// Two paths that would be one here, if there are any.
pub(super) fn same_names(
    control: &OwnedFd,
    manifest: &Manifest,
    folders: &Folders,
) -> io::Result<Option<[TreePath; 2]>> {
    let trash = Trash::open(control)?;
    // What stays in the trash, the next run removes.
    let folder =
        make_folder(trash.folder(), format!("{:032x}", rand::random::<u128>()).as_bytes())?;
    let mut found = None;
    for group in groups(manifest, folders) {
        found = meeting(&folder, &group, |entry| folders.name(entry))?;
        if found.is_some() {
            break;
        }
    }
    trash.empty()?;
    Ok(found.map(|pair| pair.map(|entry| manifest.entries[entry as usize].path.clone())))
}

/// Makes a file of each name in an empty folder, and returns the first two that are one. Removes the files.
fn meeting<'a>(
    folder: &OwnedFd,
    group: &[u32],
    name: impl Fn(u32) -> &'a [u8],
) -> io::Result<Option<[u32; 2]>> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut found = None;
    let mut made = Vec::new();
    for &entry in group {
        match openat(folder, name(entry), flags, Mode::RUSR | Mode::WUSR) {
            Ok(_) => made.push(entry),
            Err(Errno::EXIST) => {
                found = Some(entry);
                break;
            }
            // A name that it can't have at all is told when it is written.
            Err(Errno::INVAL | Errno::ILSEQ | Errno::NAMETOOLONG) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    // The one that is gone with it is the first of the pair.
    let mut pair = None;
    for entry in made {
        unlinkat(folder, name(entry), AtFlags::empty())?;
        if let Some(second) = found
            && pair.is_none()
            && stat(folder, name(second))?.is_none()
        {
            pair = Some([entry, second]);
        }
    }
    Ok(pair)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_that_some_file_system_takes_for_one_have_one_key() {
        let pairs = [
            ("Makefile", "makefile"),
            ("caf\u{e9}", "CAFE\u{301}"),
            ("stra\u{df}e", "STRASSE"),
            ("\u{212a}", "k"),
            ("\u{17f}et", "Set"),
            ("\u{3c3}\u{3c2}", "\u{3a3}\u{3a3}"),
            ("a.", "A"),
            ("zero\u{200d}width", "zerowidth"),
            ("\u{ff21}", "a"),
        ];
        for (left, right) in pairs {
            assert_eq!(key(left.as_bytes()), key(right.as_bytes()), "{left} {right}");
        }
        let others = ["a", "b", "a.b", "a-b", "\u{3b1}", "\u{4e00}", "\u{4e8c}", "1", ".a"];
        for (place, left) in others.iter().enumerate() {
            for right in &others[place + 1..] {
                assert_ne!(key(left.as_bytes()), key(right.as_bytes()), "{left} {right}");
            }
        }
    }

    #[test]
    fn a_file_system_that_tells_names_apart_lets_all_be() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = OwnedFd::from(std::fs::File::open(dir.path()).expect("a folder"));
        let names = ["a", "A", "caf\u{e9}", "CAFE\u{301}", "a."];
        let name = |entry: u32| names[entry as usize].as_bytes();
        assert_eq!(meeting(&folder, &[0, 1, 2, 3, 4], name).expect("it is ours"), None);
        // A name that is there already stands for one that the file system has folded.
        assert_eq!(meeting(&folder, &[0, 1, 2, 0], name).expect("it is ours"), Some([0, 0]));
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }
}
