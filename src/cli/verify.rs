//! `mpiswarm verify`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::slice;

use super::launcher::Launcher;
use super::selection_flags::OnlyPattern;
use super::stage::host_name;
use super::verify_args::VerifyArgs;
use super::{FAILED, OK, REFUSED, show};
use crate::escape;
use crate::spawn;
use crate::tree::{
    Entry, EntryKind, NameFilter, StoredManifest, TreeDifference, manifest_file_name, verify_tree,
};

// The folder beside staged trees that holds their manifests.
const STATE: &str = ".mpiswarm";

// How many differences are shown unless all are asked for.
// A screenful: a wrong option in a copy differs in every file.
const SHOWN_MAX: usize = 20;

/// Where a source of a manifest lies.
struct Staged<'a> {
    place: PathBuf,
    stored: &'a StoredManifest,
    root: Vec<u8>,
}

pub(super) fn verify(args: &VerifyArgs) -> u8 {
    // Listing and hashing use it.
    if let Err(error) = spawn::common_pool() {
        show::error(&error.to_string());
        return REFUSED;
    }
    verified(args).unwrap_or_else(|refusal| {
        show::error(&refusal);
        REFUSED
    })
}

fn verified(args: &VerifyArgs) -> Result<u8, String> {
    let stored: Vec<StoredManifest> = manifests(args)?
        .iter()
        .map(|path| StoredManifest::read(path).map_err(|refusal| refusal.to_string()))
        .collect::<Result<_, String>>()?;
    let selection = args.selection.0.clone().and(&only(args, &stored)?);
    let stored: Vec<_> = stored.into_iter().map(|stored| selection.of(stored)).collect();
    let pairs = pairs(&args.dir, &stored)?;
    // Sparse files may have 2^63 bytes each.
    let bytes = stored.iter().map(|stored| stored.manifest.bytes()).fold(0, u64::saturating_add);
    let bar = show::bytes_bar(args.quiet, bytes);
    let mut differences = Vec::new();
    for Staged { place, stored, root } in &pairs {
        let found = verify_tree(place, stored, root, &selection, |bytes| bar.inc(bytes));
        differences.extend(found.map_err(|refusal| refusal.to_string())?);
    }
    bar.finish_and_clear();
    let entries = stored.iter().map(|stored| stored.manifest.entries.len()).sum();
    if args.json {
        show::line(&json(&args.dir, entries, &differences));
    } else if !args.quiet {
        show::text(&text(args, entries, &differences));
    }
    Ok(if differences.is_empty() { OK } else { FAILED })
}

/// What `--only` takes of these manifests on this node.
fn only(args: &VerifyArgs, stored: &[StoredManifest]) -> Result<NameFilter, String> {
    let rank = Launcher::of_this_process().and_then(|launcher| launcher.rank).unwrap_or(0);
    let me = [(rank, host_name())];
    for only in &args.only {
        let filter = OnlyPattern::filter(slice::from_ref(only), &me)?;
        // Another rank may take what this one does not.
        if only.is_fixed() && !stored.iter().any(|stored| filter.takes_any(&stored.manifest)) {
            return Err(format!("{only}: nothing of the manifest matches: use another pattern"));
        }
    }
    let filter = OnlyPattern::filter(&args.only, &me)?;
    let takes_any = |filter: &NameFilter| stored.iter().any(|one| filter.takes_any(&one.manifest));
    if !args.only.is_empty() && !takes_any(&filter) {
        // Where this rank took nothing, its own manifest has nothing that tells a wrong pattern.
        let is_file = |entry: &Entry| entry.kind != EntryKind::Folder;
        let has_files = stored.iter().any(|one| one.manifest.entries.iter().any(is_file));
        if has_files && !takes_any(&OnlyPattern::filter_of_any_rank(&args.only)?) {
            let all: Vec<String> = args.only.iter().map(ToString::to_string).collect();
            let all = all.join(" ");
            return Err(format!(
                "{all}: nothing of the manifest matches for any rank: use another pattern"
            ));
        }
        show::note(&format!(
            "note: --only takes nothing of the manifest on rank {rank}: no file was compared"
        ));
    }
    Ok(filter)
}

/// The manifest files of what is to be compared.
fn manifests(args: &VerifyArgs) -> Result<Vec<PathBuf>, String> {
    if let Some(path) = &args.manifest {
        return Ok(vec![path.clone()]);
    }
    let dir = &args.dir;
    let failed = |cause| format!("{}: {cause}", escape::path(dir));
    // A tree that was staged may hold a folder of that name, too: first its own manifest counts.
    let real = fs::canonicalize(dir).map_err(failed)?;
    let name = dir.file_name().or(real.file_name());
    let parent = if dir.file_name().is_some() { dir.parent() } else { real.parent() };
    if let (Some(name), Some(parent)) = (name, parent) {
        let file = manifest_file_name(name.as_bytes());
        let path = parent.join(STATE).join(OsStr::from_bytes(&file));
        if path.is_file() {
            return Ok(vec![path]);
        }
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(dir.join(STATE)).into_iter().flatten() {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "manifest") {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(format!(
            "{}: nothing was staged here: name its manifest (--manifest FILE)",
            escape::path(dir)
        ));
    }
    Ok(found)
}

/// Where each source of each manifest lies: `dir` is the folder that they were staged to, or the only one.
fn pairs<'a>(dir: &Path, manifests: &'a [StoredManifest]) -> Result<Vec<Staged<'a>>, String> {
    let real = fs::canonicalize(dir).map_err(|cause| format!("{}: {cause}", escape::path(dir)))?;
    let name = dir.file_name().or(real.file_name()).unwrap_or_default();
    let mut pairs = Vec::new();
    for stored in manifests {
        let roots = stored.manifest.roots();
        for root in &roots {
            let below = dir.join(OsStr::from_bytes(root));
            // A tree that stands alone may have another name by now.
            let is_alone = manifests.len() == 1 && roots.len() == 1;
            let is_dir =
                is_alone && (name.as_bytes() == *root || below.symlink_metadata().is_err());
            // Whoever writes a link to a tree means the tree.
            let place = if is_dir { real.clone() } else { below };
            pairs.push(Staged { place, stored, root: root.to_vec() });
        }
    }
    Ok(pairs)
}

fn text(args: &VerifyArgs, entries: usize, differences: &[TreeDifference]) -> String {
    let shown = if args.all { differences.len() } else { SHOWN_MAX.min(differences.len()) };
    let mut text: String = differences[..shown]
        .iter()
        .map(|one| format!("{}\n", escape::line(&one.to_string())))
        .collect();
    if shown < differences.len() {
        text += &format!("and {} more (--all shows them)\n", differences.len() - shown);
    }
    let dir = escape::path(&args.dir);
    text + &match differences.len() {
        0 => format!("{dir}: {entries} entries, all as in the manifest\n"),
        1 => format!("{dir}: {entries} entries, 1 difference\n"),
        count => format!("{dir}: {entries} entries, {count} differences\n"),
    }
}

fn json(dir: &Path, entries: usize, differences: &[TreeDifference]) -> String {
    let differences: Vec<_> = differences
        .iter()
        .map(|one| {
            let TreeDifference { path, what, expected, found } = one;
            let path = path.as_os_str().to_string_lossy();
            serde_json::json!({ "path": path, "what": what, "expected": expected, "found": found })
        })
        .collect();
    let object = serde_json::json!({
        "dir": dir.to_string_lossy(),
        "entries": entries,
        "same": differences.is_empty(),
        "differences": differences,
    });
    escape::json(&object.to_string())
}
