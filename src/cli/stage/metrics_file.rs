//! A file of metrics in the OpenMetrics text format 1.0, as the textfile collector of Prometheus' node exporter
//! reads it: whole at all times, since each write is a rename.

use std::fs;
use std::io;
use std::path::Path;

use super::super::stage_args::StageArgs;
use super::super::{show as terminal, writable};
use crate::escape;

/// Each metric, with its unit where it has one, and what it is.
// A unit is the end of the name, as the format demands.
const METRICS: [(&str, &str, &str); 14] = [
    ("running", "", "Whether the stage is under way."),
    ("success", "", "Whether every rank has everything."),
    ("elapsed_seconds", "seconds", "Time since the stage began."),
    ("ranks", "", "Ranks of the stage."),
    ("ranks_complete", "", "Ranks that have everything."),
    ("ranks_failed", "", "Ranks that have failed."),
    ("verified_bytes", "bytes", "Bytes verified at all destinations together."),
    ("wanted_bytes", "bytes", "Bytes wanted by all destinations together."),
    ("bytes_per_second", "", "Bytes verified in a second, on average."),
    ("tree_bytes", "bytes", "Bytes of the source."),
    ("moved_bytes", "bytes", "Bytes that ranks received from each other."),
    ("kept_bytes", "bytes", "Bytes that were there already."),
    ("resumed_bytes", "bytes", "Bytes that an interrupted run had written."),
    ("source_read_bytes", "bytes", "Bytes read from the source."),
];

/// Why nothing can be written there, if so; asked before the work.
pub(super) fn check(path: &Path) -> Result<(), String> {
    // A rename would remove a pipe or a device.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(format!("--metrics {}: it is not a file: name another", escape::path(path)));
    }
    writable::file(path)
}

/// Replaces the file by one with these gauges, each named as in the list above.
pub(super) fn write(path: &Path, gauges: &[(&str, f64)]) -> Result<(), String> {
    let failed = |cause: io::Error| format!("--metrics {}: {cause}", escape::path(path));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A collector reads `*.prom` alone, and no hidden file.
    let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = fs::write(&part, text(gauges)).and_then(|()| fs::rename(&part, path));
    written.map_err(|cause| {
        // If it stays, it is small and hidden.
        let _ = fs::remove_file(&part);
        failed(cause)
    })
}

/// A stage that its file of metrics, if there is one, says to run. When this is dropped the file says that the stage
/// failed, unless it ended.
#[must_use]
pub(super) struct StageRunning<'a>(Option<&'a Path>);

impl<'a> StageRunning<'a> {
    /// Rank 0 alone has the file, and of a dry run there is none.
    pub(super) fn begin(args: &'a StageArgs, rank: u32) -> Self {
        let running = Self(args.metrics.as_deref().filter(|_| rank == 0 && !args.dry_run));
        running.write(1.0);
        running
    }

    /// The file says how the stage ended.
    pub(super) fn end(mut self) {
        self.0 = None;
    }

    fn write(&self, running: f64) {
        let Some(path) = self.0 else { return };
        if let Err(refusal) = write(path, &[("running", running), ("success", 0.0)]) {
            terminal::error(&format!("warning: {refusal}"));
        }
    }
}

impl Drop for StageRunning<'_> {
    fn drop(&mut self) {
        self.write(0.0);
    }
}

fn text(gauges: &[(&str, f64)]) -> String {
    let mut text = String::new();
    for (name, unit, help) in METRICS {
        let Some((_, value)) = gauges.iter().find(|(given, _)| *given == name) else { continue };
        let name = format!("mpiswarm_stage_{name}");
        text += &format!("# TYPE {name} gauge\n");
        if !unit.is_empty() {
            text += &format!("# UNIT {name} {unit}\n");
        }
        text += &format!("# HELP {name} {help}\n{name} {value}\n");
    }
    text + "# EOF\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_each_metric_once_and_an_end() {
        let all = text(&[("ranks", 3.0), ("elapsed_seconds", 1.5)]);
        assert_eq!(
            all,
            "# TYPE mpiswarm_stage_elapsed_seconds gauge\n\
             # UNIT mpiswarm_stage_elapsed_seconds seconds\n\
             # HELP mpiswarm_stage_elapsed_seconds Time since the stage began.\n\
             mpiswarm_stage_elapsed_seconds 1.5\n\
             # TYPE mpiswarm_stage_ranks gauge\n\
             # HELP mpiswarm_stage_ranks Ranks of the stage.\n\
             mpiswarm_stage_ranks 3\n# EOF\n"
        );
    }
}
