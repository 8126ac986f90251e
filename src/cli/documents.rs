//! `mpiswarm completions` and `mpiswarm man`: what shells and `man` want to know, made from the command line itself.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use super::args::Args;
use super::{OK, REFUSED, show};

// What shells call the program.
const NAME: &str = "mpiswarm";

pub(super) fn completions(shell: Shell) -> u8 {
    let mut script = Vec::new();
    generate(shell, &mut Args::command(), NAME, &mut script);
    show::stream(|out| out.write_all(&script));
    OK
}

/// The page of the program, or of one of its commands.
pub(super) fn man(of: Option<&str>) -> u8 {
    let mut all = Args::command();
    // Only then the commands know their whole names.
    all.build();
    let page = match of {
        None => Some(all),
        Some(name) => all.find_subcommand(name).cloned(),
    };
    let Some(page) = page else {
        let name = crate::escape::terminal(of.unwrap_or_default());
        show::error(&format!("{name}: no such command: see mpiswarm --help"));
        return REFUSED;
    };
    show::stream(|out| Man::new(page).render(out));
    OK
}
