//! What `stage --dry-run` says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::stage_args::StageArgs;
use super::super::{FAILED, OK, show as terminal};
use super::staged_tree::StagedTree;
use crate::escape;
use crate::report::units::{count, size};
use crate::tree::{DryRun, DryRunOptions, EntryTally, Manifest, dry_run};

// It grows when a field of the JSON changes its meaning or is removed, so that old readers refuse it.
const SCHEMA: u32 = 1;

/// Names of each kind that a text shows.
// A screenful for all four.
const SHOWN_MAX: usize = 8;

/// What a rank would do to its folders.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NodeDryRun {
    rank: u32,
    host: String,
    /// The rank that would write the same folder for this one.
    written_by: Option<u32>,
    /// Each folder that it would write, with what would be done, or why nothing could be.
    dirs: Vec<(String, Result<DryRun, String>)>,
}

impl NodeDryRun {
    /// Looks at the folders that a rank would write.
    pub(super) fn of(
        args: &StageArgs,
        (rank, host): (u32, &str),
        (dirs, written_by): (&[PathBuf], Option<u32>),
        tree: &StagedTree,
    ) -> Self {
        let digests = tree.part.pick(&tree.digests);
        let options = DryRunOptions {
            mkdir: args.mkdir,
            // What could not be listed looks as if the source had it not.
            delete: args.delete && tree.is_whole,
            selection: &tree.selection,
            digests: &digests,
            names_max: if args.shared.json { usize::MAX } else { SHOWN_MAX },
        };
        let look = |dir: &PathBuf| {
            let result = dry_run(dir, (&tree.part.manifest, &tree.part.layout), &options);
            (escape::path(dir), result.map_err(|error| error.to_string()))
        };
        let dirs = dirs.iter().map(look).collect();
        Self { rank, host: host.to_owned(), written_by, dirs }
    }

    /// Plain data that has at most so many bytes: where there are more, names are left out.
    #[cfg(feature = "mpi")]
    pub(super) fn encoded(mut self, bytes_max: usize) -> Vec<u8> {
        loop {
            let bytes = postcard::to_allocvec(&self).expect("plain data can be serialized");
            let tallies = self.dirs.iter_mut().filter_map(|(_, result)| result.as_mut().ok());
            let tallies = tallies.flat_map(|DryRun { sent, replaced, kept, deleted, .. }| {
                [sent, replaced, kept, deleted]
            });
            let mut names: Vec<_> = tallies.map(|tally| &mut tally.names).collect();
            if bytes.len() <= bytes_max || names.iter().all(|names| names.is_empty()) {
                return bytes;
            }
            names.iter_mut().for_each(|names| names.truncate(names.len() / 2));
        }
    }

    fn json(&self) -> serde_json::Value {
        let dirs = self.dirs.iter().map(|(dir, result)| match result {
            Ok(run) => json!({
                "dir": dir,
                "moved_bytes": run.moved_bytes,
                "sent": tally_json(&run.sent),
                "replaced": tally_json(&run.replaced),
                "kept": tally_json(&run.kept),
                "deleted": tally_json(&run.deleted),
            }),
            Err(reason) => json!({ "dir": dir, "reason": reason }),
        });
        json!({
            "rank": self.rank,
            "host": self.host,
            "written_by": self.written_by,
            "destinations": dirs.collect::<Vec<_>>(),
        })
    }
}

fn tally_json(tally: &EntryTally) -> serde_json::Value {
    let names = tally.names.iter().map(|name| name.as_os_str().to_string_lossy());
    json!({
        "entries": tally.entries,
        "bytes": tally.bytes,
        "names": names.collect::<Vec<_>>(),
    })
}

/// Prints what all ranks would do; returns the exit code.
pub(super) fn print(
    args: &StageArgs,
    (manifest, is_whole): (&Manifest, bool),
    nodes: &[NodeDryRun],
) -> u8 {
    let problems: Vec<String> = nodes
        .iter()
        .flat_map(|node| node.dirs.iter().map(move |(_, result)| (node, result)))
        .filter_map(|(node, result)| {
            let reason = result.as_ref().err()?;
            Some(format!("{} (rank {}): {reason}", escape::terminal(&node.host), node.rank))
        })
        .collect();
    let could_all = problems.is_empty() && is_whole;
    terminal::errors(problems.into_iter());
    if args.shared.json {
        let nodes: Vec<_> = nodes.iter().map(NodeDryRun::json).collect();
        let object = json!({
            "schema": SCHEMA,
            "dry_run": true,
            "bytes_total": manifest.bytes(),
            "nodes": nodes,
        });
        terminal::line(&escape::json(&object.to_string()));
    } else if !args.shared.quiet {
        terminal::text(&text(nodes));
    }
    if could_all { OK } else { FAILED }
}

/// Most nodes have the same: each text comes once, with the folders that it is true of.
fn text(nodes: &[NodeDryRun]) -> String {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in nodes {
        for (dir, result) in &node.dirs {
            let Ok(run) = result else { continue };
            let place = format!("{dir} on {}", escape::terminal(&node.host));
            places.entry(run_text(run)).or_default().push(place);
        }
    }
    let all: String = places
        .iter()
        .map(|(text, places)| format!("{}:\n{text}", escape::some(places, ", ")))
        .collect();
    all + "dry run: nothing was written\n"
}

fn run_text(run: &DryRun) -> String {
    let DryRun { sent, replaced, kept, deleted, moved_bytes } = run;
    let mut text = String::new();
    // What stays is only counted.
    for (tally, what, is_named) in [
        (sent, "send", true),
        (replaced, "replace", true),
        (kept, "keep", false),
        (deleted, "delete", true),
    ] {
        let entries = count(tally.entries, "name");
        text += &format!("  {what} {entries}, {}\n", size(tally.bytes as f64));
        if !is_named {
            continue;
        }
        let shown = tally.names.len().min(SHOWN_MAX);
        for name in &tally.names[..shown] {
            text += &format!("    {name}\n");
        }
        if tally.entries > shown as u64 {
            text += &format!("    and {} more (--json names all)\n", tally.entries - shown as u64);
        }
    }
    text + &format!("  fetch {} in segments\n", size(*moved_bytes as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TreePath;

    fn run(names: usize) -> DryRun {
        let path = TreePath::new(*b"tree/a").expect("a path");
        let sent = EntryTally { entries: 20, bytes: 2048, names: vec![path; names] };
        DryRun { sent, moved_bytes: 4096, ..DryRun::default() }
    }

    fn node(rank: u32, run: &DryRun) -> NodeDryRun {
        let dirs = vec![("/to".to_owned(), Ok(run.clone()))];
        NodeDryRun { rank, host: format!("n{rank}"), written_by: None, dirs }
    }

    #[test]
    fn equal_nodes_are_told_once_and_long_lists_are_cut() {
        let nodes = [node(0, &run(8)), node(1, &run(8))];
        insta::assert_snapshot!(text(&nodes));
    }

    #[cfg(feature = "mpi")]
    #[test]
    fn a_rank_leaves_names_out_before_it_says_too_much() {
        let bytes = node(0, &run(20)).encoded(80);
        assert!(bytes.len() <= 80);
        let back: NodeDryRun = postcard::from_bytes(&bytes).expect("its own bytes");
        let Ok(run) = &back.dirs[0].1 else { panic!("it was right") };
        assert_eq!((run.sent.entries, run.sent.names.len()), (20, 5));
    }
}
