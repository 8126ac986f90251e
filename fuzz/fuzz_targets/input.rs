//! Whatever bytes come in, parsing does not panic; what parses is written and read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mpiswarm::manifest::PeerInput;

fuzz_target!(|bytes: &[u8]| {
    match PeerInput::parse(bytes) {
        Ok(input) => assert_reads_back(&input),
        Err(error) => {
            let lines = 1 + bytes.iter().filter(|&&byte| byte == b'\n').count();
            assert!((1..=lines).contains(&error.line), "line {} of {lines}", error.line);
            assert!(!error.to_string().chars().any(char::is_control), "{error}");
        }
    }
});

fn assert_reads_back(input: &PeerInput) {
    let mut text = Vec::new();
    input.write(&mut text).expect("a vector takes every byte");
    let again = PeerInput::parse(&text).expect("a written input keeps the grammar");
    assert!(again.same_files(input), "{input:?} came back as {again:?}");
    assert!(again.warnings.is_empty(), "{again:?}");
    let mut text_again = Vec::new();
    again.write(&mut text_again).expect("a vector takes every byte");
    assert_eq!(text, text_again);
}
