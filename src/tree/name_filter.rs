//! Which names of the sources are taken.
//!
//! Patterns are those of `.gitignore`, and are matched against the path within a source. `*` and `?` match no
//! `/`, `**` does. A pattern without `/` matches a name at any depth, one with `/` at its beginning or in its
//! middle the whole path, and one that ends with `/` folders only. The last pattern that matches decides, and
//! what lies in a folder that is taken or left out is so too. Nothing in a folder that is left out is looked
//! at. What no pattern matches is taken, unless the first pattern includes: then it is left out, and so is a
//! folder in which nothing is taken.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::{Entry, EntryKind, Manifest, StoredManifest, TreePath};
use crate::escape;

/// What a pattern does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterRule {
    /// It is taken.
    Include,
    /// It is left out.
    Exclude,
}

/// A pattern, such as `*.safetensors` or `/checkpoints/`.
#[derive(Clone, Debug)]
pub struct Pattern {
    glob: Glob,
    text: String,
    folders_only: bool,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        let folders_only = text.ends_with('/');
        let inner = text.strip_suffix('/').unwrap_or(text);
        let anchored = inner.strip_prefix('/').unwrap_or(inner);
        let has_empty = anchored.split('/').any(str::is_empty);
        if has_empty || anchored.split('/').any(|name| name == "." || name == "..") {
            return Err(
                "use names and patterns with one `/` between them, without `.` and `..`".into()
            );
        }
        let is_anywhere = !inner.contains('/');
        let whole = if is_anywhere { format!("**/{anchored}") } else { anchored.to_owned() };
        let glob = GlobBuilder::new(&whole).literal_separator(true).build();
        let glob = glob.map_err(|error| {
            let cause = escape::line(&error.kind().to_string());
            format!("{cause}: write \\[, \\{{, \\* or \\? for the character itself")
        })?;
        Ok(Self { glob, text: text.to_owned(), folders_only })
    }
}

/// What becomes of a name. Of two filters the greater verdict counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterVerdict {
    /// It is taken.
    Taken,
    /// A folder that is taken if something in it is.
    Open,
    /// It is left out, with all that is in it.
    LeftOut,
}

/// Patterns, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub struct NameFilter {
    rules: Vec<(FilterRule, Pattern)>,
    set: GlobSet,
    /// What has to take a name, too.
    also: Option<Box<Self>>,
}

