//! `mpiswarm manifest --torrent`: read by a strict decoder of its own, and by libtorrent where that can be had.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::{lines, run};

const LEAF: usize = 16 << 10;

/// What is encoded. Keys of a dictionary are bytes.
#[derive(Debug, PartialEq)]
enum Bencode {
    Integer(u64),
    Bytes(Vec<u8>),
    List(Vec<Bencode>),
    Dictionary(BTreeMap<Vec<u8>, Bencode>),
}

impl Bencode {
    /// The whole of a file: no byte behind it, no number with a zero before it, keys in order and once.
    fn decode(mut text: &[u8]) -> Self {
        let whole = Self::take(&mut text);
        assert!(text.is_empty(), "{} bytes behind the end", text.len());
        whole
    }

    fn take(text: &mut &[u8]) -> Self {
        match text[0] {
            b'i' => {
                *text = &text[1..];
                Self::Integer(number(text, b'e'))
            }
            b'l' => {
                *text = &text[1..];
                let mut list = Vec::new();
                while text[0] != b'e' {
                    list.push(Self::take(text));
                }
                *text = &text[1..];
                Self::List(list)
            }
            b'd' => {
                *text = &text[1..];
                let mut dictionary = BTreeMap::new();
                while text[0] != b'e' {
                    let key = bytes(text);
                    let last = dictionary.last_key_value().map(|(key, _)| key);
                    assert!(last.is_none_or(|last| *last < key), "{key:?} behind {last:?}");
                    dictionary.insert(key, Self::take(text));
                }
                *text = &text[1..];
                Self::Dictionary(dictionary)
            }
            _ => Self::Bytes(bytes(text)),
        }
    }

    fn dictionary(&self) -> &BTreeMap<Vec<u8>, Self> {
        let Self::Dictionary(dictionary) = self else { panic!("{self:?} is no dictionary") };
        dictionary
    }

    fn at(&self, key: &str) -> &Self {
        self.dictionary().get(key.as_bytes()).unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }

    fn bytes(&self) -> &[u8] {
        let Self::Bytes(bytes) = self else { panic!("{self:?} is no string") };
        bytes
    }

    fn integer(&self) -> u64 {
        let Self::Integer(integer) = self else { panic!("{self:?} is no integer") };
        *integer
    }

    /// All files of a file tree, by path.
    fn files(&self) -> BTreeMap<String, &Self> {
        let mut files = BTreeMap::new();
        for (name, below) in self.dictionary() {
            let name = str::from_utf8(name).expect("names are UTF-8");
            if let Some(file) = below.dictionary().get(&b""[..]) {
                assert_eq!(below.dictionary().len(), 1, "{name} is a file or a folder");
                files.insert(name.to_owned(), file);
            } else {
                let inside = below.files();
                assert!(!inside.is_empty(), "{name} is an empty folder");
                files.extend(
                    inside.into_iter().map(|(path, file)| (format!("{name}/{path}"), file)),
                );
            }
        }
        files
    }
}

fn number(text: &mut &[u8], end: u8) -> u64 {
    let length = text.iter().position(|&byte| byte == end).expect("a number ends");
    let digits = str::from_utf8(&text[..length]).expect("digits");
    let number: u64 = digits.parse().expect("digits");
    assert_eq!(number.to_string(), digits, "no zeros before it");
    *text = &text[length + 1..];
    number
}

fn bytes(text: &mut &[u8]) -> Vec<u8> {
    let length = usize::try_from(number(text, b':')).expect("it is short");
    let (bytes, rest) = text.split_at(length);
    *text = rest;
    bytes.to_vec()
}

/// The hashes of one level of the tree over a file (BEP 52), as its text says it: all leaves, filled up with
/// zeros to a power of two, are joined in pairs.
fn layer(content: &[u8], covered: usize) -> Vec<[u8; 32]> {
    let mut hashes: Vec<[u8; 32]> =
        content.chunks(LEAF).map(|leaf| Sha256::digest(leaf).into()).collect();
    hashes.resize(hashes.len().max(covered / LEAF).next_power_of_two(), [0; 32]);
    for _ in 0..(covered / LEAF).ilog2() {
        hashes = joined(&hashes);
    }
    hashes
}

fn joined(hashes: &[[u8; 32]]) -> Vec<[u8; 32]> {
    hashes.chunks(2).map(|pair| Sha256::digest(pair.as_flattened()).into()).collect()
}

fn root(content: &[u8]) -> [u8; 32] {
    let mut hashes = layer(content, LEAF);
    while hashes.len() > 1 {
        hashes = joined(&hashes);
    }
    hashes[0]
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [format!("{}:", bytes.len()).as_bytes(), bytes].concat()
}

/// Bytes that no two leaves have in common.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / LEAF + at % 251).to_le_bytes()[0]).collect()
}

