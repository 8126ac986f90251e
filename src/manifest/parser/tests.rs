use super::*;

fn refused(text: impl AsRef<[u8]>) -> String {
    PeerInput::parse(text.as_ref()).expect_err("the text breaks the grammar").to_string()
}

fn names(input: &PeerInput) -> Vec<&str> {
    input.owned.iter().map(|file| file.name.as_str()).collect()
}

#[test]
fn the_grammar_in_full() {
    let input = PeerInput::parse(b"2\nfile1 2\n00112233\nAABBccdd\nfile2 0\n2\nfile3\nfile4\n")
        .expect("the text keeps the grammar");
    assert_eq!(names(&input), ["file1", "file2"]);
    assert_eq!(input.owned[0].line, 2);
    assert_eq!(input.owned[0].hashes.iter().collect::<Vec<_>>(), ["00112233", "AABBccdd"]);
    assert_eq!(input.owned[1].line, 5);
    assert!(input.owned[1].hashes.is_empty());
    let wanted: Vec<_> = input.wanted.iter().map(FileName::as_str).collect();
    assert_eq!(wanted, ["file3", "file4"]);
    assert!(input.warnings.is_empty());
}

#[test]
fn a_peer_may_own_and_want_nothing() {
    assert_eq!(PeerInput::parse(b"0\n0\n").expect("valid"), PeerInput::default());
    assert_eq!(PeerInput::parse(b"0\n0").expect("valid"), PeerInput::default());
}

#[test]
fn layout_counts_for_nothing_but_line_numbers() {
    let input = PeerInput::parse(
        "\u{feff}\r\n 1 \r\n\t\r\n  two  words \t 1\t\r\n\r\n 00112233 \r\n1\r\n a b".as_bytes(),
    )
    .expect("the text keeps the grammar");
    assert_eq!(names(&input), ["two  words"]);
    assert_eq!(input.owned[0].line, 4);
    assert_eq!(input.owned[0].hashes.hash(0), "00112233");
    assert_eq!(input.wanted[0].as_str(), "a b");
}

#[test]
fn a_file_that_is_owned_and_wanted_is_a_warning() {
    let input =
        PeerInput::parse(b"1\nfile1 0\n2\nfile1\nfile2\n").expect("the text keeps the grammar");
    assert_eq!(input.warnings.len(), 1);
    assert_eq!((input.warnings[0].line, input.warnings[0].name.as_str()), (4, "file1"));
    assert_eq!(input.wanted.len(), 1);
}

#[test]
fn wrong_counts() {
    for (text, sentence) in [
        ("", "line 1: the file ends before the count of owned files"),
        ("\n\n", "line 2: the file ends before the count of owned files"),
        ("0\n", "line 1: the file ends before the count of wanted files"),
        ("1\nf 1\n00112233\n", "line 3: the file ends before the count of wanted files"),
        ("two\n0\n", "line 1: \"two\" is not a number: the count of owned files is expected"),
        ("0\n1.5\n", "line 2: \"1.5\" is not a number: the count of wanted files is expected"),
        ("1\nf x\n0\n", "line 2: \"x\" is not a number: a segment count is expected"),
        ("1\nf +1\n0\n", "line 2: \"+1\" is not a number: a segment count is expected"),
        ("-1\n0\n", "line 1: \"-1\" is negative: the count of owned files is expected"),
        ("1\nf -2\n0\n", "line 2: \"-2\" is negative: a segment count is expected"),
        (
            "4294967296\n",
            "line 1: \"4294967296\" is too large: the count of owned files is at most \
             4294967295",
        ),
        (
            "0\n99999999999999999999999\n",
            "line 2: \"99999999999999999999999\" is too large: the count of wanted files is at \
             most 4294967295",
        ),
    ] {
        assert_eq!(refused(text), sentence, "{text:?}");
    }
}

#[test]
fn counts_beyond_the_end() {
    for (text, sentence) in [
        ("4294967295\n", "line 1: announces 4294967295 owned files, but the file ends after 0"),
        ("2\nf 0\n", "line 1: announces 2 owned files, but the file ends after 1"),
        (
            "1\nf 4294967295\n00112233\n",
            "line 2: announces 4294967295 segments, but the file ends after 1",
        ),
        ("1\nf 1\n", "line 2: announces 1 segment, but the file ends after 0"),
        ("0\n\n3\na\nb\n", "line 3: announces 3 wanted files, but the file ends after 2"),
    ] {
        assert_eq!(refused(text), sentence, "{text:?}");
    }
}

#[test]
fn wrong_lines() {
    let length = "characters: an even number from 8 to 128 is expected";
    for (text, sentence) in [
        (
            "2\nf 0\n5\n",
            "line 3: \"5\" has no segment count: a name and a count are expected for owned \
             file 2 of 2"
                .to_owned(),
        ),
        ("1\nf 1\n0123456\n0\n", format!("line 3: a hash of 7 {length}")),
        ("1\nf 1\n012345678\n0\n", format!("line 3: a hash of 9 {length}")),
        (&format!("1\nf 1\n{}\n0\n", "0".repeat(130)), format!("line 3: a hash of 130 {length}")),
        ("1\nf 1\n7\n0\n", format!("line 3: a hash of 1 {}", length.replacen("s", "", 1))),
        (
            "2\nf 2\n00112233\ng 1\n",
            "line 4: \"g 1\" is not a hash: 'g' is not hexadecimal (segment 2 of 2, announced \
             on line 2)"
                .to_owned(),
        ),
        ("2\nf 0\nf 0\n0\n", "line 3: \"f\" is owned twice: line 2 has it already".to_owned()),
        ("0\n2\nf\nf\n", "line 4: \"f\" is wanted twice: line 3 has it already".to_owned()),
        ("1\na/b 0\n0\n", "line 2: \"a/b\": a file name may not contain '/'".to_owned()),
        ("0\n1\n..\n", "line 3: \"..\": a file name may not contain \"..\"".to_owned()),
        (
            "0\n1\nf\ng\n",
            "line 4: the file goes on with \"g\" after 1 wanted file: nothing more is announced"
                .to_owned(),
        ),
    ] {
        assert_eq!(refused(text), sentence, "{text:?}");
    }
}

#[test]
fn a_byte_outside_utf8_is_named_with_its_line() {
    assert_eq!(refused(b"0\n1\n\xff\n"), "line 3: the byte 0xff is not UTF-8");
    assert_eq!(refused(b"0\n1\nabc\xc3"), "line 3: the byte 0xc3 is not UTF-8");
}

#[test]
fn a_long_value_does_not_flood_the_message() {
    let message = refused(format!("0\n1\n{}\n", "/".repeat(10_000)));
    assert_eq!(
        message,
        format!(
            "line 3: \"{}\"…: a file name has at most 255 bytes, this one has 10000",
            "/".repeat(40)
        )
    );
}
