//! `mpiswarm synthesize`.

use crate::escape;
use crate::manifest::{self, PeerInput, Workload};
use crate::store::available_bytes;

use super::args::SynthesizeArgs;
use super::{FAILED, OK, REFUSED, show, writable};

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
    let inputs = match made(args, &workload) {
        Ok(inputs) => inputs,
        Err(refusal) => {
            show::error(&refusal);
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

/// The inputs; an error where they can't be made, or the folder can't take them.
fn made(args: &SynthesizeArgs, workload: &Workload) -> Result<Vec<PeerInput>, String> {
    workload.check().map_err(|error| error.to_string())?;
    writable::folder(&args.dir)?;
    manifest::inputs_present(&args.dir, args.overwrite).map_err(|error| error.to_string())?;
    let (needed, available) = (workload.input_bytes(), available_bytes());
    if needed > available {
        return Err(format!(
            "the inputs need about {needed} bytes of memory, {available} are available: use fewer \
             --peers, --files or --segments"
        ));
    }
    manifest::synthesize(workload).map_err(|error| error.to_string())
}
