//! The report of a simulation.

use std::fmt::Write as _;

use crate::scenario::{Outcome, Size, Topology};

/// The size of a simulation, for the head of its report.
#[must_use]
pub fn head(size: Size, seed: u64) -> String {
    format!(
        "{} gateways, {} keys, {} callers, seed {seed}. Each key may have {} requests a minute or {} \
         streams at once, half of what its callers want.\n",
        size.gateways,
        size.keys,
        size.callers,
        size.key_rate(),
        size.key_slots(),
    )
}

/// The outcome of a scenario as a table in Markdown.
#[must_use]
pub fn table(outcome: &Outcome) -> String {
    let scenario = &outcome.scenario;
    let redis = match scenario.topology {
        Topology::One => "one Redis",
        Topology::Cluster => "a cluster of three primaries with a replica each",
    };
    let mut text = format!("### {}\n\n", scenario.name);
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{words}");
    };
    line(format_args!(
        "With {redis}; without it, gateways use `{}`.\n",
        match scenario.on_failure {
            voxgate::rate_limit::OnFailure::Local => "local",
            voxgate::rate_limit::OnFailure::Deny => "deny",
            voxgate::rate_limit::OnFailure::Allow => "allow",
        }
    ));
    line(format_args!(
        "| step | s | requests/s | accepted/s | 429/s | 503/s | over rates | over slots | most in \
         flight | questions/s | at most | Redis busy | in time | p50 | p99 |"
    ));
    line(format_args!("|---|{}", "--:|".repeat(14)));
    for (index, phase) in outcome.phases.iter().enumerate() {
        let seconds = phase.length.as_secs().max(1);
        let usage = &outcome.usage[index];
        let (answers, failures) = outcome.answers[index];
        let servers = match scenario.topology {
            Topology::One => 1,
            Topology::Cluster => 3,
        };
        line(format_args!(
            "| {} | {seconds} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} % | {} % | {} ms | {} \
             ms |",
            scenario.steps[index].name,
            phase.offered / seconds,
            phase.accepted / seconds,
            phase.limited / seconds,
            phase.unavailable / seconds,
            phase.over_rate.ceil(),
            phase.over_slots,
            phase.most_in_flight,
            usage.questions / seconds,
            outcome.peaks[index],
            usage.busy / 10_000 / seconds / servers,
            permille(answers, answers + failures),
            phase.percentile(50),
            phase.percentile(99),
        ));
    }
    let of_others = outcome.phases.iter().map(|phase| phase.accepted_of_others);
    let of_others = of_others.sum::<u64>() * u64::from(scenario.flood.is_some());
    let totals = [
        (
            "streams of one key above its limit, at most",
            u64::from(outcome.over_key),
        ),
        (
            "streams above the upstream's limit, at most",
            u64::from(outcome.over_upstream),
        ),
        ("failovers", outcome.failovers as u64),
        (
            "confirmed writes that failovers lost",
            outcome.lost_writes as u64,
        ),
        ("slots that gateways put back", outcome.restored),
        (
            "questions without an answer in time",
            outcome.answers.iter().map(|it| it.1).sum(),
        ),
        ("accepted requests of other keys", of_others),
    ];
    let totals = totals.iter().filter(|(_, count)| *count > 0);
    let totals: Vec<_> = totals
        .map(|(name, count)| format!("{name}: {count}"))
        .collect();
    if !totals.is_empty() {
        line(format_args!("\n{}.", totals.join("; ")));
    }
    text
}

/// A percentage with one digit after the point, rounded down: 100 means all.
fn permille(part: u64, whole: u64) -> String {
    let permille = part * 1000 / whole.max(1);
    match permille % 10 {
        0 => format!("{}", permille / 10),
        rest => format!("{}.{rest}", permille / 10),
    }
}
