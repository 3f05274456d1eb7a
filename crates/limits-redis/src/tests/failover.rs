//! A replica of a cluster takes over from a primary that was killed.

use redis::Value;
use voxgate::rate_limit::QuotaStore as _;

use crate::hash_slot::hash_slot;
use crate::lazy_client::LazyClient;
use crate::redis_error::RedisError;
use crate::slot_map::SlotMap;

use super::cluster::{Cluster, Node, spend, token_on};
use super::proxy::Proxy;
use super::*;

/// The primary whose replica takes over.
const LOST: usize = 0;
const REPLICA: usize = 3;
const CHARACTERS: u64 = 10;

/// Cuts the connection of a replica, and keeps it from connecting again.
fn cut(primary: &Node, replica: &Node) {
    for setting in ["masteruser nobody", "masterauth wrong"] {
        let _: String = replica.server.run(&format!("CONFIG SET {setting}"));
    }
    let _: i64 = primary.server.run("CLIENT KILL TYPE replica");
    until("the replica is cut off", || {
        let info: String = primary.server.run("INFO replication");
        info.contains("connected_slaves:0")
    });
}

fn client(cluster: &Cluster) -> LazyClient {
    LazyClient::new(cluster.options().check().expect("options").address)
}

/// Keys of two tokens of the primary. The first is used, and the replica has it, and all that was written
/// before.
fn first_of_two_tokens(cluster: &Cluster) -> [String; 2] {
    let mut number = 0;
    until("the replica confirms a token", || {
        number += 1;
        let key = token_on(cluster, LOST, number);
        local(async { spend(&client(cluster), &key).await }) == Ok(true)
    });
    [number, number + 1].map(|number| token_on(cluster, LOST, number))
}

/// What was replicated is kept. Of the rest, this process puts back leases and quotas; rates allow once
/// more what was not replicated; a token that no replica has was not accepted.
#[test]
fn a_replica_takes_over_from_a_killed_node() {
    let Some(mut cluster) = Cluster::start(1) else {
        return;
    };
    let start = || {
        started_with(RedisOptions {
            deadline: Duration::from_secs(1),
            ..cluster.options()
        })
    };
    let (store, second) = (start(), start());
    let account = cluster.account_on(LOST);
    let of = |id: &str, limits| key("k", Limits::default()).with_account(id, limits);
    let lost = of(&account, concurrency(2));
    let other = of(&cluster.account_on(1), concurrency(2));
    let rated = of(&account, rate("5/h"));
    let slots = format!("{{voxgate@account:{account}}}:slots:account:{account}");
    let level = format!("{{voxgate@account:{account}}}:rate:1/720000000:account:{account}");
    let used = |own: u64, add: u64| {
        let command = quotas::of_account(&account, "one", own, [add, 0, 0], 100);
        block_on(store.count(command)).map(|answer| answer.used[0][0])
    };
    let (primary, replica) = (&cluster.0[LOST], &cluster.0[REPLICA]);
    for store in [&store, &second] {
        store.decide(&rated).expect("granted");
    }
    assert_eq!(used(0, CHARACTERS), Some(CHARACTERS));
    let tokens = first_of_two_tokens(&cluster);
    local(async {
        let client = client(&cluster);
        assert!(replica.server.keys().contains(&tokens[0]));
        assert!(replica.server.keys().contains(&level));
        // Until it has told the others how much it has, they do not count on it.
        until("the replica is listed", || {
            let slots: Value = primary.server.run("CLUSTER SLOTS");
            SlotMap::parse(&slots, "").is_some_and(|map| map.has_replicas(0))
        });
        cut(primary, replica);
        assert_eq!(
            spend(&client, &tokens[1]).await,
            Err(RedisError::NotReplicated)
        );
    });
    let held = store.decide(&lost).expect("granted");
    assert_eq!(used(CHARACTERS, CHARACTERS), Some(2 * CHARACTERS));
    store.decide(&rated).expect("granted");
    assert!(!replica.server.keys().contains(&slots));

    cluster.0[LOST].server.kill();
    let unavailable = block_on(store.ask(&lost, None))
        .result
        .expect_err("no node");
    assert_eq!(unavailable, AcquireError::Unavailable);
    drop(store.decide(&other).expect("another node decides"));
    for store in [&store, &second] {
        until("the replica takes over", || store.status().failovers == 1);
        until("it is up", || store.is_up());
    }
    until("the lease is counted again", || {
        store.status().restored >= 1
    });
    let another = second.decide(&lost).expect("granted");
    let exceeded = second.decide(&lost).expect_err("the first still counts");
    assert_eq!(exceeded.limit, Limit::AccountConcurrency);
    assert_eq!(used(2 * CHARACTERS, CHARACTERS), Some(3 * CHARACTERS));
    // Two were replicated, and one was not.
    assert_eq!(second.grants(9, &rated), 3);
    local(async {
        let client = client(&cluster);
        assert_eq!(spend(&client, &tokens[0]).await, Ok(false));
        // It was refused, and counts once.
        assert_eq!(spend(&client, &tokens[1]).await, Ok(true));
        assert_eq!(spend(&client, &tokens[1]).await, Ok(false));
    });
    // What the node loses is put back.
    let _: i64 = cluster.0[REPLICA].server.run_words(&["DEL", &slots]);
    let taken = || cluster.0[REPLICA].server.taken(&slots);
    until("they are put back", || taken() == 2);
    drop((held, another));
    until("they are released", || taken() == 0);
    assert_eq!(cluster.owner(hash_slot(&slots)), LOST);
}

