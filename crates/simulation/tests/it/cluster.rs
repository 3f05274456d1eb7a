//! The cluster redirects, elects a successor, and a minority refuses.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::LocalSet;
use tokio::time::sleep;
use voxgate_simulation::cluster::{Cluster, Settings};
use voxgate_simulation::network::{Network, Weather};
use voxgate_simulation::redis_server::{Costs, Server};
use voxgate_simulation::resp::Reply;

const FIRST: usize = 10;
const TIMEOUT: Duration = Duration::from_secs(5);

fn run<F: Future<Output = ()>>(test: impl FnOnce(Network, Cluster) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let weather = Weather {
            delay_millis: (1, 1),
            lost_per_million: 0,
        };
        let settings = Settings {
            primaries: 3,
            node_timeout: TIMEOUT,
            replication: Duration::from_millis(10),
            tick: Duration::from_millis(100),
        };
        let costs = Costs {
            script: 1,
            key_nanos: 0,
            other: 1,
        };
        let network = Network::new(1, weather);
        let cluster = Cluster::start(&network, FIRST, settings, costs, 1).expect("a cluster");
        test(network, cluster).await;
    });
}

fn ask(server: &Server, words: &str) -> Reply {
    let words: Vec<Bytes> = words
        .split(' ')
        .map(|word| word.to_owned().into())
        .collect();
    server.execute(&words, &mut false)
}

#[track_caller]
fn refused(server: &Server, words: &str, expected: &str) {
    match ask(server, words) {
        Reply::Error(error) => assert!(error.starts_with(expected), "{error}"),
        other => panic!("{other:?} is not {expected}"),
    }
}

/// `foo` has the hash slot 12182, which the third primary has; `b` has 3300, which is the first's.
#[test]
fn a_node_redirects_what_others_have() {
    run(|_, cluster| async move {
        let nodes = cluster.servers();
        assert_eq!(ask(&nodes[2], "SET foo 1"), Reply::Status("OK"));
        assert_eq!(ask(&nodes[2], "GET foo"), Reply::text("1"));
        refused(&nodes[0], "GET foo", "MOVED 12182 redis-2:6379");
        refused(&nodes[5], "GET foo", "MOVED 12182 redis-2:6379");
        assert_eq!(ask(&nodes[0], "ZREM b foo"), Reply::Integer(0));
    });
}

#[test]
fn a_replica_takes_over_what_it_has_received() {
    run(|network, cluster| async move {
        let nodes = cluster.servers();
        assert_eq!(ask(&nodes[2], "SET foo 1"), Reply::Status("OK"));
        sleep(Duration::from_secs(1)).await;
        network.separate([FIRST + 2]);
        assert_eq!(
            ask(&nodes[2], "SET foo 2"),
            Reply::Status("OK"),
            "it is not alone yet"
        );
        sleep(TIMEOUT + Duration::from_secs(2)).await;
        assert_eq!(cluster.failovers(), 1);
        refused(&nodes[2], "GET foo", "CLUSTERDOWN");
        assert_eq!(ask(&nodes[5], "GET foo"), Reply::text("1"));
        refused(&nodes[0], "GET foo", "MOVED 12182 redis-5:6379");
        network.heal();
        sleep(Duration::from_secs(1)).await;
        refused(&nodes[2], "GET foo", "MOVED 12182 redis-5:6379");
        assert_eq!(cluster.lost_writes(), 1);
    });
}

/// Without the majority, no replica takes over, and all refuse.
#[test]
fn a_minority_refuses() {
    run(|network, cluster| async move {
        let nodes = cluster.servers();
        network.separate([FIRST + 1]);
        network.separate([FIRST + 2]);
        sleep(TIMEOUT + Duration::from_secs(2)).await;
        assert_eq!(cluster.failovers(), 0);
        for node in &nodes[..3] {
            refused(node, "GET foo", "CLUSTERDOWN");
        }
        network.heal();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(ask(&nodes[2], "GET foo"), Reply::Nil);
    });
}

#[test]
fn keys_on_both_nodes_must_be_asked_again() {
    run(|_, cluster| async move {
        let nodes = cluster.servers();
        assert_eq!(ask(&nodes[2], "SET foo 1"), Reply::Status("OK"));
        let moving = cluster.clone();
        let moving = tokio::task::spawn_local(async move {
            moving.move_slots(2, 0, 1, Duration::from_secs(2)).await;
        });
        sleep(Duration::from_millis(500)).await;
        assert_eq!(
            ask(&nodes[2], "GET foo"),
            Reply::text("1"),
            "it has not moved yet"
        );
        refused(&nodes[2], "GET {foo}x", "ASK 12182 redis-0:6379");
        refused(&nodes[2], "EVAL return 2 foo {foo}x", "TRYAGAIN");
        refused(&nodes[0], "GET foo", "MOVED 12182 redis-2:6379");
        moving.await.expect("moved");
        assert_eq!(ask(&nodes[0], "GET foo"), Reply::text("1"));
        refused(&nodes[2], "GET foo", "MOVED 12182 redis-0:6379");
    });
}
