//! Quotas that two replicas share through Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use voxgate::rate_limit::{
    Amounts, LimitScope, QuotaAnswer, QuotaCommand, QuotaCounter, QuotaStore as _, QuotaUnit,
};

use super::server::Server;
use super::{block_on, started, until};
use crate::RedisStore;

const MONTH: u32 = 20_261_100;

fn command(replica: &str, contributed: u64, add: Amounts, quota: u64) -> QuotaCommand {
    QuotaCommand {
        replica: Arc::from(replica),
        counters: vec![QuotaCounter {
            scope: LimitScope::Key,
            id: "ivr".into(),
            period: MONTH,
            keep_seconds: 3600,
            contributed: [contributed, 0, 0],
            confirmed: [0; 3],
            known: [0; 3],
            take_back: [0; 3],
            quotas: [quota, 0, 0],
        }],
        add,
    }
}

/// The same for an account.
pub(super) fn of_account(
    account: &str,
    replica: &str,
    contributed: u64,
    add: Amounts,
    quota: u64,
) -> QuotaCommand {
    let mut command = command(replica, contributed, add, quota);
    let counter = &mut command.counters[0];
    (counter.scope, counter.id) = (LimitScope::Account, account.into());
    command
}

fn count(store: &RedisStore, command: QuotaCommand) -> Option<QuotaAnswer> {
    block_on(store.count(command))
}

#[test]
fn two_replicas_under_load_grant_exactly_the_quota() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    const QUOTA: u64 = 3_000;
    let granted = AtomicU64::new(0);
    thread::scope(|scope| {
        for replica in ["one", "two"] {
            let (server, granted) = (&server, &granted);
            scope.spawn(move || {
                let store = started(server);
                let mut own = 0;
                loop {
                    let answer = count(&store, command(replica, own, [7, 1, 0], QUOTA));
                    let Some(answer) = answer else { continue };
                    if answer.refused.is_some() {
                        assert_eq!(answer.refused, Some((0, QuotaUnit::Characters)));
                        break;
                    }
                    own += 7;
                    granted.fetch_add(7, Ordering::Relaxed);
                }
            });
        }
    });
    let granted = granted.into_inner();
    assert_eq!(granted, QUOTA / 7 * 7);
    // A replica that is killed leaves what it has used; one that starts again has another name.
    let after = started(&server);
    let answer = count(&after, command("three", 0, [7, 1, 0], QUOTA));
    assert_eq!(
        answer.and_then(|it| it.refused),
        Some((0, QuotaUnit::Characters))
    );
}

#[test]
fn lost_data_is_put_back_and_what_failed_is_taken_back() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = started(&server);
    let used = |command| count(&store, command).map(|answer| answer.used[0]);
    assert_eq!(used(command("one", 0, [5, 1, 9], 100)), Some([5, 1, 9]));
    assert_eq!(used(command("two", 0, [6, 1, 0], 100)), Some([11, 2, 9]));
    let _: String = server.run("FLUSHALL");
    assert_eq!(used(command("one", 5, [1, 0, 0], 100)), Some([6, 0, 0]));
    assert_eq!(used(command("two", 6, [0, 0, 0], 100)), Some([12, 0, 0]));
    let mut back = command("one", 2, [0; 3], 100);
    back.counters[0].take_back = [4, 0, 0];
    assert_eq!(used(back), Some([8, 0, 0]));
    // The counter ends some time after its period.
    let key = "{voxgate}:quota:20261100:key:ivr";
    let left: i64 = server.run_words(&["TTL", key]);
    assert!((1..=3600).contains(&left), "{left}");
    assert!(
        server.keys().iter().any(|name| name == key),
        "{:?}",
        server.keys()
    );
    let huge = used(command("one", 2, [u64::MAX, 0, 0], 0));
    assert!(huge.is_some_and(|used| used[0] >= 1 << 53), "{huge:?}");
}

/// A replica that asks first after a loss does not get what another one has used and not yet put back.
#[test]
fn after_a_loss_what_a_replica_knows_counts_until_the_others_have_put_back_theirs() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let store = started(&server);
    let ask = |replica, [contributed, confirmed, known]: [u64; 3], add: u64, back: u64| {
        let mut command = command(replica, contributed, [add, 0, 0], 100);
        command.counters[0].confirmed = [confirmed, 0, 0];
        command.counters[0].known = [known, 0, 0];
        command.counters[0].take_back = [back, 0, 0];
        let answer = count(&store, command).expect("an answer");
        (answer.refused.is_none(), answer.used[0][0])
    };
    assert_eq!(ask("one", [0, 0, 0], 30, 0), (true, 30));
    assert_eq!(ask("two", [0, 0, 0], 60, 0), (true, 90));
    assert_eq!(ask("one", [30, 30, 30], 5, 0), (true, 95));
    let _: String = server.run("FLUSHALL");
    // It knows of the 60 of the other.
    assert_eq!(ask("one", [35, 35, 95], 6, 0), (false, 95));
    assert_eq!(ask("one", [35, 35, 95], 2, 0), (true, 97));
    // What the other gives back is there, although its own count is missing.
    assert_eq!(ask("three", [0, 0, 0], 0, 10), (true, 87));
    assert_eq!(ask("three", [0, 0, 0], 5, 0), (true, 92));
    // The other puts back 60, which is the whole sum: 37 and 60 and 5.
    assert_eq!(ask("two", [60, 60, 90], 0, 0), (true, 102));
    assert_eq!(
        ask("two", [60, 60, 102], 0, 20),
        (true, 102),
        "contributed is not lower"
    );
    assert_eq!(ask("two", [40, 40, 82], 0, 20), (true, 82));
    let fields: Vec<String> = server.run("HKEYS {voxgate}:quota:20261100:key:ivr");
    assert!(
        !fields.iter().any(|field| field.starts_with("floor")),
        "{fields:?}"
    );
    // A replica that worked without the store has lost nothing.
    assert_eq!(ask("one", [47, 37, 999], 0, 0), (true, 92));
}

#[test]
fn a_server_that_is_gone_is_unavailable_at_once() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let store = started(&server);
    server.kill();
    until("the breaker opens", || {
        count(&store, command("one", 0, [1, 0, 0], 0)).is_none() && !store.is_available()
    });
    server.start_again();
    until("Redis answers again", || store.is_available());
    let answer = count(&store, command("one", 3, [1, 0, 0], 0));
    assert_eq!(answer.map(|answer| answer.used[0]), Some([4, 0, 0]));
}