/// The old primary goes on for as long as it does not know that it is cut off. What it accepts then is
/// what is accepted too much; it accepts no token. Then the gateway asks its successor.
#[test]
fn a_primary_that_is_cut_off_is_left() {
    const LIMIT: usize = 200;
    let proxies: Vec<_> = (0..4).map(|node| Proxy::new(node == LOST)).collect();
    let Some(cluster) = Cluster::start_behind(&proxies) else {
        return;
    };
    let start = || {
        started_with(RedisOptions {
            deadline: Duration::from_secs(1),
            ..cluster.options()
        })
    };
    let (primary, replica) = (&cluster.0[LOST], &cluster.0[REPLICA]);
    let store = start();
    let account = cluster.account_on(LOST);
    let request = key("k", Limits::default()).with_account(&*account, rate("200/h"));
    let begun = Instant::now();
    let before = 20;
    assert_eq!(store.grants(before, &request), before);
    let tokens = first_of_two_tokens(&cluster);
    until("the replica is listed", || {
        let slots: Value = primary.server.run("CLUSTER SLOTS");
        SlotMap::parse(&slots, "").is_some_and(|map| map.has_replicas(0))
    });
    cut(primary, replica);
    proxies.iter().for_each(Proxy::cut);
    let (mut meanwhile, mut accepted) = (0, 0);
    until("it knows that it is cut off", || {
        match block_on(store.ask(&request, None)).result {
            Ok(_) => meanwhile += 1,
            Err(AcquireError::Unavailable) => return true,
            Err(other) => panic!("{other:?}"),
        }
        let spent = local(async {
            let client = client(&cluster);
            spend(&client, &tokens[1]).await
        });
        // Its successor may accept it, once.
        accepted += usize::from(spent == Ok(true));
        false
    });
    assert!(meanwhile > 0, "it went on");
    assert!(meanwhile < LIMIT - before, "and stopped");
    until("the gateway asks its successor", || {
        store.status().failovers == 1 && store.is_up()
    });
    // The old primary still answers.
    let _: Value = primary.server.run("CLUSTER SLOTS");
    let after = start().grants(LIMIT, &request);
    let most =
        LIMIT + meanwhile + usize::try_from(begun.elapsed().as_secs() / 18).expect("small") + 1;
    let total = before + meanwhile + after;
    assert!((LIMIT + meanwhile..=most).contains(&total), "{total}");
    store.decide(&request).expect_err("both ask the same node");
    local(async {
        let client = client(&cluster);
        assert_eq!(spend(&client, &tokens[0]).await, Ok(false));
        for _ in 0..2 {
            accepted += usize::from(spend(&client, &tokens[1]).await == Ok(true));
        }
    });
    assert_eq!(accepted, 1);
}
