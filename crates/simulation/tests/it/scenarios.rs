//! The scenarios in small: how much above the limits is accepted, and that a run can be repeated.

use voxgate_simulation::meter::KeyLimit;
use voxgate_simulation::report;
use voxgate_simulation::scenario::{BURST, Outcome, Scenario, Size};

const SEED: u64 = 11;

/// Above the limits, a scenario may accept so much.
#[derive(Default)]
struct Allowed {
    /// Requests of each key with a rate.
    rate: f64,
    /// Streams of each key with slots at once.
    slots: u32,
    /// Whether questions may fail.
    failures: bool,
}

fn run(name: &str) -> Outcome {
    let mut all = Scenario::all().into_iter();
    let scenario = all
        .find(|scenario| scenario.name == name)
        .expect("a scenario");
    scenario.run(Size::SMALL, SEED).expect("an outcome")
}

/// Runs a scenario, and compares what was accepted with what is allowed.
fn check(name: &str, allowed: &Allowed) -> Outcome {
    let outcome = run(name);
    let table = report::table(&outcome);
    let limits = (0..Size::SMALL.keys).map(|key| Size::SMALL.limit(key));
    let rates = limits
        .filter(|limit| matches!(limit, KeyLimit::Rate(..)))
        .count();
    let over: f64 = outcome.phases.iter().map(|phase| phase.over_rate).sum();
    assert!(
        over <= allowed.rate * rates as f64,
        "above the rates: {over}\n{table}"
    );
    assert!(
        outcome.over_key <= allowed.slots,
        "above the slots of a key\n{table}"
    );
    let failures: u64 = outcome.answers.iter().map(|(_, failures)| failures).sum();
    assert_eq!(failures > 0, allowed.failures, "{failures}\n{table}");
    for phase in &outcome.phases {
        assert!(phase.accepted > 0, "limits are not a ban\n{table}");
        assert!(phase.limited > 0, "the callers want more\n{table}");
    }
    outcome
}

/// What `local` may accept in addition when so many gateways do not reach Redis for so long: their
/// shares. A share is a part of the rate and of the burst, or one request; it is a part of the slots,
/// or one.
fn shares(gateways: u32, seconds: u32) -> Allowed {
    let size = Size::SMALL;
    let all = u32::try_from(size.gateways).expect("few");
    let share = |limit: u32| gateways * (limit / all).max(1);
    let rate = size.key_rate() * gateways * seconds;
    Allowed {
        rate: f64::from(rate) / f64::from(60 * all) + f64::from(share(BURST)),
        slots: share(size.key_slots()),
        failures: true,
    }
}

#[test]
fn nothing_is_above_the_limits_of_one_redis() {
    let outcome = check("steady", &Allowed::default());
    assert_eq!(outcome.over_upstream, 0);
    assert_eq!(outcome.restored, 0);
}

#[test]
fn nothing_is_above_the_limits_of_a_cluster() {
    let outcome = check("steady-cluster", &Allowed::default());
    assert_eq!(outcome.over_upstream, 0);
    assert_eq!(outcome.restored, 0);
}

#[test]
fn nothing_is_above_the_limits_while_hash_slots_move() {
    let outcome = check("resharding", &Allowed::default());
    assert_eq!(outcome.restored, 0);
}

/// A question whose answer is late is answered by the share of one gateway.
#[test]
fn a_lossy_network_adds_shares_of_late_answers() {
    check("lossy-network", &shares(6, 15));
}

/// The key that floods the gateways takes only free slots of the upstream and places of the queue.
/// A fifth of the other callers belongs to it now, so that the others want less than before.
#[test]
fn a_flood_of_one_key_leaves_the_others_their_limits() {
    let outcome = check("flood-of-one-key", &Allowed::default());
    assert_eq!(outcome.over_upstream, 0);
    let steady = run("steady");
    let [flooded, steady] = [outcome, steady].map(|it| it.phases[0].accepted_of_others);
    assert!(flooded * 10 >= steady * 8, "{flooded} of {steady}");
}

#[test]
fn gateways_that_are_cut_off_accept_their_shares() {
    // The breaker finds Redis again within two seconds.
    check("half-cut-off-local", &shares(3, 10));
}

#[test]
fn gateways_that_are_cut_off_and_deny_accept_nothing() {
    let allowed = Allowed {
        failures: true,
        ..Allowed::default()
    };
    let outcome = check("half-cut-off-deny", &allowed);
    assert!(outcome.phases[1].unavailable > 0);
}

#[test]
fn gateways_that_are_cut_off_and_allow_limit_slots_only() {
    let allowed = Allowed {
        rate: f64::INFINITY,
        slots: 3 * Size::SMALL.key_slots(),
        failures: true,
    };
    check("half-cut-off-allow", &allowed);
}

/// All gateways use their shares, together the limit, until the replica takes over. What was not
/// replicated is allowed once more: here, a burst at most.
#[test]
fn a_failover_adds_one_share_and_what_was_not_replicated() {
    let mut allowed = shares(6, 0);
    allowed.rate += f64::from(BURST);
    let outcome = check("failover", &allowed);
    assert_eq!(outcome.failovers, 1);
}

/// The gateways on the side of the old primary use it until it notices that it is alone, and their
/// shares afterwards. The others use their shares, and then the new primary.
#[test]
fn an_old_primary_adds_one_limit_until_it_notices() {
    let size = Size::SMALL;
    let mut allowed = shares(6, 17);
    allowed.rate += f64::from(BURST);
    allowed.slots += size.key_slots();
    let outcome = check("old-primary-reachable", &allowed);
    assert_eq!(outcome.failovers, 1);
    assert!(outcome.lost_writes > 0, "the old primary's");
}

/// Rates begin anew; slots of requests in flight are put back.
#[test]
fn lost_data_add_a_burst() {
    let mut allowed = shares(6, 0);
    allowed.rate += f64::from(BURST);
    let outcome = check("data-loss", &allowed);
    assert!(outcome.restored > 0);
}

#[test]
fn a_run_can_be_repeated() {
    let report = || report::table(&run("old-primary-reachable"));
    let first = report();
    assert_eq!(report(), first);
    let mut all = Scenario::all().into_iter();
    let other = all
        .find(|it| it.name == "old-primary-reachable")
        .expect("it");
    let other = other.run(Size::SMALL, SEED + 1).expect("an outcome");
    assert_ne!(report::table(&other), first, "the seed matters");
}
