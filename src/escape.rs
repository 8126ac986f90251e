//! What is printed can't hurt: names from outside, as each format shows them.
//!
//! Data holds names as they are. They are escaped once, where they enter a text; `line` comes last.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use unicode_width::UnicodeWidthStr as _;

/// How many names or problems of a kind are listed; the rest is counted.
// Enough to see what they have in common. Chosen, not tuned: a broken job has one for each rank.
pub(crate) const LISTED_MAX: usize = 5;

/// A name in text for a terminal or a log, on one line: hidden characters and `\` are escaped as in
/// Rust's literals, so that no two names look alike by what a terminal does not show.
pub(crate) fn terminal(name: &str) -> String {
    each(name, |c, out| match c {
        '\\' => out.push_str("\\\\"),
        c => push_shown(c, out),
    })
}

/// A path as `terminal` shows it; bytes that are not UTF-8 become `\xff`.
pub(crate) fn path(path: &Path) -> String {
    let mut out = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        out += &terminal(chunk.valid());
        chunk.invalid().iter().for_each(|byte| out += &format!("\\x{byte:02x}"));
    }
    out
}

/// A sentence that is to stay one line. Names in it are escaped already: it keeps `\`, and what other
/// crates quoted in their messages is escaped here.
pub(crate) fn line(text: &str) -> String {
    each(text, push_shown)
}

/// A cell of CSV. A spreadsheet would run a name that begins as a formula does: a `'` before it makes
/// it text (OWASP, CSV Injection). Numbers stay.
pub(crate) fn csv(cell: &str) -> String {
    if cell.parse::<f64>().is_ok() {
        return cell.to_owned();
    }
    let formula = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    format!("{}{}", if cell.starts_with(formula) { "'" } else { "" }, terminal(cell))
}

/// Words in Markdown, where any ASCII punctuation can stand behind a `\` (CommonMark 0.31.2, 2.4).
// `https://`, `www.`, `mailto:` and `a@b` are links without any brackets, and `@name` tells somebody (GitHub
// Flavored Markdown 0.29, 6.9).
pub(crate) fn markdown(words: &str) -> String {
    each(&terminal(words), |c, out| {
        let ends = |word: &str| {
            let begins = out.len().checked_sub(word.len());
            let end = begins.and_then(|at| out.get(at..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(word))
        };
        let schemes = ["http", "https", "ftp", "mailto", "xmpp"];
        let links =
            c == ':' && schemes.iter().any(|scheme| ends(scheme)) || c == '.' && ends("www");
        if links || "\\`*_[]<>|#~&!$@".contains(c) {
            out.push('\\');
        }
        out.push(c);
    })
}

/// Words in HTML: between tags, or in an attribute in quotes.
pub(crate) fn html(words: &str) -> String {
    entities(&terminal(words))
}

/// Lines in a `<pre>`, to copy: `\` stays.
pub(crate) fn html_lines(text: &str) -> String {
    entities(&each(text, |c, out| match c {
        '\n' | '\t' => out.push(c),
        c => push_shown(c, out),
    }))
}

/// JSON that was serialized: what serde leaves in strings becomes `\u202e`, which reads as the same.
pub(crate) fn json(text: &str) -> String {
    each(text, |c, out| match c {
        '\u{7f}'.. if is_hidden(c) => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                *out += &format!("\\u{unit:04x}");
            }
        }
        c => out.push(c),
    })
}

/// A word of a line that is to be copied into a shell.
pub(crate) fn shell(word: &OsStr) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    match word.to_str() {
        Some(text) if !text.chars().any(is_hidden) => match text {
            "" => "''".to_owned(),
            text if text.chars().all(is_plain) => text.to_owned(),
            text => format!("'{}'", text.replace('\'', r"'\''")),
        },
        // Dollar-single-quotes (POSIX.1-2024, 2.2.4; bash, zsh and ksh have them for long).
        _ => {
            word.as_encoded_bytes().iter().fold("$'".to_owned(), |out, &byte| match byte {
                b'\'' | b'\\' => out + "\\" + char::from(byte).encode_utf8(&mut [0; 4]),
                b' '..=b'~' => out + char::from(byte).encode_utf8(&mut [0; 4]),
                byte => format!("{out}\\{byte:03o}"),
            }) + "'"
        }
    }
}