fn torrent(dir: &Path, source: &str) -> Bencode {
    let (code, text, said) = run(dir, &format!("manifest {source} --torrent x.torrent"));
    assert_eq!((code, &*text), (Some(0), ""), "{said}");
    Bencode::decode(&fs::read(dir.join("x.torrent")).expect("it was written"))
}

/// Whether libtorrent says the same of what lies in the folder.
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn libtorrent_agrees(dir: &Path, name: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/libtorrent.sh");
    let output = Command::new(script).arg("check").arg(dir.join("x.torrent")).arg(dir).output();
    let output = output.expect("the script starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.code() == Some(3) {
        println!("not compared with libtorrent: {said}");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(", 0 differences, ") && said.contains(name), "{said}");
}

#[test]
fn a_torrent_has_these_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = dir.path().join("t");
    fs::create_dir_all(tree.join("b/empty folder")).expect("room");
    let (small, large) = (content(20_000), content(3 * 65_536 + 5));
    fs::write(tree.join("b/large"), &large).expect("room");
    fs::copy(tree.join("b/large"), tree.join("b/again")).expect("room");
    fs::write(tree.join("a"), &small).expect("room");
    fs::set_permissions(tree.join("a"), PermissionsExt::from_mode(0o755)).expect("ours");
    fs::hard_link(tree.join("a"), tree.join("é")).expect("room");
    fs::write(tree.join("none"), "").expect("room");
    symlink("../a", tree.join("b/link")).expect("room");
    // The layers of what is larger than a segment: zero leaves fill the last hash, and no hash is all zero.
    let hashes = layer(&large, 65_536);
    assert_eq!(hashes.len(), 4);
    let of = |content: &[u8]| string(&root(content));
    let expected: Vec<u8> = [
        &b"d4:infod9:file treed"[..],
        b"1:ad0:d4:attr1:x6:lengthi20000e11:pieces root",
        &of(&small),
        b"ee1:bd",
        b"5:againd0:d6:lengthi196613e11:pieces root",
        &of(&large),
        b"ee5:larged0:d6:lengthi196613e11:pieces root",
        &of(&large),
        b"ee4:linkd0:d4:attr1:l6:lengthi0e12:symlink pathl1:aeee",
        b"e4:noned0:d6:lengthi0eee",
        "2:éd0:d4:attr1:x6:lengthi20000e11:pieces root".as_bytes(),
        &of(&small),
        b"eee12:meta versioni2e4:name1:t12:piece lengthi65536ee12:piece layersd",
        &of(&large),
        &string(hashes.as_flattened()),
        b"ee",
    ]
    .concat();
    torrent(dir.path(), "t");
    let found = fs::read(dir.path().join("x.torrent")).expect("it was written");
    assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string());
    // As libtorrent 2.1.1 names it.
    let info = &found[b"d4:info".len()
        ..found.windows(15).position(|at| at == b"12:piece layers").expect("it has layers")];
    let name: String = Sha256::digest(info).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(name, "deb9961d2db403f32a9133642bc977ef8d95d0bc34f6246809fb1ff7738ef5c5");
    libtorrent_agrees(dir.path(), &name);
}

#[test]
fn a_tree_and_its_torrent_have_the_same_roots() {
    let dir = tempfile::tempdir().expect("a folder");
    let made = run(dir.path(), "synthesize --tree tree --files 200 --bytes 9000000 --seed 5");
    assert_eq!(made.0, Some(0), "{made:?}");
    let tree = dir.path().join("tree");
    // Some of its links lead out of the tree, or to nothing.
    let (code, _, said) = run(dir.path(), "manifest tree --torrent x.torrent");
    assert_eq!(code, Some(2), "{said}");
    for line in said.lines() {
        let (path, _) =
            line.trim_start_matches("mpiswarm: ").split_once(" links to ").expect("links only");
        fs::remove_file(dir.path().join(path)).expect("ours");
    }
    symlink("holes", tree.join("to holes")).expect("room");
    // Parts of a large file that are holes, and one that ends with a hole.
    let holes = fs::File::create(tree.join("holes")).expect("room");
    holes.set_len(1_000_000).expect("room");
    std::os::unix::fs::FileExt::write_all_at(&holes, b"data", 400_000).expect("room");
    let (code, text, _) = run(dir.path(), "manifest tree");
    assert_eq!(code, Some(0));
    let lines = lines(&text);
    let torrent = torrent(dir.path(), "tree");
    let info = torrent.at("info");
    assert_eq!(info.at("meta version").integer(), 2);
    assert_eq!(info.at("name").bytes(), b"tree");
    let covered = usize::try_from(info.at("piece length").integer()).expect("it is small");
    assert!(covered.is_power_of_two() && covered >= LEAF);
    let files = info.at("file tree").files();
    let layers = torrent.at("piece layers").dictionary();
    let mut large = std::collections::BTreeSet::new();
    for line in &lines[1..] {
        let path = line["path"].as_str().expect("it is UTF-8");
        let file = files.get(path.trim_start_matches("tree/"));
        match line["type"].as_str() {
            Some("folder") => assert_eq!(file, None, "{path}"),
            Some("link") => assert_eq!(file.expect(path).at("attr").bytes(), b"l", "{path}"),
            _ => {
                let content = fs::read(dir.path().join(path)).expect("ours");
                let file = file.expect(path);
                assert_eq!(file.at("length").integer(), content.len() as u64, "{path}");
                if content.is_empty() {
                    assert!(!file.dictionary().contains_key(&b"pieces root"[..]), "{path}");
                    continue;
                }
                let root = root(&content);
                assert_eq!(file.at("pieces root").bytes(), root, "{path}");
                if let Some(text) = line["root"].as_str() {
                    let shown: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
                    assert_eq!(text, shown, "{path}");
                }
                if content.len() > covered {
                    large.insert(root);
                    let count = content.len().div_ceil(covered);
                    let hashes = &layer(&content, covered)[..count];
                    assert_eq!(layers[&root[..]].bytes(), hashes.as_flattened(), "{path}");
                }
            }
        }
    }
    assert!(large.len() > 1, "the tree has large files");
    assert_eq!(layers.len(), large.len());
    libtorrent_agrees(dir.path(), "");
}

