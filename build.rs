//! Passes compiler, flags, target and source to the program, which writes them into its records.

#[path = "src/harness/environment/source_digest.rs"]
mod source_digest;

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=RUSTFLAGS");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\u{1f}', " ");
    let of = |name| env::var(name).unwrap_or_default();
    // Not the commit's own files: each commit would build everything again, though it changes nothing.
    let (digest, files) = source_digest::source_digest(Path::new(".")).unwrap_or_default();
    for file in files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let status = git(&["status", "--porcelain", "--untracked-files=no"]);
    let dirty = status.map(|status| (!status.is_empty()).to_string());
    println!("cargo::rustc-env=MPISWARM_COMPILER={}", version.unwrap_or_default());
    println!("cargo::rustc-env=MPISWARM_FLAGS={flags}");
    println!("cargo::rustc-env=MPISWARM_TARGET={}", of("TARGET"));
    println!("cargo::rustc-env=MPISWARM_PROFILE={}", of("PROFILE"));
    println!("cargo::rustc-env=MPISWARM_SOURCE={digest}");
    println!(
        "cargo::rustc-env=MPISWARM_COMMIT={}",
        git(&["rev-parse", "HEAD"]).unwrap_or_default()
    );
    println!("cargo::rustc-env=MPISWARM_DIRTY={}", dirty.unwrap_or_default());
}

/// The output of git in this tree; none without tree or git.
fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
