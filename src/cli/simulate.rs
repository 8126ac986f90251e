//! `mpiswarm simulate`.

use super::args::SimulateArgs;
use super::{FAILED, OK, REFUSED, show};
use crate::escape;
use crate::harness::scale_study;
use crate::report::scaling;

pub(super) fn simulate(args: &SimulateArgs) -> u8 {
    if args.segment_bytes == 0 {
        show::error("--segment-bytes: a segment of 0 bytes takes no time: use 1 or more");
        return REFUSED;
    }
    let study = args.study();
    let mut runs = Vec::new();
    for &rates in &args.rates {
        for &peers in &args.peers {
            show::note(&format!("{peers} peers, links {rates}"));
            runs.push(study.run(peers, rates));
        }
    }
    show::text(&scaling::table(&runs));
    let Some(out) = &args.out else { return OK };
    match scale_study::write(out, &runs) {
        Ok(()) => OK,
        Err(error) => {
            show::error(&format!("{}: {error}", escape::path(out)));
            FAILED
        }
    }
}
