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
    /// How long nodes wait, 10ms to 86400s, such as silence=5s,request=500ms. KIND: `registration`, until all
    /// have registered; `silence`, for a sign of life; `request`, for a segment; `ask`, for the tracker
    /// [default: registration=60s,silence=60s,request=2s,ask=2s]
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
        let patience = [
            ("registration", config.registration_patience),
            ("silence", config.silence_patience),
            ("request", config.request_patience),
            ("ask", config.ask_patience),
        ];
        let patience = patience.map(|(kind, time)| format!("{kind}={}s", time.as_secs_f64()));
        [("--seed", self.seed.to_string()), ("--patience", patience.join(","))]
    }
}
