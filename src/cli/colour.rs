//! Where escape sequences may go.

use std::env;
use std::io::IsTerminal;

use clap::ColorChoice;

use super::launcher::Launcher;

/// Whether escape sequences may go there: to a terminal that knows them, unless `NO_COLOR` is set
/// (no-color.org).
pub(super) fn takes_escapes(stream: &impl IsTerminal) -> bool {
    !forbids_escapes() && stream.is_terminal()
}

/// Whether helps and wrong command lines have colours.
// `Auto` alone also colours a terminal of `TERM=dumb` where the variable `CI` is set.
pub(super) fn colour_of_helps() -> ColorChoice {
    if forbids_escapes() { ColorChoice::Never } else { ColorChoice::Auto }
}

// `mpirun` of Open MPI gives rank 0 a pseudo-terminal for stdout, whatever its own stdout is: a log, mostly.
fn forbids_escapes() -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_none_or(|name| name == "dumb");
    let is_rank = Launcher::of_this_process().is_some_and(|launcher| launcher.started_several());
    refused || is_dumb || is_rank
}
