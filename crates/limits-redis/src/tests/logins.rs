//! Users, passwords and TLS of a cluster and of Sentinels.

use std::path::Path;

use voxgate::rate_limit::QuotaStore as _;

use crate::SharedSpentTokens;
use crate::lazy_client::LazyClient;

use super::certificates::Certificates;
use super::cluster::{Cluster, spend, token_on};
use super::sentinel::Sentinel;
use super::server::reserve;
use super::*;

/// The permissions that the documentation names.
const PERMISSIONS: &str = "~{voxgate* resetchannels +eval +evalsha +@sortedset +@read +@write +time \
                           +ping +cluster|slots +asking +role +wait";

fn add_user(server: &Server) {
    let _: String = server.run(&format!("ACL SETUSER gateway on >right {PERMISSIONS}"));
}

/// A store with this URL says this in the log, in a line that names the setting.
#[track_caller]
fn complains(url: &str, ca_file: Option<&Path>, complaint: &str) {
    let options = RedisOptions {
        ca_file: ca_file.map(Path::to_owned),
        ..RedisOptions::new(Secret::new(url).expect("a URL"))
    };
    let port = url.rsplit_once(':').expect("a port").1;
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    let told = |line: &String| line.contains(&port) && line.contains(complaint);
    let before = logs::lines_with(&port).iter().filter(|it| told(it)).count();
    let store = RedisStore::start(options).expect("started");
    until(complaint, || {
        let _ = block_on(store.ask(&key("a", concurrency(1)), None));
        logs::lines_with(&port).iter().filter(|it| told(it)).count() > before
    });
    assert!(!store.is_up());
    for line in logs::lines_with(&port) {
        assert!(!line.contains("right") && !line.contains("wrong"), "{line}");
    }
}

/// A user with the permissions of the documentation is enough, and each wrong setting is named.
#[test]
fn a_cluster_with_tls_and_a_user() {
    logs::listen();
    let certificates = Certificates::new();
    let mut further = certificates.options();
    for option in [
        "--tls-cluster",
        "yes",
        "--cluster-announce-hostname",
        "localhost",
        "--cluster-preferred-endpoint-type",
        "hostname",
    ] {
        further.push(option.to_owned());
    }
    let further: Vec<_> = further.iter().map(String::as_str).collect();
    let Some(cluster) = Cluster::start_with(0, "--tls-port", &further) else {
        return;
    };
    cluster.0.iter().for_each(|node| add_user(&node.server));
    let ca_file = certificates.path("ca.pem");
    let url = |login: &str, host: &str| {
        let ports = cluster.0.iter().map(|node| node.port);
        let hosts = ports.map(|port| format!("{host}:{port}"));
        let hosts = hosts.collect::<Vec<_>>().join(",");
        format!("rediss-cluster://{login}@{hosts}")
    };
    let options = || RedisOptions {
        deadline: DEADLINE,
        ca_file: Some(ca_file.clone()),
        ..RedisOptions::new(Secret::new(&url("gateway:right", "localhost")).expect("a URL"))
    };
    let prefer = |endpoint: &str| {
        for node in &cluster.0 {
            let set = format!("CONFIG SET cluster-preferred-endpoint-type {endpoint}");
            let _: String = node.server.run(&set);
        }
    };
    // A node whose endpoint is not known is at the host of the URL.
    for endpoint in ["hostname", "unknown-endpoint"] {
        prefer(endpoint);
        let store = started_with(options());
        for node in 0..3 {
            let account = cluster.account_on(node);
            let request = of_all(
                key("k", rate("9/h")).with_account(&*account, concurrency(3)),
                9,
            );
            drop(store.decide(&request).expect("granted"));
            let command = quotas::of_account(&account, "one", 0, [1, 0, 0], 9);
            assert!(block_on(store.count(command)).is_some());
        }
        assert_eq!(store.failures(), 0);
        let client = LazyClient::new(options().check().expect("options").address);
        local(async {
            for node in 0..3 {
                let key = token_on(&cluster, node, endpoint.len());
                assert_eq!(spend(&client, &key).await, Ok(true));
                assert_eq!(spend(&client, &key).await, Ok(false));
            }
        });
    }
    complains(
        &url("gateway:wrong", "localhost"),
        Some(&ca_file),
        "(WRONGPASS)",
    );
    complains(
        &url("gateway:right", "127.0.0.1"),
        Some(&ca_file),
        "VOXGATE_REDIS_CA_FILE",
    );
    complains(
        &url("gateway:right", "localhost"),
        None,
        "VOXGATE_REDIS_CA_FILE",
    );
    let plain = url("gateway:right", "localhost").replace("rediss-", "redis-");
    complains(&plain, None, "whether it requires TLS");
    let one = url("gateway:right", "localhost").replace("rediss-cluster", "rediss");
    let (one, _) = one.split_once(',').expect("three nodes");
    complains(
        one,
        Some(&ca_file),
        "begin VOXGATE_REDIS_URL with redis-cluster:// or rediss-cluster",
    );
    // The nodes announce addresses, which no certificate has.
    prefer("ip");
    complains(
        &url("gateway:right", "localhost"),
        Some(&ca_file),
        "the one that the cluster or Sentinel announces",
    );
    let _: String = cluster.0[0]
        .server
        .run("ACL SETUSER gateway -cluster|slots");
    complains(
        &url("gateway:right", "localhost"),
        Some(&ca_file),
        "announces",
    );
}

