//! The parser of inputs against arbitrary texts: what is written is read back, nothing panics.

use std::collections::HashSet;
use std::fmt::Write as _;

use mpiswarm::manifest::{FileName, Hashes, OwnedFile, PeerInput};
use proptest::collection::vec;
use proptest::prelude::*;

/// How a text is laid out, where the grammar leaves it open.
#[derive(Clone, Copy, Debug)]
struct Layout {
    carriage_return: bool,
    final_newline: bool,
    byte_order_mark: bool,
    before: &'static str,
    after: &'static str,
    empty_lines: &'static str,
}

impl Layout {
    fn apply(self, text: &str) -> String {
        let end = if self.carriage_return { "\r\n" } else { "\n" };
        let mut laid = String::from(if self.byte_order_mark { "\u{feff}" } else { "" });
        for line in text.lines() {
            let Self { before, after, empty_lines, .. } = self;
            write!(laid, "{empty_lines}{before}{line}{after}{end}").expect("a string grows");
        }
        if !self.final_newline {
            laid.truncate(laid.len() - end.len());
        }
        laid
    }
}

fn layouts() -> impl Strategy<Value = Layout> {
    let blanks = prop::sample::select(vec!["", "", " ", "\t", " \t "]);
    let empty_lines = prop::sample::select(vec!["", "", "\n", "\r\n", " \t\n\n"]);
    (any::<bool>(), any::<bool>(), any::<bool>(), blanks.clone(), blanks, empty_lines).prop_map(
        |(carriage_return, final_newline, byte_order_mark, before, after, empty_lines)| Layout {
            carriage_return,
            final_newline,
            byte_order_mark,
            before,
            after,
            empty_lines,
        },
    )
}

fn names() -> impl Strategy<Value = FileName> {
    prop_oneof!["[a-z0-9]{1,3}", "[ -~]{1,20}", "\\PC{1,80}"]
        .prop_filter_map("the name breaks a rule", |text| FileName::parse(&text).ok())
}

fn hashes() -> impl Strategy<Value = Hashes> {
    vec("([0-9a-fA-F]{2}){4,64}", 0..6).prop_map(|given| {
        let mut hashes = Hashes::new();
        given.iter().for_each(|hash| hashes.push(hash));
        hashes
    })
}

fn inputs() -> impl Strategy<Value = PeerInput> {
    (vec((names(), hashes()), 0..8), vec(names(), 0..8)).prop_map(|(owned, wanted)| {
        let mut seen = HashSet::new();
        let mut input = PeerInput::default();
        let mut line = 2;
        for (name, hashes) in owned {
            if seen.insert(name.clone()) {
                let lines = 1 + hashes.len();
                input.owned.push(OwnedFile { name, line, hashes });
                line += lines;
            }
        }
        input.wanted = wanted.into_iter().filter(|name| seen.insert(name.clone())).collect();
        input
    })
}

fn written(input: &PeerInput) -> Vec<u8> {
    let mut text = Vec::new();
    input.write(&mut text).expect("a vector takes every byte");
    text
}

fn parse(text: &[u8]) -> PeerInput {
    PeerInput::parse(text).expect("the text keeps the grammar")
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(input in inputs()) {
        prop_assert_eq!(parse(&written(&input)), input);
    }

    #[test]
    fn the_layout_changes_no_file(input in inputs(), layout in layouts()) {
        let text = String::from_utf8(written(&input)).expect("names and hashes are text");
        prop_assert!(parse(layout.apply(&text).as_bytes()).same_files(&input));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = PeerInput::parse(&bytes);
    }

    #[test]
    fn arbitrary_lines_never_panic(
        lines in vec("[0-9]{1,2}|[a-f0-9]{8}|[a-z.] [0-9]|\\PC{0,9}", 0..40),
    ) {
        let _ = PeerInput::parse(lines.join("\n").as_bytes());
    }

    #[test]
    fn an_error_is_one_line_inside_the_text(
        input in inputs(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut text = written(&input);
        for (place, byte) in edits {
            let place = place.index(text.len());
            text[place] = byte;
        }
        text.truncate(1 + cut.index(text.len() * 2));
        if let Err(error) = PeerInput::parse(&text) {
            let lines = 1 + text.iter().filter(|&&byte| byte == b'\n').count();
            prop_assert!((1..=lines).contains(&error.line));
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
    }
}

#[test]
fn a_million_segments_in_one_file() {
    let mut text = String::from("1\nbig 1000000\n");
    (0..1_000_000).for_each(|segment| writeln!(text, "{segment:032x}").expect("a string grows"));
    text += "0\n";
    let input = parse(text.as_bytes());
    assert_eq!(input.owned[0].hashes.len(), 1_000_000);
    assert_eq!(input.owned[0].hashes.hash(999_999), format!("{:032x}", 999_999));
    assert!(written(&input) == text.as_bytes());
}

#[test]
fn a_hundred_thousand_owned_files_and_as_many_wanted() {
    let mut text = String::from("100000\n");
    (0..100_000).for_each(|file| write!(text, "o{file} 1\n{file:08}\n").expect("a string grows"));
    text += "100000\n";
    (0..100_000).for_each(|file| writeln!(text, "w{file}").expect("a string grows"));
    let input = parse(text.as_bytes());
    assert_eq!((input.owned.len(), input.wanted.len()), (100_000, 100_000));
    assert_eq!(input.owned[99_999].line, 200_000);
    assert!(written(&input) == text.as_bytes());
}

#[test]
fn the_longest_name_is_read_and_one_byte_more_is_not() {
    let input = parse(format!("0\n1\n{}\n", "n".repeat(255)).as_bytes());
    assert_eq!(input.wanted[0].as_str().len(), 255);
    let error = PeerInput::parse(format!("0\n1\n{}\n", "n".repeat(256)).as_bytes());
    assert_eq!(error.expect_err("the name is too long").line, 3);
}
