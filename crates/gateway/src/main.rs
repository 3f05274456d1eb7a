//! The `voxgate` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    voxgate_gateway::main()
}