/// Sentinels and servers have users of their own, and TLS.
#[test]
fn sentinels_with_tls_and_users() {
    logs::listen();
    let certificates = Certificates::new();
    let [(_own, port), (_sentinel, sentinel_port)] = [reserve(), reserve()];
    let further = certificates.options();
    let further: Vec<_> = further.iter().map(String::as_str).collect();
    let tcp = ["--bind", "127.0.0.1", "--tls-port", &port.to_string()];
    let Some(server) = Server::start(&[&tcp[..], &further].concat()) else {
        return;
    };
    add_user(&server);
    let files = further.chunks_exact(2).map(|pair| {
        let name = pair[0].trim_start_matches("--");
        format!("{name} {}\n", pair[1])
    });
    let _sentinel = Sentinel::start(&format!(
        "{}bind 127.0.0.1\nport 0\ntls-port {sentinel_port}\nsentinel resolve-hostnames yes\n\
         sentinel announce-hostnames yes\nsentinel monitor main localhost {port} 1\n\
         user default off\nuser watcher on >quis allchannels +auth +ping +sentinel|get-master-addr-by-name \
         +sentinel|replicas\n",
        files.collect::<String>(),
    ));
    let ca_file = certificates.path("ca.pem");
    let url = |login: &str, watcher: &str| {
        format!("rediss-sentinel://{login}@localhost:{sentinel_port}/main?{watcher}")
    };
    let watcher = "sentinel_user=watcher&sentinel_pass=quis";
    let good = url("gateway:right", watcher);
    let options = || RedisOptions {
        deadline: DEADLINE,
        ca_file: Some(ca_file.clone()),
        ..RedisOptions::new(Secret::new(&good).expect("a URL"))
    };
    let store = started_with(options());
    drop(store.decide(&key("a", concurrency(1))).expect("granted"));
    let tokens = SharedSpentTokens::start(options()).expect("started");
    let token = spending::single_use();
    assert_eq!(spending::spend(&tokens, &token), Ok(()));
    let wrong = [
        (
            url("gateway:wrong", watcher),
            "of VOXGATE_REDIS_URL: correct them (WRONGPASS)",
        ),
        (
            url("gateway:right", "sentinel_user=watcher&sentinel_pass=wrong"),
            "sentinel_pass in VOXGATE_REDIS_URL (WRONGPASS)",
        ),
        (
            url("gateway:right", "").trim_end_matches('?').to_owned(),
            "sentinel_pass in VOXGATE_REDIS_URL (NOAUTH)",
        ),
        (
            good.replace(&sentinel_port.to_string(), &port.to_string())
                .replace("sentinel_user=watcher&sentinel_pass=quis", ""),
            "is not a Sentinel",
        ),
    ];
    for (url, complaint) in wrong {
        complains(&url, Some(&ca_file), complaint);
    }
    complains(&good, None, "VOXGATE_REDIS_CA_FILE");
}
