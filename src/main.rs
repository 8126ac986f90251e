//! The `mpiswarm` command.

fn main() {}
