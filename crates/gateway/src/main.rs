//! The `voxgate` program.

use std::process::ExitCode;

/// A request's memory is often freed by another thread: its records by their writer, its body by another
/// task. docs/explanation/performance.md has what this allocator saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    voxgate_gateway::main()
}