impl NameFilter {
    /// Takes the patterns.
    ///
    /// # Errors
    ///
    /// They are too large together.
    pub fn new(rules: Vec<(FilterRule, Pattern)>) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for (_, pattern) in &rules {
            set.add(pattern.glob.clone());
        }
        let set = set.build().map_err(|error| escape::line(&error.kind().to_string()))?;
        Ok(Self { rules, set, also: None })
    }

    /// Takes what both take.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        if !other.takes_all() {
            let also = self.also.take();
            let also = also.map_or_else(|| other.clone(), |also| also.and(other));
            self.also = Some(Box::new(also));
        }
        self
    }

    /// Whether everything is taken.
    pub fn takes_all(&self) -> bool {
        self.rules.is_empty() && self.also.as_ref().is_none_or(|also| also.takes_all())
    }

    /// The patterns as they are given on a command line.
    pub fn text(&self) -> String {
        let flag = |(rule, pattern): &(FilterRule, Pattern)| match rule {
            FilterRule::Include => format!("--include {}", pattern.text),
            FilterRule::Exclude => format!("--exclude {}", pattern.text),
        };
        self.rules.iter().map(flag).collect::<Vec<_>>().join(" ")
    }

    /// What becomes of a path below a source; of the source itself where the path is empty.
    pub fn verdict(&self, below_root: &[u8], is_folder: bool) -> FilterVerdict {
        let mine = self.own_verdict(below_root, is_folder);
        let also = self.also.as_ref().map(|also| also.verdict(below_root, is_folder));
        also.map_or(mine, |also| also.max(mine))
    }

    fn own_verdict(&self, below_root: &[u8], is_folder: bool) -> FilterVerdict {
        let is_open = self.rules.first().is_some_and(|(rule, _)| *rule == FilterRule::Include);
        let mut taken = !is_open;
        if below_root.is_empty() {
            return if taken { FilterVerdict::Taken } else { FilterVerdict::Open };
        }
        for end in memchr::memchr_iter(b'/', below_root).chain([below_root.len()]) {
            let is_folder = is_folder || end < below_root.len();
            match self.last_match(&below_root[..end], is_folder) {
                Some(FilterRule::Exclude) => return FilterVerdict::LeftOut,
                Some(FilterRule::Include) => taken = true,
                None => {}
            }
        }
        match (taken, is_folder) {
            (true, _) => FilterVerdict::Taken,
            (false, true) => FilterVerdict::Open,
            (false, false) => FilterVerdict::LeftOut,
        }
    }

    /// What becomes of an entry. A source that is a file is matched by its name.
    pub(super) fn verdict_of(&self, path: &TreePath, is_folder: bool) -> FilterVerdict {
        match path.below_root() {
            b"" if !is_folder => self.verdict(path.root(), false),
            below => self.verdict(below, is_folder),
        }
    }

    fn last_match(&self, path: &[u8], is_folder: bool) -> Option<FilterRule> {
        let matches = self.set.matches(OsStr::from_bytes(path));
        let mut rules = matches.into_iter().rev().filter_map(|index| self.rules.get(index));
        rules.find(|(_, pattern)| is_folder || !pattern.folders_only).map(|(rule, _)| *rule)
    }

    /// Which of the names of trees, in their order, are taken; folders in which nothing is taken are not.
    pub(super) fn taken<'a>(
        &self,
        names: impl DoubleEndedIterator<Item = (&'a TreePath, bool)>,
    ) -> Vec<bool> {
        // From the back, what is in a folder comes before it: right before it, if anything of it is taken.
        let mut last: Option<&TreePath> = None;
        let mut taken: Vec<bool> = names
            .rev()
            .map(|(path, is_folder)| {
                let is_taken = match self.verdict_of(path, is_folder) {
                    FilterVerdict::Taken => true,
                    FilterVerdict::LeftOut => false,
                    // A source stays, so that its name is there.
                    FilterVerdict::Open => {
                        path.parent().is_none() || last.is_some_and(|last| last.lies_in(path))
                    }
                };
                if is_taken {
                    last = Some(path);
                }
                is_taken
            })
            .collect();
        taken.reverse();
        taken
    }

    /// Whether a pattern takes anything of a manifest.
    pub fn takes_any(&self, manifest: &Manifest) -> bool {
        let verdict = |entry: &Entry| self.verdict_of(&entry.path, entry.kind == EntryKind::Folder);
        manifest.entries.iter().any(|entry| verdict(entry) == FilterVerdict::Taken)
    }

    /// Which entries of a manifest are taken, with the folders that they lie in.
    pub fn taken_of(&self, manifest: &Manifest) -> Vec<bool> {
        let entries = manifest.entries.iter();
        self.taken(entries.map(|entry| (&entry.path, entry.kind == EntryKind::Folder)))
    }

    /// Whether anything is left of what was listed.
    ///
    /// # Errors
    ///
    /// Nothing is: most likely a pattern is wrong.
    pub fn check(&self, manifest: &Manifest) -> Result<(), String> {
        let is_taken = |entry: &Entry| {
            let is_folder = entry.kind == EntryKind::Folder;
            entry.path.parent().is_some()
                || self.verdict_of(&entry.path, is_folder) == FilterVerdict::Taken
        };
        if self.takes_all() || manifest.entries.iter().any(is_taken) {
            return Ok(());
        }
        let flags = escape::line(&self.text());
        Err(format!("{flags}: nothing of the sources matches: use other patterns"))
    }

    /// What of a manifest is taken.
    pub fn of(&self, stored: StoredManifest) -> StoredManifest {
        if self.takes_all() {
            return stored;
        }
        stored.only(&self.taken_of(&stored.manifest))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn selection(flags: &str) -> NameFilter {
        let rules = flags.split_whitespace().map(|flag| {
            let rule =
                if flag.starts_with('+') { FilterRule::Include } else { FilterRule::Exclude };
            (rule, Pattern::new(&flag[1..]).expect("it is right"))
        });
        NameFilter::new(rules.collect()).expect("they are small")
    }

    #[test]
    fn patterns_match_as_those_of_gitignore() {
        let (file, folder) = (false, true);
        let cases: [(&str, &[u8], bool, FilterVerdict); 26] = [
            ("-*.o", b"a.o", file, FilterVerdict::LeftOut),
            ("-*.o", b"x/y/a.o", file, FilterVerdict::LeftOut),
            ("-*.o", b"x/y/a.c", file, FilterVerdict::Taken),
            ("-*.o", b"x.o/y/a.c", file, FilterVerdict::LeftOut),
            ("-x/*.o", b"x/a.o", file, FilterVerdict::LeftOut),
            ("-x/*.o", b"x/y/a.o", file, FilterVerdict::Taken),
            ("-x/*.o", b"z/x/a.o", file, FilterVerdict::Taken),
            ("-x/**", b"x/y/a.o", file, FilterVerdict::LeftOut),
            ("-x/**", b"x", folder, FilterVerdict::Taken),
            ("-/a", b"a", file, FilterVerdict::LeftOut),
            ("-/a", b"x/a", file, FilterVerdict::Taken),
            ("-a/", b"a", file, FilterVerdict::Taken),
            ("-a/", b"x/a", folder, FilterVerdict::LeftOut),
            ("-a/", b"x/a/b", file, FilterVerdict::LeftOut),
            ("-[ab]?", b"x/b\xff", file, FilterVerdict::LeftOut),
            ("-{a,b}.txt", b"b.txt", file, FilterVerdict::LeftOut),
            // The last one decides, and nothing comes back out of a folder that is left out.
            ("-*.o +b.o", b"x/b.o", file, FilterVerdict::Taken),
            ("+b.o -*.o", b"x/b.o", file, FilterVerdict::LeftOut),
            ("-x +b.o", b"x/b.o", file, FilterVerdict::LeftOut),
            ("-* +*/ +*.o", b"x/y/b.o", file, FilterVerdict::Taken),
            // The first one includes: the rest is left out.
            ("+*.o", b"x/a.c", file, FilterVerdict::LeftOut),
            ("+*.o", b"x", folder, FilterVerdict::Open),
            ("+*.o", b"", folder, FilterVerdict::Open),
            ("+x/ -*.c", b"x/y/a.o", file, FilterVerdict::Taken),
            ("+x/ -*.c", b"x/y/a.c", file, FilterVerdict::LeftOut),
            ("", b"x/a", file, FilterVerdict::Taken),
        ];
        for (flags, path, is_folder, verdict) in cases {
            let found = selection(flags).verdict(path, is_folder);
            assert_eq!(found, verdict, "{flags}: {}", String::from_utf8_lossy(path));
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "/", "//", "a//b", "../a", "./a", "a/.", "[a", "{a", "a\\"] {
            let said = Pattern::new(text).map(|_| ()).expect_err(text);
            assert!(said.contains("use names") || said.contains("write \\["), "{text}: {said}");
        }
    }
}
