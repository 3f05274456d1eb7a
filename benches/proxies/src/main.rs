//! The parts of `make bench-proxies` that must cost little themselves: the upstream, the load, and a
//! bare hyper proxy to compare with. `scripts/bench_proxies.py` starts them.

#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

mod bare;
mod load;
mod upstream;

use std::env;

/// The error of a benchmark, which ends the program.
type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: voxgate-bench-proxies \
    upstream ADDRESS | bare ADDRESS UPSTREAM | load CASE ADDRESS CONNECTIONS SECONDS TOKENS";

fn main() -> Result<(), Failure> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match words[..] {
        ["upstream", address] => runtime.block_on(upstream::serve(address)),
        ["bare", address, upstream] => {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, bare::serve(address, upstream))
        }
        ["load", case, address, connections, seconds, tokens] => {
            let plan = load::Plan::new(case, address, connections, seconds, tokens)?;
            println!("{}", runtime.block_on(load::run(plan))?);
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}