/// The first names, and how many more there are.
pub(crate) fn some<T: AsRef<str>>(names: &[T], separator: &str) -> String {
    let mut listed: Vec<_> =
        names.iter().take(LISTED_MAX).map(|name| name.as_ref().to_owned()).collect();
    if names.len() > LISTED_MAX {
        listed.push(format!("and {} more", names.len() - LISTED_MAX));
    }
    listed.join(separator)
}

/// Which ranks: `rank 3`, or `ranks 1, 2, 3, 4, 5, and 495 more`.
pub(crate) fn ranks(ranks: &[u32]) -> String {
    let noun = if ranks.len() == 1 { "rank" } else { "ranks" };
    let ranks: Vec<_> = ranks.iter().map(u32::to_string).collect();
    format!("{noun} {}", some(&ranks, ", "))
}

/// A line for each reason, with the ranks that have it: what stands in the way of all is said once.
pub(crate) fn by_reason(reasons: impl IntoIterator<Item = (u32, String)>) -> Vec<String> {
    let mut alike: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (rank, reason) in reasons {
        alike.entry(reason).or_default().push(rank);
    }
    alike.iter().map(|(reason, having)| format!("{}: {reason}", ranks(having))).collect()
}

/// How many columns a terminal needs for a text.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// The beginning of a name that needs at most `most` columns when it is shown.
pub(crate) fn fitting(name: &str, most: usize) -> &str {
    let mut room = most;
    let beyond = name.char_indices().find(|(_, c)| {
        let needed = columns(&terminal(c.encode_utf8(&mut [0; 4])));
        needed > room || {
            room -= needed;
            false
        }
    });
    beyond.map_or(name, |(at, _)| &name[..at])
}

/// A name cut to so many columns.
pub(crate) fn cut(name: &str, most: usize) -> String {
    if fitting(name, most) == name {
        return name.to_owned();
    }
    format!("{}…", fitting(name, most.saturating_sub(1)))
}

/// A text of at most so many columns: of a longer one `head` columns of its beginning, "…", and its end.
pub(crate) fn elided(text: &str, head: usize, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let head = head.min(most.saturating_sub(1));
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let begin = ends.take_while(|&end| columns(&text[..end]) <= head).last().unwrap_or(0);
    let room = most.saturating_sub(1 + columns(&text[..begin]));
    let starts = text.char_indices().rev().map(|(at, _)| at);
    let end = starts.take_while(|&at| columns(&text[at..]) <= room).last().unwrap_or(text.len());
    format!("{}…{}", &text[..begin], &text[end..])
}

/// A text on lines of at most so many columns, broken at blanks, with `indent` blanks before all lines but the
/// first. A longer word has a line of its own.
pub(crate) fn wrapped(text: &str, indent: usize, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let (mut out, mut used, mut has_word) = (String::new(), 0, false);
    for (number, word) in with_units(text).into_iter().enumerate() {
        let needed = columns(word);
        if has_word && used + 1 + needed > most {
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            (used, has_word) = (indent, false);
        } else if number > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += needed;
        has_word |= !word.is_empty();
    }
    out
}

/// The words of a text; a number and its unit are one.
fn with_units(text: &str) -> Vec<&str> {
    let (mut words, mut begin) = (Vec::new(), 0);
    for (at, _) in text.match_indices(' ') {
        let is_unit = text[..at].ends_with(|c: char| c.is_ascii_digit())
            && text[at + 1..].starts_with(char::is_alphabetic);
        if !is_unit {
            words.push(&text[begin..at]);
            begin = at + 1;
        }
    }
    words.push(&text[begin..]);
    words
}