#[test]
fn a_single_file_is_a_torrent_too() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("one"), content(100_000)).expect("room");
    let torrent = torrent(dir.path(), "one");
    let files = torrent.at("info").at("file tree").files();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["one"]);
    assert_eq!(torrent.at("info").at("name").bytes(), b"one");
    libtorrent_agrees(dir.path(), "");
}

#[test]
fn what_no_torrent_holds_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &[u8]| dir.path().join(OsStr::from_bytes(name));
    for name in ["links", "empty", "same", "latin"] {
        fs::create_dir(path(name.as_bytes())).expect("room");
        fs::write(path(name.as_bytes()).join("none"), "").expect("room");
    }
    fs::create_dir(path(b"links/in")).expect("room");
    fs::write(path(b"links/in/file"), "x").expect("room");
    fs::create_dir_all(path(b"links/hollows/hollow")).expect("room");
    for (name, target) in [
        ("absolute", "/etc/passwd"),
        ("above", "../links/in"),
        ("behind", "good/../in"),
        ("dangling", "in/nothing"),
        ("hollow", "hollows"),
        ("through", "good/file"),
        ("good", "in"),
        ("in/back", "../in/./file"),
        ("in/whole", ".."),
    ] {
        symlink(target, path(b"links").join(name)).expect("room");
    }
    symlink(OsStr::from_bytes(b"\xff"), path(b"links/odd")).expect("room");
    fs::remove_file(path(b"same/none")).expect("ours");
    fs::write(path(b"same/same"), "x").expect("room");
    fs::write(path(b"latin/f\xe9e"), "x").expect("room");
    fs::create_dir(path(b"latin/\xe9")).expect("room");
    fs::write(path(b"latin/\xe9/x"), "x").expect("room");
    fs::create_dir(path(b"latin/\xe8")).expect("room");
    for (line, causes) in [
        (
            "links",
            &[
                "links/absolute links to /etc/passwd: ",
                "links/above links to ../links/in: ",
                "links/behind links to good/../in: ",
                "links/dangling links to in/nothing: ",
                "links/hollow links to hollows: ",
                "links/through links to good/file: ",
                "links/in/whole links to ..: ",
                r"links/odd links to \xff: ",
            ][..],
        ),
        ("empty", &["empty holds not one byte"]),
        ("same", &["same holds only a file of its own name"]),
        (
            "latin",
            &[
                r"latin/f\xe9e: a torrent has only names in UTF-8: rename it",
                r"latin/\xe9/x: a torrent",
            ],
        ),
        ("empty same", &["a torrent has one source, and these are 2"]),
        ("same --torrent empty", &["empty: it is not a file"]),
        ("same/same --out x.torrent", &["named by --out and by --torrent"]),
    ] {
        let torrent = if line.contains("--torrent") { "" } else { " --torrent x.torrent" };
        let (code, text, said) = run(dir.path(), &format!("manifest {line}{torrent}"));
        assert_eq!((code, &*text), (Some(2), ""), "{line}: {said}");
        for cause in causes {
            assert!(said.contains(cause), "{line}: {cause}: {said}");
        }
        assert_eq!(said.lines().count(), causes.len(), "{line}: {said}");
        assert!(!path(b"x.torrent").exists(), "{line}");
    }
}
