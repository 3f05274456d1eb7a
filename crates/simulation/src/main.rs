//! `make sim`: runs the scenarios and prints their report.

use std::error::Error;
use std::io::{self, Write as _};
use std::time::Instant;

use voxgate_simulation::scenario::{Scenario, Size};
use voxgate_simulation::{cost, report};

/// The arguments: `--cost` for what a request costs, or `--small`, `--log`, `--seed=NUMBER`, and names of scenarios; without names, all run.
fn main() -> Result<(), Box<dyn Error>> {
    let (mut size, mut seed, mut names) = (Size::LARGE, 1, Vec::new());
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            _ if argument == "--cost" => return Ok(writeln!(io::stdout(), "{}", cost::report()?)?),
            _ if argument == "--small" => size = Size::SMALL,
            _ if argument == "--log" => tracing_subscriber::fmt().with_writer(io::stderr).init(),
            Some(("--seed", number)) => seed = number.parse()?,
            _ => names.push(argument),
        }
    }
    let all = Scenario::all();
    if let Some(name) = names
        .iter()
        .find(|name| all.iter().all(|it| it.name != **name))
    {
        let known: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
        return Err(format!(
            "no scenario is named {name}; choose from {}",
            known.join(", ")
        )
        .into());
    }
    let (mut out, mut log) = (io::stdout().lock(), io::stderr().lock());
    writeln!(out, "{}", report::head(size, seed))?;
    for scenario in all {
        if !names.is_empty() && !names.iter().any(|name| *name == scenario.name) {
            continue;
        }
        let since = Instant::now();
        let outcome = scenario.run(size, seed)?;
        writeln!(out, "{}", report::table(&outcome))?;
        out.flush()?;
        writeln!(
            log,
            "{}: {:.0} s",
            scenario.name,
            since.elapsed().as_secs_f64()
        )?;
    }
    Ok(())
}
