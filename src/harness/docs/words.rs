//! The words of a mark.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words(BTreeMap<String, String>);

impl Words {
    /// `key=value key="several words"`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut words = BTreeMap::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let word = rest.split_whitespace().next().unwrap_or_default();
            let (key, after) = rest
                .split_once('=')
                .filter(|(key, _)| !key.contains(char::is_whitespace))
                .ok_or(format!("\"{word}\" is not key=value"))?;
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => {
                    quoted.split_once('"').ok_or(format!("{key}: a quote has no end"))?
                }
                None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
            };
            words.insert(key.to_owned(), value.to_owned());
            rest = after.trim_start();
        }
        Ok(Self(words))
    }

    /// These, and those of the others that have other keys.
    pub(super) fn or(&self, others: &Self) -> Self {
        let mut words = others.0.clone();
        words.extend(self.0.clone());
        Self(words)
    }

    pub(super) fn with(&self, key: &str, value: &str) -> Self {
        let mut words = self.0.clone();
        words.insert(key.to_owned(), value.to_owned());
        Self(words)
    }

    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(super) fn must(&self, key: &str) -> Result<&str, String> {
        self.value(key).ok_or_else(|| format!("add {key}= to this mark: it has {self}"))
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&words.join(" "))
    }
}
