//! `mpiswarm synthesize`.

use crate::escape;
use crate::manifest::{self, Workload};

use super::args::SynthesizeArgs;
use super::{FAILED, OK, REFUSED, show};

pub(super) fn synthesize(args: &SynthesizeArgs) -> u8 {
    let workload = Workload {
        peers: args.peers,
        files: args.files,
        segments: args.segments,
        owners: args.owners,
        wanted: args.wanted,
        popularity: args.popularity,
        seed: args.seed,
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
    show::line(&format!("{} inputs in {}", inputs.len(), escape::path(&args.dir)));
    OK
}
