//! `--include` and `--exclude`: their order counts, so that they are read together.

use std::fmt::{self, Display};

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use crate::escape;
use crate::tree::{FilterRule, KeptAttributes, NameFilter, Pattern};

/// Each flag with what it does, and its help.
const FLAGS: [(&str, FilterRule, &str); 2] = [
    (
        "include",
        FilterRule::Include,
        "Take what matches. Patterns are those of .gitignore, within a SRC; the last --include or --exclude \
         that matches decides. If the first of them is an --include, what none matches is left out. May be \
         given several times",
    ),
    (
        "exclude",
        FilterRule::Exclude,
        "Leave out what matches; of a folder all that is in it, which no --include brings back. --delete \
         leaves it alone, too, except in a folder that SRC has no longer. May be given several times",
    ),
];

/// What becomes of symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Links {
    /// They stay links, wherever they lead.
    Copy,
    /// They become what they lead to; one that leads nowhere, or back, is an error, and the rest goes on.
    Follow,
}

/// What is kept of files and folders beside mode and time.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct AttributeFlags {
    /// Keep user and group, by number; whoever writes must be root
    #[arg(long)]
    pub(super) owner: bool,
    /// Keep extended attributes of users (user.*)
    #[arg(long)]
    pub(super) xattrs: bool,
}

impl AttributeFlags {
    pub(super) fn kept(self) -> KeptAttributes {
        KeptAttributes { owner: self.owner, xattrs: self.xattrs }
    }
}

/// A pattern of `--only`, which each rank fills in.
#[derive(Clone, Debug)]
pub(super) struct OnlyPattern(String);

impl OnlyPattern {
    /// Whether it is a pattern once it is filled in.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let pattern = Self(text.to_owned());
        pattern.filled(0, "host").map(|_| pattern)
    }

    /// The pattern of a rank.
    pub(super) fn filled(&self, rank: u32, host: &str) -> Result<Pattern, String> {
        let text = self.0.replace("{rank}", &rank.to_string());
        Pattern::new(&text.replace("{host}", &globset::escape(host)))
    }

    /// What all of them take on these ranks together.
    pub(super) fn filter(all: &[Self], ranks: &[(u32, String)]) -> Result<NameFilter, String> {
        let pairs = ranks.iter().flat_map(|rank| all.iter().map(move |only| (rank, only)));
        let patterns = pairs.map(|((rank, host), only)| {
            only.filled(*rank, host).map_err(|cause| format!("{only}: {cause}"))
        });
        Self::filter_by(patterns)
    }

    /// What any of them may take on any rank of any host, and perhaps more.
    pub(super) fn filter_of_any_rank(all: &[Self]) -> Result<NameFilter, String> {
        let patterns = all.iter().map(|only| {
            let text = only.0.replace("{rank}", "[0-9]*").replace("{host}", "*");
            Pattern::new(&text).map_err(|cause| format!("{only}: {cause}"))
        });
        Self::filter_by(patterns)
    }

    fn filter_by(
        patterns: impl Iterator<Item = Result<Pattern, String>>,
    ) -> Result<NameFilter, String> {
        let rules = patterns.map(|pattern| Ok((FilterRule::Include, pattern?)));
        NameFilter::new(rules.collect::<Result<_, String>>()?)
            .map_err(|cause| format!("--only: {cause}: use fewer or shorter patterns"))
    }

    /// Whether it is the same on all ranks.
    pub(super) fn is_fixed(&self) -> bool {
        !["{rank}", "{host}"].iter().any(|place| self.0.contains(place))
    }

    /// All of them, as they were given.
    #[cfg(feature = "mpi")]
    pub(super) fn texts(all: &[Self]) -> String {
        all.iter().map(|pattern| &*pattern.0).collect::<Vec<_>>().join(" ")
    }
}

impl Display for OnlyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--only {}", escape::line(&self.0))
    }
}

/// A [`NameFilter`] as flags.
#[derive(Clone, Debug, Default)]
pub(super) struct SelectionFlags(pub(super) NameFilter);

impl Args for SelectionFlags {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command, |command, &(name, _, help)| {
            let arg = Arg::new(name).long(name).value_name("GLOB").action(ArgAction::Append);
            command.arg(arg.help(help).value_parser(ValueParser::new(Pattern::new)))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SelectionFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut rules = Vec::new();
        for (name, rule, _) in FLAGS {
            let places = matches.indices_of(name).into_iter().flatten();
            let patterns = matches.get_many::<Pattern>(name).into_iter().flatten();
            rules.extend(places.zip(patterns.map(|pattern| (rule, pattern.clone()))));
        }
        rules.sort_by_key(|(place, _)| *place);
        let rules = rules.into_iter().map(|(_, rule)| rule).collect();
        let selection = NameFilter::new(rules).map_err(|cause| {
            let text = format!("--include and --exclude: {cause}: use fewer or shorter patterns\n");
            clap::Error::raw(ErrorKind::ValueValidation, text)
        });
        Ok(Self(selection?))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
