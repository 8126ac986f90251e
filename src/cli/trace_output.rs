//! `--trace`: the file that a viewer opens.

use std::path::Path;

use super::{FAILED, REFUSED, show};
use crate::escape;
use crate::metrics::trace::TraceLog;
use crate::report::trace_file::TraceFile;

/// Writes the trace of `ranks` ranks, where one was asked for, and returns the exit code: `code`, unless that
/// fails. After a lost rank there is none, since nobody can be asked any more.
pub(super) fn write(
    (path, log): (Option<&Path>, Option<&TraceLog>),
    (ranks, one_clock): (usize, bool),
    is_broken: bool,
    code: u8,
) -> u8 {
    let Some((path, log)) = path.zip(log).filter(|_| code != REFUSED) else { return code };
    let shown = escape::path(path);
    if is_broken {
        show::error(&format!(
            "--trace {shown}: not written: a rank is lost, and the others can't be asked"
        ));
        return FAILED;
    }
    let traces = log.take();
    let lacking = ranks.saturating_sub(traces.len());
    if traces.is_empty() {
        show::note(&format!("note: --trace {shown}: it is empty, since nothing was moved"));
    } else if lacking > 0 {
        show::error(&format!("--trace {shown}: {lacking} of {ranks} ranks sent no trace"));
    }
    let written = TraceFile { ranks: &traces, one_clock, about: &[] }.write(path);
    match written {
        Ok(()) if traces.is_empty() || lacking == 0 => code,
        Ok(()) => FAILED,
        Err(cause) => {
            show::error(&format!("--trace {shown}: {cause}"));
            FAILED
        }
    }
}
