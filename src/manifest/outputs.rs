//! Does each finished file of a peer get a name of its own?

use std::collections::HashMap;

use super::quote::Quoted;
use super::{FileName, NodeId, ParseCause, ParseError, PeerInput};

impl PeerInput {
    /// Two wanted files whose copies would lie in one file: the name of one is what the other's is
    /// shortened to, or, where `digests` are written too, the name of its digests.
    pub fn clash(&self, peer: NodeId, digests: bool) -> Option<(&FileName, &FileName)> {
        // Names that are not shortened are as different as the wanted files: the usual case, without the
        // cost of a table.
        if !digests && !self.wanted.iter().any(|name| name.is_shortened_for(peer)) {
            return None;
        }
        let mut taken: HashMap<String, &FileName> = HashMap::new();
        self.wanted.iter().find_map(|name| {
            let outputs = [Some(name.output_name(peer)), digests.then(|| name.digests_name(peer))];
            let mut outputs = outputs.into_iter().flatten();
            outputs.find_map(|output| taken.insert(output, name)).map(|first| (first, name))
        })
    }

    /// Refuses a clash of shortened names, naming the line of the second in the text.
    pub(super) fn check_outputs(self, peer: NodeId, text: &[u8]) -> Result<Self, ParseError> {
        let Some((first, second)) = self.clash(peer, false) else { return Ok(self) };
        let text = String::from_utf8_lossy(text);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        // From the end: the wanted files are the last lines, and an owned file's header may look alike.
        let line_of = |name: &FileName| {
            lines.iter().rposition(|&line| line == name.as_str()).map_or(0, |place| place + 1)
        };
        let (name, first) = (Quoted::new(second.as_str()), line_of(first));
        Err(ParseError { line: line_of(second), cause: ParseCause::SameOutput { name, first } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanting(names: &[&str]) -> PeerInput {
        let text = format!("0\n{}\n{}\n", names.len(), names.join("\n"));
        PeerInput::parse(text.as_bytes()).expect("the text keeps the grammar")
    }

    #[test]
    fn a_name_that_another_is_shortened_to_is_refused_with_both_lines() {
        let long = "x".repeat(255);
        let name = FileName::parse(&long).expect("the name keeps the rules");
        let short = name.output_name(NodeId(1)).replace("client1_", "");
        for names in [[&long, &short], [&short, &long]] {
            let text = format!("0\n3\nother\n{}\r\n{}", names[0], names[1]);
            let input = PeerInput::parse(text.as_bytes()).expect("the text keeps the grammar");
            let error = input.clone().check_outputs(NodeId(1), text.as_bytes());
            let error = error.expect_err("both lie in one file").to_string();
            assert!(error.starts_with("line 5: \"xxx"), "{error}");
            assert!(error.ends_with("as line 4 asks for: long names are shortened"), "{error}");
            assert!(input.check_outputs(NodeId(23), text.as_bytes()).is_ok(), "for no other peer");
        }
    }

    #[test]
    fn a_file_named_like_the_digests_of_another_is_in_their_way() {
        let input = wanting(&["a", "b", "a.sha256"]);
        assert_eq!(input.clash(NodeId(1), false), None);
        let (first, second) = input.clash(NodeId(1), true).expect("both lie in one file");
        assert_eq!((first.as_str(), second.as_str()), ("a", "a.sha256"));
        assert_eq!(wanting(&["a", "b"]).clash(NodeId(1), true), None);
    }
}
