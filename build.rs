//! Passes compiler, flags and target to the program, which writes them into its records.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTFLAGS");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\u{1f}', " ");
    let of = |name| env::var(name).unwrap_or_default();
    println!("cargo::rustc-env=MPISWARM_COMPILER={}", version.unwrap_or_default());
    println!("cargo::rustc-env=MPISWARM_FLAGS={flags}");
    println!("cargo::rustc-env=MPISWARM_TARGET={}", of("TARGET"));
    println!("cargo::rustc-env=MPISWARM_PROFILE={}", of("PROFILE"));
}
