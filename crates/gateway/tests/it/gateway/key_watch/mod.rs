//! Keys by a watch of the Kubernetes API.

mod api_server;
mod commands;

use std::fs;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::time::{Instant, sleep};

use self::api_server::{ApiServer, End, NAMESPACE};
use super::harness::{Program, Started, Token, send_raw, serve};
use super::lifecycle::admin;

/// Bounds every wait, on a machine that may be busy.
const WITHIN: Duration = Duration::from_secs(30);

async fn program(api: &ApiServer) -> Program {
    client(api)
        .await
        .var("VOXGATE_KEYS_KUBERNETES_SELECTOR", "voxgate.dev/keys=true")
}

/// A gateway that reaches the API server.
async fn client(api: &ApiServer) -> Program {
    let upstream = serve(Router::new().route("/v1/say", get(|| async { "audio" }))).await;
    Program::gateway(upstream)
        .var("KUBECONFIG", api.kubeconfig())
        .var("VOXGATE_DIALECT", "bearer")
}

async fn ask(gateway: &Started, token: &Token) -> u16 {
    let request = format!(
        "GET /v1/say HTTP/1.1\r\nHost: tts\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.text
    );
    send_raw(gateway.address, request).await.status
}

/// Waits until a request with this token has this status.
async fn becomes(gateway: &Started, token: &Token, status: u16) {
    let since = Instant::now();
    while ask(gateway, token).await != status {
        let (id, printed) = (token.id, gateway.printed());
        assert!(
            since.elapsed() < WITHIN,
            "{id} is never answered with {status}: {printed}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for this line in the metrics.
async fn metric(gateway: &Started, line: &str) {
    let since = Instant::now();
    loop {
        let (_, metrics) = admin(gateway, "/metrics").await;
        if metrics.lines().any(|found| found == line) {
            return;
        }
        assert!(since.elapsed() < WITHIN, "no `{line}`: {metrics}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// That no token and no digest was printed, nor is in the metrics.
async fn is_silent(gateway: &Started, tokens: &[&Token]) {
    let (_, metrics) = admin(gateway, "/metrics").await;
    let said = gateway.printed() + &metrics;
    for token in tokens {
        assert!(!said.contains(&token.text), "{}", token.id);
        assert!(!said.contains(&token.digest()), "{}", token.id);
    }
    // The API server's own words might quote what was sent.
    assert!(!said.contains("hunter2") && !said.contains("token-1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_come_into_force_and_go_with_their_secrets() {
    let api = ApiServer::start().await;
    let (a, b, c) = (Token::new("ka"), Token::new("kb"), Token::new("kc"));
    api.set("a", &[("keys.toml", &a.table())]);
    let gateway = program(&api).await.start();
    assert_eq!(ask(&gateway, &a).await, 200);
    assert_eq!(ask(&gateway, &b).await, 401);
    // Single fields are one key, as other operators write them.
    api.set(
        "b",
        &[
            ("id", "kb"),
            ("sha256", &b.digest()),
            ("changed_by", "team-b"),
        ],
    );
    becomes(&gateway, &b, 200).await;
    let record = gateway.wait_for_record("key", |record| {
        record["key_id"] == "kb" && record["change"] == "added"
    });
    assert_eq!(record["changed_by"], "team-b", "{record}");
    // Another Secret repeats an id: it is refused as a whole.
    api.set("c", &[("keys.toml", &(c.table() + &a.table()))]);
    gateway.wait_for_log("Secret voice/c: has a key with the id `ka`, which the Secret a has, too");
    metric(&gateway, "voxgate_key_watch_refused_secrets 1").await;
    assert_eq!(
        (ask(&gateway, &a).await, ask(&gateway, &c).await),
        (200, 401)
    );
    // A mistake in one names it, keeps its key, and others change nevertheless.
    api.set("b", &[("id", "kb"), ("sha256", "hunter2")]);
    gateway.wait_for_log("Secret voice/b, field `sha256`: sha256 must be 64 hexadecimal digits");
    api.set("a", &[("keys.toml", &(a.table() + "disabled = true\n"))]);
    becomes(&gateway, &a, 401).await;
    assert_eq!(ask(&gateway, &b).await, 200);
    api.delete("a");
    becomes(&gateway, &c, 401).await;
    api.set("c", &[("keys.toml", &c.table())]);
    becomes(&gateway, &c, 200).await;
    api.delete("b");
    becomes(&gateway, &b, 401).await;
    gateway.wait_for_record("key", |record| {
        record["key_id"] == "kb" && record["change"] == "removed"
    });
    metric(&gateway, "voxgate_key_watch_refused_secrets 0").await;
    metric(&gateway, "voxgate_key_watch_connected 1").await;
    assert_eq!(api.requests("list ").len(), 1, "the watch was never lost");
    is_silent(&gateway, &[&a, &b, &c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_lost_version_the_secrets_are_listed_again() {
    let api = ApiServer::start().await;
    let (a, b, c) = (Token::new("ka"), Token::new("kb"), Token::new("kc"));
    api.set("a", &[("keys.toml", &a.table())]);
    api.set("b", &[("keys.toml", &b.table())]);
    let gateway = program(&api).await.start();
    becomes(&gateway, &b, 200).await;
    // By the status of the next watch: what happened in between is found.
    api.set_away(true);
    metric(&gateway, "voxgate_key_watch_connected 0").await;
    api.set("c", &[("keys.toml", &c.table())]);
    api.delete("b");
    api.compact();
    api.set_away(false);
    becomes(&gateway, &c, 200).await;
    becomes(&gateway, &b, 401).await;
    assert_eq!(ask(&gateway, &a).await, 200);
    // By an event of the watch itself.
    let lists = api.requests("list ").len();
    api.end_watches(End::Expired);
    api.delete("c");
    becomes(&gateway, &c, 401).await;
    assert_eq!(ask(&gateway, &a).await, 200);
    gateway.wait_for_log("listing the Secrets again");
    assert!(api.requests("list ").len() > lists);
    is_silent(&gateway, &[&a, &b, &c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_breaks_amid_a_line_resumes_where_it_was() {
    let api = ApiServer::start().await;
    let (a, b) = (Token::new("ka"), Token::new("kb"));
    api.set("a", &[("keys.toml", &a.table())]);
    let gateway = program(&api).await.start();
    becomes(&gateway, &a, 200).await;
    let lists = api.requests("list ").len();
    api.cut_next_event();
    api.set("b", &[("keys.toml", &b.table())]);
    becomes(&gateway, &b, 200).await;
    // After a bookmark, it resumes from there.
    api.bookmark();
    api.end_watches(End::Cleanly);
    api.delete("a");
    becomes(&gateway, &a, 401).await;
    let watches = api.requests("watch ");
    let versions: Vec<&str> = watches
        .iter()
        .filter_map(|query| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix("resourceVersion="))
        })
        .collect();
    assert_eq!(versions[..2], ["101", "101"], "{versions:?}");
    assert!(
        versions[2..]
            .iter()
            .all(|version| ["102", "112", "113"].contains(version)),
        "{versions:?}"
    );
    assert_eq!(
        api.requests("list ").len(),
        lists,
        "nothing was listed again"
    );
    is_silent(&gateway, &[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_keys_stay_while_the_api_server_is_away() {
    let api = ApiServer::start().await;
    let a = Token::new("ka");
    api.set("a", &[("keys.toml", &a.table())]);
    let gateway = program(&api).await.start();
    becomes(&gateway, &a, 200).await;
    api.set_away(true);
    gateway.wait_for_log("the last good keys stay in force");
    metric(&gateway, "voxgate_key_watch_connected 0").await;
    assert_eq!(ask(&gateway, &a).await, 200);
    assert_eq!(admin(&gateway, "/readyz").await.0, 200);
    let age = async || {
        let (_, metrics) = admin(&gateway, "/metrics").await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("voxgate_key_ring_seconds_since_load "));
        line.unwrap().parse::<f64>().unwrap()
    };
    let since = Instant::now();
    while age().await < 2.0 {
        assert!(
            since.elapsed() < WITHIN,
            "the age of the keys does not grow"
        );
        sleep(Duration::from_millis(200)).await;
    }
    let (_, metrics) = admin(&gateway, "/metrics").await;
    assert!(
        !metrics.contains("voxgate_key_ring_failed_loads_total 0\n"),
        "{metrics}"
    );
    api.delete("a");
    api.set_away(false);
    becomes(&gateway, &a, 401).await;
    metric(&gateway, "voxgate_key_watch_connected 1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_the_gateway_is_not_ready_and_says_what_it_lacks() {
    let api = ApiServer::start().await;
    let a = Token::new("ka");
    api.set("voxgate-keys", &[("keys.toml", &a.table())]);
    api.set("other", &[("keys.toml", &Token::new("other").table())]);
    api.forbid(Some("list"));
    let gateway = client(&api)
        .await
        .var("VOXGATE_KEYS_KUBERNETES_SECRET", "voxgate-keys")
        .var("VOXGATE_KEYS_KUBERNETES_NAMESPACE", NAMESPACE)
        .start();
    assert_eq!(ask(&gateway, &a).await, 401);
    let (status, text) = admin(&gateway, "/readyz?verbose").await;
    assert_eq!(status, 503, "{text}");
    assert!(
        text.contains("[-]keys failed: the Secrets with keys are not listed yet"),
        "{text}"
    );
    gateway.wait_for_log(
        "Role with the verb `list` on `secrets` with resourceNames [`voxgate-keys`] in the namespace `voice`",
    );
    api.forbid(Some("watch"));
    becomes(&gateway, &a, 200).await;
    gateway.wait_for_log("Role with the verb `watch`");
    assert_eq!(admin(&gateway, "/readyz").await.0, 200);
    // What may not be watched is listed: a revoked key must not wait for the Role.
    api.set(
        "voxgate-keys",
        &[("keys.toml", &(a.table() + "disabled = true\n"))],
    );
    becomes(&gateway, &a, 401).await;
    api.forbid(None);
    metric(&gateway, "voxgate_key_watch_connected 1").await;
    metric(&gateway, "voxgate_keys 1").await;
    is_silent(&gateway, &[&a]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keys_file_is_used_until_the_api_server_has_answered() {
    let api = ApiServer::start().await;
    let (a, b, c) = (Token::new("ka"), Token::new("kb"), Token::new("kc"));
    api.set("b", &[("keys.toml", &b.table())]);
    api.set_away(true);
    let file = api.folder.path().join("keys.toml");
    fs::write(&file, a.table()).unwrap();
    let gateway = program(&api).await.var("VOXGATE_KEYS_FILE", &file).start();
    assert_eq!(
        (ask(&gateway, &a).await, ask(&gateway, &b).await),
        (200, 401)
    );
    assert_eq!(admin(&gateway, "/readyz").await.0, 200);
    gateway.wait_for_log("the keys of the keys file are in force until the API server answers");
    fs::write(&file, c.table()).unwrap();
    becomes(&gateway, &c, 200).await;
    assert_eq!(ask(&gateway, &a).await, 401);
    api.set_away(false);
    becomes(&gateway, &b, 200).await;
    assert_eq!(ask(&gateway, &c).await, 401);
    // From now on, the file does not count.
    api.set_away(true);
    gateway.wait_for_log("the last good keys stay in force");
    assert_eq!(
        (ask(&gateway, &b).await, ask(&gateway, &c).await),
        (200, 401)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_replaced_is_read_again() {
    let api = ApiServer::start().await;
    let (a, b) = (Token::new("ka"), Token::new("kb"));
    api.set("a", &[("keys.toml", &a.table())]);
    api.require_token("token-1");
    let gateway = program(&api).await.start();
    becomes(&gateway, &a, 200).await;
    api.require_token("token-2");
    fs::write(api.folder.path().join("token"), "token-2").unwrap();
    api.end_watches(End::Broken);
    api.set("b", &[("keys.toml", &b.table())]);
    becomes(&gateway, &b, 200).await;
    assert_eq!(ask(&gateway, &a).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_made_and_revoked_in_the_cluster() {
    let api = ApiServer::start().await;
    let run = |arguments: &[&str]| {
        let target = ["--kubernetes-secret", "voxgate-keys", "--apply"];
        let arguments = [&["key"], arguments, &target].concat();
        let command = Program::new(&arguments).var("KUBECONFIG", api.kubeconfig());
        command.var("VOXGATE_DIALECT", "bearer").run()
    };
    // The Secret does not exist yet.
    let (code, token, said) = run(&["new", "--id", "ka"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("applied the Secret voice/voxgate-keys"),
        "{said}"
    );
    let a = Token {
        id: "ka",
        text: token.trim().to_owned(),
    };
    assert!(
        api.part("voxgate-keys", "keys.toml")
            .unwrap()
            .contains(&a.digest())
    );
    let gateway = client(&api)
        .await
        .var("VOXGATE_KEYS_KUBERNETES_SECRET", "voxgate-keys")
        .start();
    assert_eq!(ask(&gateway, &a).await, 200);
    // What another field manager owns is not overwritten, and it is named.
    api.own_part("argocd");
    let (code, printed, said) = run(&["revoke", "ka"]);
    assert_eq!((code, printed.as_str()), (Some(1), ""), "{said}");
    assert!(
        said.contains("the field manager `argocd` (.data.keys.toml)"),
        "{said}"
    );
    assert!(
        said.contains("--force-conflicts") && !said.contains("hunter2"),
        "{said}"
    );
    api.change_before_next_apply();
    api.disown_part();
    let (code, _, said) = run(&["new", "--id", "kb"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("run the command again"), "{said}");
    api.forbid(Some("patch"));
    let (_, _, said) = run(&["revoke", "ka"]);
    assert!(
        said.contains("the verbs `create` and `patch` on `secrets` in the namespace `voice`"),
        "{said}"
    );
    api.forbid(None);
    assert_eq!(ask(&gateway, &a).await, 200);
    let (code, _, said) = run(&["revoke", "ka"]);
    assert_eq!(code, Some(0), "{said}");
    becomes(&gateway, &a, 401).await;
    is_silent(&gateway, &[&a]).await;
}
