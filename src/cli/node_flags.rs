//! What every command that starts nodes takes.

use clap::Args as ClapArgs;

use super::patience::Patience;
use super::via::Via;
use crate::config::Config;
use crate::config::ranges::Seed;

/// The flags that `run` and `stage` share.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct NodeFlags {
    /// Seed of all random choices
    #[arg(long, value_name = "N", default_value_t)]
    pub(super) seed: Seed,
    /// How messages and segments travel
    #[arg(long, value_enum, default_value_t = Via::Auto)]
    pub(super) transport: Via,
    /// Time-outs, each 10ms to 24h, such as silence=5s,request=500ms: `registration` of all ranks,
    /// `silence` of a rank before it counts as lost, `request` for a segment, `ask` of the tracker
    /// [default: registration=600s,silence=60s,request=2s,ask=2s]
    #[arg(long, value_name = "KIND=TIME", value_delimiter = ',')]
    patience: Vec<Patience>,
    /// Print the summary as one JSON object, and nothing else, to stdout
    #[arg(long)]
    pub(super) json: bool,
    /// Show no progress and no summary
    #[arg(long)]
    pub(super) quiet: bool,
}

impl NodeFlags {
    /// Sets how long nodes wait.
    pub(super) fn apply(&self, config: &mut Config) {
        self.patience.iter().for_each(|patience| patience.apply(config));
    }

    /// Those in which all ranks must agree, each with its value; `config` has been applied to.
    #[cfg(feature = "mpi")]
    pub(super) fn agreed(&self, config: &Config) -> [(&'static str, String); 2] {
        [("--seed", self.seed.to_string()), ("--patience", patience(config))]
    }
}

/// All of a configuration's waits, as `--patience` takes them.
#[cfg(any(feature = "mpi", test))]
fn patience(config: &Config) -> String {
    let all = [
        ("registration", config.registration_patience),
        ("silence", config.silence_patience),
        ("request", config.request_patience),
        ("ask", config.ask_patience),
    ];
    all.map(|(kind, time)| format!("{kind}={}s", time.as_secs_f64())).join(",")
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::*;

    #[test]
    fn the_help_states_the_default_patience() {
        let help = NodeFlags::augment_args(Command::new("any")).render_long_help().to_string();
        for has_links in [false, true] {
            let stated = format!("[default: {}]", patience(&Config::defaults(1024, has_links)));
            assert!(help.contains(&stated), "{stated} is not in: {help}");
        }
    }
}
