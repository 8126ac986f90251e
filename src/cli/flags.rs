//! The flags that override defaults of the lockfree engine, made from the list in `config`.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgMatches, Command, FromArgMatches};

use crate::config::{Choice, OVERRIDES, Override, Overrides, Values};

/// Where the help lists them.
pub(super) const HEADING: &str = "Choices of the lockfree engine";

/// [`Overrides`] as flags, one for each entry of [`OVERRIDES`].
#[derive(Clone, Debug, Default)]
pub(super) struct OverrideFlags(pub(super) Overrides);

/// Takes the words of a choice, and lists them with their help.
pub(super) fn choice<T: Choice + Send + Sync>() -> impl TypedValueParser<Value = T> {
    words(T::WORDS).try_map(|word| T::named(&word))
}

fn words(words: &'static [(&str, &str)]) -> PossibleValuesParser {
    let possible = |&(name, help): &(&'static str, &'static str)| {
        PossibleValue::new(name).help(help.trim().trim_end_matches('.'))
    };
    PossibleValuesParser::new(words.iter().map(possible))
}

fn flag(one: &Override) -> Arg {
    let range = match one.values {
        Values::Count(least, most) => format!(", {least} to {most}"),
        Values::Words(_) => String::new(),
    };
    let help = format!("{}{range} [default: {}]", one.help.trim(), (one.default)());
    let arg = Arg::new(one.name).long(one.flag).help(help).help_heading(HEADING);
    match one.values {
        Values::Count(least, most) => {
            let range = least as u64..=most as u64;
            arg.value_name("N").value_parser(clap::value_parser!(u64).range(range))
        }
        Values::Words(all) => arg.value_name("CHOICE").value_parser(words(all)),
    }
}

impl clap::Args for OverrideFlags {
    fn augment_args(command: Command) -> Command {
        OVERRIDES.iter().fold(command, |command, one| command.arg(flag(one)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OverrideFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |one: &Override| -> Option<serde_json::Value> {
            match one.values {
                Values::Count(..) => matches.get_one::<u64>(one.name).map(|&count| count.into()),
                Values::Words(_) => {
                    matches.get_one::<String>(one.name).map(|word| word.as_str().into())
                }
            }
        };
        let given = OVERRIDES.iter().filter_map(|one| Some((one.name.to_owned(), value(one)?)));
        let given = serde_json::Value::Object(given.collect());
        Ok(Self(serde_json::from_value(given).expect("each flag takes only what its field takes")))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
