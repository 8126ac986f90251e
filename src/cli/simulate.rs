//! `mpiswarm simulate`.

use super::args::SimulateArgs;
use super::{FAILED, OK, REFUSED, show, writable};
use crate::escape;
use crate::harness::scale_study;
use crate::report::compare::html::scaling;

pub(super) fn simulate(args: &SimulateArgs) -> u8 {
    match simulated(args) {
        Ok(code) => code,
        Err(refusal) => {
            show::error(&refusal);
            REFUSED
        }
    }
}

fn simulated(args: &SimulateArgs) -> Result<u8, String> {
    let study = args.study();
    let peers = || args.peers.iter().map(|peers| peers.get());
    for peers in peers() {
        for &decide in &args.decide {
            study.check(peers, decide).map_err(|refusal| refusal.to_string())?;
        }
    }
    if let Some(out) = &args.out {
        writable::folder(out)?;
    }
    let mut runs = Vec::new();
    for &decide in &args.decide {
        for &rates in &args.rates {
            for peers in peers() {
                if !args.quiet {
                    show::note(&format!("{peers} peers, links {rates}, --decide {decide}"));
                }
                match study.run(peers, rates, decide) {
                    Ok(run) => {
                        if run.missing_of_rest > 0 {
                            let missing = run.missing_of_rest;
                            show::error(&format!(
                                "{peers} peers: those that did not vanish lack {missing} segments"
                            ));
                        }
                        runs.push(run);
                    }
                    Err(error) => show::error(&error.to_string()),
                }
            }
        }
    }
    let all = args.decide.len() * args.rates.len() * args.peers.len();
    show::text(&scaling::table(&runs, show::screen(args.wide)));
    let mut is_whole = runs.len() == all && runs.iter().all(|run| run.missing_of_rest == 0);
    if let Some(out) = &args.out
        && let Err(error) = scale_study::write(out, &runs)
    {
        show::error(&format!("{}: {error}", escape::path(out)));
        is_whole = false;
    }
    Ok(if is_whole { OK } else { FAILED })
}
