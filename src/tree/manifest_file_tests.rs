//! Manifest files: what is written is read back, and nothing else.

use std::fs;
use std::io::{self, BufReader};

use proptest::prelude::*;

use super::*;
use crate::verify::Digest;

fn line(path: &str) -> String {
    format!(
        r#"{{"path":"{path}","type":"folder","mode":"0755","modified":{{"seconds":-1,"nanos":5}}}}"#
    )
}

fn file(lines: &[String], entries: usize) -> String {
    let header = format!(
        r#"{{"format":"mpiswarm manifest","version":1,"segment_bytes":65536,"sources":["t"],"entries":{entries},"files":0,"bytes":0}}"#
    );
    format!("{header}\n{}\n", lines.join("\n"))
}

fn said(text: &str) -> (u64, String) {
    let (line, cause) = StoredManifest::parse(text.as_bytes()).expect_err("it is wrong");
    (line, cause.to_string())
}

#[test]
fn hostile_lines_are_refused_by_number() {
    let good = [line("t"), line("t/a"), line("t/b")];
    StoredManifest::parse(file(&good, 3).as_bytes()).expect("nothing is wrong");
    let bad = [
        (line("t/../b"), "a component `.` or `..`"),
        (line("/etc"), "an empty component"),
        (line("t/a"), "t/a comes twice, or not in order"),
        (line("t/0"), "t/0 comes twice, or not in order"),
        (line("u/x"), "u/x lies in no folder of the manifest"),
        (line("t/\\u0000"), "a NUL byte"),
        (line("t/b").replace("0755", "+755"), "a mode that is not octal digits"),
        (line("t/b").replace("0755", "10755"), "a mode of more than 12 bits"),
        (line("t/b").replace(":5}", ":1000000000}"), "a second of nanoseconds or more"),
        (line("t/b").replace("folder", "socket"), "unknown variant"),
        (line("t/b").replace("\"folder\"", "\"link\",\"target\":\"\""), "a target that is no path"),
        (
            line("t/b").replace("\"folder\"", "\"hard-link\",\"first\":\"t/a\""),
            "a hard link to what is no file",
        ),
        (
            line("t/b").replace("\"folder\"", "\"hard-link\",\"first\":\"../x\""),
            "a component `.` or `..`",
        ),
        (
            line("t/b").replace("\"folder\"", "\"file\",\"bytes\":0,\"root\":\"00\""),
            "a root that is not 64",
        ),
        (
            line("t/b")
                .replace("\"folder\"", "\"file\",\"bytes\":5,\"data\":[{\"start\":4,\"end\":6}]"),
            "data beyond its end",
        ),
        (line("t/b").replace("\"t/b\"", "{\"text\":\"b\",\"base64\":\"*\"}"), "no Base64"),
        ("{".to_owned(), "EOF"),
        (String::new(), "EOF"),
    ];
    for (line, cause) in bad {
        let (number, text) = said(&file(&[good[0].clone(), good[1].clone(), line], 3));
        assert!(number == 4 && text.contains(cause), "{number}: {text}, not {cause}");
    }
}

#[test]
fn a_file_that_is_none_or_was_cut_off_is_refused() {
    let whole = file(&[line("t"), line("t/a")], 2);
    assert_eq!(said(""), (1, "the file was cut off".to_owned()));
    assert_eq!(said(&whole[..whole.len() - 1]), (3, "the file was cut off".to_owned()));
    let lines = whole.split_inclusive('\n').take(2).collect::<String>();
    assert_eq!(said(&lines), (3, "the file was cut off".to_owned()));
    assert!(said(&file(&[line("t"), line("t/a")], 1)).1.starts_with("sources, entries"));
    // It ends where the header says, whatever follows.
    assert_eq!(said(&file(&[line("t"), line("t/a"), "{".to_owned()], 1)).0, 1);
    assert_eq!(
        said(&file(&[line("t")], 1_000_000_000)),
        (1, "more than 67108864 entries".to_owned())
    );
    assert!(said(&whole.replace("\"files\":0", "\"files\":1")).1.starts_with("sources, entries"));
    assert!(said(&whole.replace("\"t\"]", "\"x\"]")).1.starts_with("sources, entries"));
    assert_eq!(said(&whole.replace("version\":1", "version\":2")).0, 1);
    assert_eq!(said(&whole.replace("65536", "65537")).0, 1);
    // An endless line is given up at its limit.
    let endless = BufReader::new(io::repeat(b' '));
    let (line, cause) = StoredManifest::parse(endless).expect_err("it has no end");
    assert!(line == 1 && matches!(cause, ManifestLineError::TooLong), "{cause}");
}

fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let byte = prop_oneof![Just(b'a'), 1..=b'.', b'0'..=255];
    let name = prop::collection::vec(byte, 1..4)
        .prop_filter("a name", |name| name != b"." && name != b"..");
    prop::collection::btree_set(name, 1..20).prop_map(|names| names.into_iter().collect())
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        names in names(),
        numbers in prop::collection::vec(any::<(u8, u64, i64, u32, bool)>(), 20),
    ) {
        let folder = |path: &[u8]| Entry {
            path: TreePath::new(path).expect("a path"),
            kind: EntryKind::Folder,
            mode: 0o755,
            modified: FileTime::default(),
            attributes: Attributes::default(),
        };
        let mut manifest = Manifest {
            entries: vec![folder(b"\xfft")],
            segment_bytes: 1 << 20,
            ..Manifest::default()
        };
        let (mut roots, mut first) = (vec![None], None);
        for (name, (kind, bytes, seconds, bits, is_known)) in names.iter().zip(numbers) {
            let mut entry = folder(&[b"\xfft/", &name[..]].concat());
            entry.mode = bits & 0o7777;
            entry.modified = FileTime { seconds, nanos: bits % 1_000_000_000 };
            if is_known {
                let xattr = Xattr { name: [b"user.", &name[..name.len().min(250)]].concat().into(), value: name.clone().into() };
                entry.attributes.xattrs = Some([xattr].into());
                entry.attributes.owner = Some(FileOwner { uid: bits, gid: kind.into() });
            }
            let mut root = None;
            entry.kind = match (kind % 5, first) {
                (0, _) => EntryKind::Folder,
                (1, _) => EntryKind::Link { target: name.clone().into() },
                (2, Some(first)) => EntryKind::HardLink { first },
                (3, _) if bytes > 9 => {
                    let data = [0..4, 7..bytes];
                    EntryKind::File { bytes, data: Some(data.into()) }
                }
                _ => {
                    first = Some(u32::try_from(manifest.entries.len()).expect("few"));
                    root = (is_known && bytes > 0).then(|| Digest::of(name));
                    EntryKind::File { bytes, data: None }
                }
            };
            manifest.entries.push(entry);
            roots.push(root);
        }
        let stored = StoredManifest { manifest, roots };
        let mut text = Vec::new();
        stored.to_writer(&mut text).expect("a vector takes every byte");
        let read = StoredManifest::parse(&text[..]).map_err(|(line, cause)| format!("{line}: {cause}"));
        prop_assert_eq!(read, Ok(stored));
    }
}

#[test]
fn a_name_of_many_megabytes_is_not_shown_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m");
    let long = "n".repeat(10 << 20);
    let folders = "/n".repeat(5 << 20);
    let bad = [
        (line(&format!("t/{long}")), "has a component of more than 255 bytes"),
        (line(&format!("t{folders}")), "lies in no folder of the manifest"),
        (line("t/a").replace("folder", &long), "unknown variant"),
        (line("t/a").replace("path", &long), "missing field `path`"),
    ];
    for (line_text, cause) in bad {
        fs::write(&path, file(&[line("t"), line_text], 2)).expect("room");
        let said = StoredManifest::read(&path).expect_err("it is wrong").to_string();
        assert!(said.contains(":3: ") && said.contains(cause), "{cause}: {}", &said[..200]);
        assert!(said.len() < 3000, "{cause}: {} bytes", said.len());
    }
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("t.manifest");
    let stored = StoredManifest::parse(file(&[line("t")], 1).as_bytes()).expect("it is right");
    fs::write(&path, "old").expect("room");
    stored.write_to(&path).expect("room");
    assert_eq!(StoredManifest::read(&path).expect("it is right"), stored);
    assert!(stored.write_to(dir.path().join("none/x").as_path()).is_err());
    fs::create_dir(dir.path().join("folder")).expect("room");
    assert!(stored.write_to(&dir.path().join("folder")).is_err());
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 2, "nothing is left over");
    assert_eq!(manifest_file_name(b"t"), b"t.manifest");
    let [long, other] = [b'x', b'y'].map(|end| [&[b'n'; 254][..], &[end]].concat());
    assert!(manifest_file_name(&long).len() <= 255);
    assert_ne!(manifest_file_name(&long), manifest_file_name(&other));
}

proptest! {
    #[test]
    fn whatever_a_file_holds_it_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
    ) {
        let lines = [
            line("t"),
            line("t/a").replace("folder\"", "file\",\"bytes\":9,\"data\":[{\"start\":4,\"end\":6}]"),
            line("t/b").replace("folder\"", "link\",\"target\":\"x\""),
            line("t/c").replace("folder\"", "hard-link\",\"first\":\"t/a\""),
        ];
        let text = file(&lines, 4).replace("\"files\":0,\"bytes\":0", "\"files\":1,\"bytes\":9");
        StoredManifest::parse(text.as_bytes()).expect("nothing is wrong");
        let mut bytes = text.into_bytes();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.drain(at..bytes.len().min(at + usize::from(byte % 8)))),
            }
        }
        if let Ok(stored) = StoredManifest::parse(&bytes[..]) {
            let mut text = Vec::new();
            stored.to_writer(&mut text).expect("a vector takes every byte");
            let read = StoredManifest::parse(&text[..]);
            prop_assert_eq!(read.map_err(|(line, cause)| format!("{line}: {cause}")), Ok(stored));
        }
    }
}
