//! Names of files: checked once, so that none can leave the output folder.

use std::fmt;

use super::NodeId;
use crate::verify::Digest;

/// The most bytes of a file's name.
// `NAME_MAX` of Linux and of its file systems (ext4, XFS, tmpfs, NFS): limits.h, pathconf(3).
pub const NAME_BYTES_MAX: usize = 255;

/// The end of the name of a finished file's digests.
// What `sha256sum` writes usually has this name.
const DIGESTS_SUFFIX: &str = ".sha256";

/// How many hexadecimal digits of its digest a shortened name has.
// 64 bits: among a million names the chance of one collision is 1 in 37 million (birthday bound), and
// `PeerInput::clash` finds it.
const DIGEST_DIGITS: usize = 16;

// An allow list would refuse names in most languages; this is a deny list of what a path or a terminal
// could take for something else.
/// The name of a file of the swarm.
///
/// It has 1 to 255 bytes and is safe as the last part of a path: no separator, no `..`, no control
/// character. It neither begins nor ends with a blank, because an input's lines are trimmed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Box<str>);

impl FileName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// The first rule that the name breaks.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong { bytes: name.len() });
        }
        if let Some(found) = name.chars().find(|&character| matches!(character, '/' | '\\')) {
            return Err(NameError::Separator { found });
        }
        if let Some(found) = name.chars().find(|character| character.is_control()) {
            return Err(NameError::Control { found });
        }
        if name.contains("..") {
            return Err(NameError::Parent);
        }
        if name == "." {
            return Err(NameError::Dot);
        }
        if name.starts_with('-') {
            return Err(NameError::Dash);
        }
        if name.starts_with(' ') || name.ends_with(' ') {
            return Err(NameError::Blank);
        }
        Ok(Self(name.into()))
    }

    /// The name as it stands in the inputs.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name under which a peer stores its copy: `client<R>_<name>`, at most 255 bytes.
    ///
    /// Where that would be longer, as much of the name is kept as fits, cut between characters,
    /// and `~` and the first 16 digits of the SHA-256 of the whole name follow. Long names that
    /// begin alike therefore stay apart.
    pub fn output_name(&self, peer: NodeId) -> String {
        self.between(&output_prefix(peer), "")
    }

    /// The name under which a peer stores the digests of its copy: `client<R>_<name>.sha256`, at
    /// most 255 bytes, shortened as [`output_name`](Self::output_name) is.
    pub fn digests_name(&self, peer: NodeId) -> String {
        self.between(&output_prefix(peer), DIGESTS_SUFFIX)
    }

    /// Whether [`output_name`](Self::output_name) cannot hold the whole name.
    pub fn is_shortened_for(&self, peer: NodeId) -> bool {
        output_prefix(peer).len() + self.0.len() > NAME_BYTES_MAX
    }

    /// The name between two others, or what fits of it and a digest.
    fn between(&self, prefix: &str, suffix: &str) -> String {
        let room = NAME_BYTES_MAX - prefix.len() - suffix.len();
        if self.0.len() <= room {
            return format!("{prefix}{}{suffix}", self.0);
        }
        let digest = Digest::of(self.0.as_bytes()).to_string();
        let room = room - "~".len() - DIGEST_DIGITS;
        // UTF-8: a cut in the middle of a character would make a name that no `str` can hold.
        let cut = (0..=room).rev().find(|&cut| self.0.is_char_boundary(cut));
        let kept = &self.0[..cut.expect("the beginning of a text is a boundary")];
        format!("{prefix}{kept}~{}{suffix}", &digest[..DIGEST_DIGITS])
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn output_prefix(peer: NodeId) -> String {
    format!("client{}_", peer.0)
}

/// Why a text is not the name of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what it means")]
pub enum NameError {
    #[error("a file name may not be empty")]
    Empty,
    #[error("a file name has at most {NAME_BYTES_MAX} bytes, this one has {bytes}")]
    TooLong { bytes: usize },
    #[error("a file name may not contain '{found}'")]
    Separator { found: char },
    // A terminal would obey it, and NUL ends a string of the operating system.
    #[error("a file name may not contain the control character {found:?}")]
    Control { found: char },
    // Path traversal (CWE-22): `..` names the folder above.
    #[error("a file name may not contain \"..\"")]
    Parent,
    #[error("\".\" names a folder, not a file")]
    Dot,
    // Commands would take it for an option.
    #[error("a file name may not begin with '-'")]
    Dash,
    // An input could not hold it, because lines are trimmed.
    #[error("a file name may not begin or end with a blank")]
    Blank,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> String {
        FileName::parse(name).expect_err("the name breaks a rule").to_string()
    }

    fn name(text: &str) -> FileName {
        FileName::parse(text).expect("the name keeps the rules")
    }

    #[test]
    fn every_rule_refuses_with_its_own_sentence() {
        let long = "x".repeat(256);
        for (text, sentence) in [
            ("", "a file name may not be empty"),
            (&*long, "a file name has at most 255 bytes, this one has 256"),
            ("/etc/passwd", "a file name may not contain '/'"),
            ("a\\b", r"a file name may not contain '\'"),
            ("a..b", "a file name may not contain \"..\""),
            ("..", "a file name may not contain \"..\""),
            (".", "\".\" names a folder, not a file"),
            ("a\0b", r"a file name may not contain the control character '\0'"),
            ("a\u{1b}[2J", r"a file name may not contain the control character '\u{1b}'"),
            ("a\tb", r"a file name may not contain the control character '\t'"),
            ("-rf", "a file name may not begin with '-'"),
            (" a", "a file name may not begin or end with a blank"),
            ("a ", "a file name may not begin or end with a blank"),
        ] {
            assert_eq!(refused(text), sentence, "{text:?}");
        }
    }

    #[test]
    fn ordinary_and_unusual_names_pass() {
        for text in ["file1", ".hidden", "two words", "a.b.c", "données-é", "a-b", "~", "3"] {
            assert_eq!(name(text).as_str(), text);
            assert_eq!(name(text).to_string(), text);
        }
        assert_eq!(name(&"x".repeat(255)).as_str().len(), 255);
    }

    #[test]
    fn an_output_name_carries_the_peer() {
        assert_eq!(name("file1").output_name(NodeId(3)), "client3_file1");
        assert!(!name("file1").is_shortened_for(NodeId(3)));
    }

    #[test]
    fn an_output_name_is_shortened_only_beyond_255_bytes() {
        let fits = name(&"x".repeat(255 - "client3_".len()));
        assert!(!fits.is_shortened_for(NodeId(3)));
        assert_eq!(fits.output_name(NodeId(3)).len(), 255);
        assert!(fits.is_shortened_for(NodeId(10)));
        assert_eq!(fits.output_name(NodeId(10)).len(), 255);
    }

    #[test]
    fn digests_lie_beside_their_file_and_fit_too() {
        assert_eq!(name("file1").digests_name(NodeId(3)), "client3_file1.sha256");
        let long = name(&"x".repeat(250)).digests_name(NodeId(3));
        assert_eq!(long.len(), 255);
        assert!(long.contains('~') && long.ends_with(".sha256"));
    }

    #[test]
    fn long_names_that_begin_alike_stay_apart() {
        let first = name(&format!("{}1", "x".repeat(254))).output_name(NodeId(1));
        let second = name(&format!("{}2", "x".repeat(254))).output_name(NodeId(1));
        assert_ne!(first, second);
        assert_eq!(first.as_bytes()[255 - 17], b'~');
        assert!(first[255 - 16..].bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        for shift in 0..4 {
            let text = format!("{}{}", "x".repeat(shift), "🐝".repeat(62));
            let output = name(&text).output_name(NodeId(u32::MAX));
            assert!(output.len() <= 255 && output.len() > 255 - 4, "{}", output.len());
            assert_eq!(output.matches('~').count(), 1);
        }
    }
}
