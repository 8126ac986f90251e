//! `mpiswarm manifest`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::args::ManifestArgs;
use super::selection_flags::Links;
use super::{FAILED, OK, REFUSED, show, writable};
use crate::escape;
use crate::spawn;
use crate::tree::{
    FileRoots, Layout, ListOptions, Manifest, StoredManifest, Torrent, TreeSource, list,
    roots_of_files,
};

/// What was listed, and hashed as far as it can be read.
struct Hashed {
    manifest: Manifest,
    layout: Layout,
    roots: FileRoots,
    unreadable: Vec<String>,
}

pub(super) fn manifest(args: &ManifestArgs) -> u8 {
    // Listing and hashing use it.
    if let Err(error) = spawn::common_pool() {
        show::error(&error.to_string());
        return REFUSED;
    }
    let hashed = match hashed(args) {
        Ok(hashed) => hashed,
        Err(refusals) => {
            refusals.iter().for_each(|refusal| show::error(refusal));
            return REFUSED;
        }
    };
    hashed.unreadable.iter().for_each(|one| show::error(one));
    let is_whole = hashed.unreadable.is_empty();
    let mut has_failed = !is_whole;
    let mut check = |path: &Path, written: Result<(), String>| {
        if let Err(cause) = written {
            show::error(&format!("{}: {cause}", escape::path(path)));
            has_failed = true;
        }
    };
    if let Some(path) = &args.torrent {
        check(path, write_torrent(path, &hashed));
    }
    let stored = StoredManifest { manifest: hashed.manifest, roots: hashed.roots.roots };
    match &args.out {
        Some(path) => check(path, stored.write_to(path).map_err(|cause| cause.to_string())),
        None if args.torrent.is_some() => {}
        None => show::stream(|out| stored.to_writer(out)),
    }
    if has_failed { FAILED } else { OK }
}

fn write_torrent(path: &Path, hashed: &Hashed) -> Result<(), String> {
    // Whoever fetches it would miss what could not be read, and nobody would tell.
    if !hashed.unreadable.is_empty() {
        return Err("not written, since not everything could be read".to_owned());
    }
    let torrent = Torrent::of(&hashed.manifest).map_err(|refusals| text(&refusals).join("; "))?;
    let written = torrent.write_to(path, &hashed.layout, &hashed.roots);
    written.map_err(|cause| cause.to_string())
}

fn text(refusals: &[impl ToString]) -> Vec<String> {
    refusals.iter().map(ToString::to_string).collect()
}

fn hashed(args: &ManifestArgs) -> Result<Hashed, Vec<String>> {
    let one = |refusal: String| vec![refusal];
    check_outputs(args).map_err(one)?;
    let selection = &args.selection.0;
    let follows_links = args.links == Links::Follow;
    let options = ListOptions {
        selection: Some(selection),
        follows_links,
        attributes: args.attributes.kept(),
        ..ListOptions::default()
    };
    let listed = list(&args.sources, &options).map_err(|refusal| one(refusal.to_string()))?;
    selection.check(&listed.manifest).map_err(one)?;
    listed.notes.iter().for_each(|note| show::note(note));
    let mut unreadable = listed.unreadable;
    let layout = Layout::new(&listed.manifest).map_err(|refusal| one(refusal.to_string()))?;
    if args.torrent.is_some() {
        Torrent::of(&listed.manifest).map_err(|refusals| text(&refusals))?;
    }
    let (manifest, layout) = (Arc::new(listed.manifest), Arc::new(layout));
    let source = TreeSource::open(&args.sources, Arc::clone(&manifest), Arc::clone(&layout));
    let source = source.map_err(|refusal| one(refusal.to_string()))?;
    let source = source.following_links(follows_links);
    let bar = show::bytes_bar(args.quiet, layout.bytes());
    let roots = roots_of_files(&source, &manifest, &layout, |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    drop(source);
    unreadable.extend(roots.errors.iter().map(ToString::to_string));
    let (manifest, layout) = (Arc::unwrap_or_clone(manifest), Arc::unwrap_or_clone(layout));
    Ok(Hashed { manifest, layout, roots, unreadable })
}

fn check_outputs(args: &ManifestArgs) -> Result<(), String> {
    for path in args.out.iter().chain(&args.torrent) {
        // The file is renamed into place: that would remove a pipe or a device.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(format!("{}: it is not a file: name another", escape::path(path)));
        }
        writable::file(path)?;
    }
    match (&args.out, &args.torrent) {
        (Some(out), Some(torrent)) if out == torrent => {
            let path = escape::path(out);
            Err(format!("{path}: named by --out and by --torrent: name two files"))
        }
        _ => Ok(()),
    }
}
