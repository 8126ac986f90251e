//! The `mpiswarm` command.

fn main() -> std::process::ExitCode {
    mpiswarm::cli::main()
}
