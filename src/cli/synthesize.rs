//! `mpiswarm synthesize`.

use crate::manifest::{self, Workload};

use super::args::SynthesizeArgs;
use super::{FAILED, OK, REFUSED, show};

pub(super) fn synthesize(args: &SynthesizeArgs) -> u8 {
    let workload = Workload {
        peers: args.peers.get(),
        files: args.files.get(),
        segments: args.segments.get(),
        owners: args.owners,
        wanted: args.wanted,
        popularity: args.popularity,
        seed: args.seed.get(),
    };
    let inputs = match manifest::synthesize(&workload) {
        Ok(inputs) => inputs,
        Err(error) => {
            show::error(&error.to_string());
            return REFUSED;
        }
    };
    if let Err(error) = manifest::write_all(&args.dir, &inputs, args.overwrite) {
        show::error(&error.to_string());
        return FAILED;
    }
    show::line(&format!("{} inputs in {}", inputs.len(), args.dir.display()));
    OK
}
