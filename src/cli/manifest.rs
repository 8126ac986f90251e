//! `mpiswarm manifest`.

use std::fs;
use std::sync::Arc;

use super::args::ManifestArgs;
use super::selection_flags::Links;
use super::{FAILED, OK, REFUSED, show, writable};
use crate::escape;
use crate::spawn;
use crate::tree::{Layout, ListOptions, StoredManifest, TreeSource, list, roots_of_files};

pub(super) fn manifest(args: &ManifestArgs) -> u8 {
    // Listing and hashing use it.
    if let Err(error) = spawn::common_pool() {
        show::error(&error.to_string());
        return REFUSED;
    }
    let (stored, unreadable) = match made(args) {
        Ok(made) => made,
        Err(refusal) => {
            show::error(&refusal);
            return REFUSED;
        }
    };
    unreadable.iter().for_each(|one| show::error(one));
    match &args.out {
        None => show::stream(|out| stored.to_writer(out)),
        Some(path) => {
            if let Err(cause) = stored.write_to(path) {
                show::error(&format!("{}: {cause}", escape::path(path)));
                return FAILED;
            }
        }
    }
    if unreadable.is_empty() { OK } else { FAILED }
}

/// The manifest, and what could not be read.
fn made(args: &ManifestArgs) -> Result<(StoredManifest, Vec<String>), String> {
    if let Some(path) = &args.out {
        // The file is renamed into place: that would remove a pipe or a device.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(format!("{}: it is not a file: name another", escape::path(path)));
        }
        writable::file(path)?;
    }
    let selection = &args.selection.0;
    let follows_links = args.links == Links::Follow;
    let options = ListOptions {
        selection: Some(selection),
        follows_links,
        attributes: args.attributes.kept(),
        ..ListOptions::default()
    };
    let listed = list(&args.sources, &options).map_err(|refusal| refusal.to_string())?;
    selection.check(&listed.manifest)?;
    listed.notes.iter().for_each(|note| show::note(note));
    let mut unreadable = listed.unreadable;
    let layout = Layout::new(&listed.manifest).map_err(|refusal| refusal.to_string())?;
    let (manifest, layout) = (Arc::new(listed.manifest), Arc::new(layout));
    let source = TreeSource::open(&args.sources, Arc::clone(&manifest), Arc::clone(&layout));
    let source = source.map_err(|refusal| refusal.to_string())?.following_links(follows_links);
    let bar = show::bytes_bar(layout.bytes());
    let hashed = roots_of_files(&source, &manifest, &layout, |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    drop(source);
    unreadable.extend(hashed.errors.iter().map(ToString::to_string));
    let manifest = Arc::unwrap_or_clone(manifest);
    Ok((StoredManifest { manifest, roots: hashed.roots }, unreadable))
}