/// A text of so many characters at most: of a longer one the beginning and the end.
pub(crate) fn abridged(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let begin: String = text.chars().take(most / 2).collect();
    begin + "…" + &text.chars().skip(count - most / 2).collect::<String>()
}

fn each(text: &str, mut escape: impl FnMut(char, &mut String)) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| escape(c, &mut out));
    out
}

fn push_shown(c: char, out: &mut String) {
    if is_hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
}

fn entities(text: &str) -> String {
    each(text, |c, out| match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        c => out.push(c),
    })
}

/// Whether a terminal or a page obeys a character, or shows nothing or something else for it.
fn is_hidden(c: char) -> bool {
    match c {
        ' '..='~' => false,
        // Unicode's Default_Ignorable_Code_Point as far as `std` takes them for letters or marks:
        // joiners, fillers and variation selectors. U+2800 is a blank of Braille.
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' => {
            true
        }
        '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' => true,
        '\u{e0100}'..='\u{e01ef}' => true,
        // Parts that NFC composes: accents, voiced sound marks, jamo. A name in NFD (macOS) looks as
        // another in NFC.
        '\u{300}'..='\u{36f}' | '\u{3099}' | '\u{309a}' | '\u{1100}'..='\u{11ff}' => true,
        // `std` escapes what is not printable: controls (Cc), formats (Cf), private and unassigned
        // code points, separators and all blanks but ' '. Marks are escaped at the beginning only.
        c => {
            let mut behind = String::from("-");
            behind.push(c);
            behind.escape_debug().count() > 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    // One or more of each class that a terminal or a page obeys or hides.
    const HIDDEN: &str = "\u{1b}[31m\r\n\t\u{7}\0\u{7f}\u{9b}\u{85}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2069}\
        \u{200e}\u{200f}\u{61c}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}\u{34f}\u{115f}\u{3164}\u{2028}\u{2029}\
        \u{a0}\u{3000}\u{2800}\u{fe0f}\u{e0100}\u{e0041}\u{e000}\u{fffe}\u{301}";

    fn hidden(text: &str) -> Vec<char> {
        text.chars().filter(|&c| is_hidden(c) || c.is_control()).collect()
    }

    #[test]
    fn nothing_hidden_is_left_in_any_format() {
        assert_eq!(hidden(HIDDEN).len(), HIDDEN.chars().count() - "[31m".len());
        let escapes: [fn(&str) -> String; 7] = [
            terminal,
            line,
            csv,
            markdown,
            html,
            |text| path(Path::new(text)),
            |text| shell(OsStr::new(text)),
        ];
        for escape in escapes {
            assert_eq!(hidden(&escape(HIDDEN)), []);
        }
        assert_eq!(hidden(&html_lines(HIDDEN)), ['\n', '\t']);
        let text = serde_json::to_string(HIDDEN).expect("a text");
        assert_eq!(hidden(&json(&text)), []);
        assert_eq!(serde_json::from_str::<String>(&json(&text)).expect("JSON"), HIDDEN);
    }

    #[test]
    fn words_of_any_language_stay() {
        for name in
            ["Frédéric", "名前", "हिन्दी", "ภาษาไทย", "עברית", "العربية", "🐝", "it's \"q\" µ×"]
        {
            assert_eq!(terminal(name), name);
        }
    }

    #[test]
    fn a_name_can_be_told_from_one_that_spells_its_escape() {
        assert_eq!(terminal("a\u{202e}b"), r"a\u{202e}b");
        assert_eq!(terminal(r"a\u{202e}b"), r"a\\u{202e}b");
        assert_eq!(terminal("Fre\u{301}"), r"Fre\u{301}");
        let bytes = OsStr::from_bytes(b"a\xffb\n");
        assert_eq!(path(Path::new(bytes)), r"a\xffb\n");
        assert_eq!(line(r"in a\nb: x"), r"in a\nb: x");
    }

    #[test]
    fn a_cell_is_no_formula_and_a_number_stays() {
        for formula in ["=1+1", "+x", "-x", "@SUM(A1)", "＝x"] {
            assert_eq!(csv(formula), format!("'{formula}"));
        }
        assert_eq!(csv("\t=x"), r"\t=x");
        assert_eq!(["-1.5", "1e-9", "a-b", ""].map(csv), ["-1.5", "1e-9", "a-b", ""]);
    }

    #[test]
    fn marks_of_markdown_and_html_are_words() {
        assert_eq!(markdown("Vec<u8> *d* a|b_c\\"), r"Vec\<u8\> \*d\* a\|b\_c\\\\");
        let urls = "https://a.b HTTP://a www.a.b mailto:a@b xmpp:a @name 4:3 a.b";
        let words = r"https\://a.b HTTP\://a www\.a.b mailto\:a\@b xmpp\:a \@name 4:3 a.b";
        assert_eq!(markdown(urls), words);
        assert_eq!(html("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
        assert_eq!(html_lines("a\\\n\tb<"), "a\\\n\tb&lt;");
    }

    #[test]
    fn a_shell_reads_the_word_back() {
        let words: [&[u8]; 7] = [
            b"plain-1.0_x",
            b"",
            b"it's $HOME `x` \"y\" ; rm *",
            b"a\nb'\\\x1b",
            b"\xff\xfe",
            "Fre\u{301}/\u{202e}".as_bytes(),
            "é名".as_bytes(),
        ];
        for word in words {
            let script = format!("printf %s {}", shell(OsStr::from_bytes(word)));
            let output = std::process::Command::new("bash").args(["-c", &script]).output();
            assert_eq!(output.expect("bash starts").stdout, word, "{script}");
        }
    }

    #[test]
    fn columns_are_counted_not_characters() {
        assert_eq!((columns("名前"), columns("é"), columns("🐝")), (4, 1, 2));
        assert_eq!(cut("名前名", 5), "名前…");
        assert_eq!((cut("abc", 3), cut("abcd", 3)), ("abc".to_owned(), "ab…".to_owned()));
        assert_eq!(fitting("a\u{202e}b", 8), "a", "its escape needs 8 columns itself");
    }

    #[test]
    fn the_middle_of_a_long_text_goes() {
        assert_eq!(elided("0123456789", 5, 10), "0123456789");
        let cuts = [0, 2, 4, 6, 9].map(|head| elided("0123456789", head, 7));
        assert_eq!(cuts, ["…456789", "01…6789", "0123…89", "012345…", "012345…"]);
        assert_eq!(elided("名前名前名前", 4, 9), "名前…名前");
        assert_eq!(elided("名前名前名前", 3, 8), "名…名前", "no character is halved");
        assert_eq!([0, 1].map(|most| elided("abc", 1, most)), ["…", "…"]);
    }

    #[test]
    fn a_long_text_is_broken_at_its_blanks() {
        let text = "a table  that is too wide is_a_nuisance_to_everybody who reads";
        assert_eq!(wrapped(text, 2, 100), text);
        assert_eq!(
            wrapped(text, 2, 12),
            "a table\n  that is\n  too wide\n  is_a_nuisance_to_everybody\n  who reads"
        );
        assert_eq!(wrapped("名前 名前 名", 0, 9), "名前 名前\n名");
        assert_eq!(wrapped("p50 1.0 ms, max 20.1 ms", 1, 20), "p50 1.0 ms, max\n 20.1 ms");
    }

    #[test]
    fn a_long_list_is_counted() {
        assert_eq!(some(&["a", "b"], ", "), "a, b");
        assert_eq!(some(&["x"; 1_000_000], "; "), "x; x; x; x; x; and 999995 more");
        let reasons = (0..500).map(|rank| (rank, if rank == 7 { "b" } else { "a" }.to_owned()));
        assert_eq!(by_reason(reasons), ["ranks 0, 1, 2, 3, 4, and 494 more: a", "rank 7: b"]);
    }
}
