//! Commands, where the keys are those of watched Secrets.

use super::super::harness::{Program, Started, Token};
use super::api_server::ApiServer;
use super::{ask, becomes, client, program};

const LABEL: &str = "voxgate.dev/keys";
const WATCHED: (&str, &str) = ("VOXGATE_KEYS_KUBERNETES_SELECTOR", "voxgate.dev/keys=true");

/// Runs a command where a gateway would watch the Secrets with the label.
fn run(api: &ApiServer, arguments: &[&str]) -> (Option<i32>, String, String) {
    let command = Program::new(arguments).var("KUBECONFIG", api.kubeconfig());
    let command = command.var("VOXGATE_DIALECT", "bearer");
    command.var(WATCHED.0, WATCHED.1).run()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_know_the_keys_of_watched_secrets() {
    let api = ApiServer::start().await;
    let (a, b) = (Token::new("ka"), Token::new("kb"));
    api.set("a", &[("keys.toml", &(a.table() + "rate = \"7/s\"\n"))]);
    let fields = [("id", "kb"), ("sha256", &b.digest()), ("disabled", "true")];
    api.set("b", &fields);
    api.set("c", &[("id", "kc"), ("sha256", "hunter2")]);
    let wrong = "warning: Secret voice/c, field `sha256`: ";
    let (code, shown, said) = run(&api, &["limits"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(shown.contains("ka") && shown.contains("7/s"), "{shown}");
    assert!(said.contains(wrong) && !said.contains("hunter2"), "{said}");
    for (key, outcome) in [("ka", "ka is active"), ("kb", "kb is disabled")] {
        let (code, shown, said) = run(&api, &["explain", "GET", "/v1/say", "--key", key]);
        assert_eq!(code, Some(0), "{said}");
        assert!(shown.contains(outcome), "{shown}");
    }
    let (code, shown, said) = run(&api, &["key", "list"]);
    assert_eq!(code, Some(0), "{said}");
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let last = |row: &Vec<&str>| (row[0].to_owned(), row[row.len() - 1].to_owned());
    let shown: Vec<(String, String)> = rows.iter().map(last).collect();
    let expected = [("ID", "SECRET"), ("ka", "a"), ("kb", "b")];
    let expected = expected.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
    assert_eq!(shown, expected);
    assert!(said.contains("Secret voice/c, field `sha256`"), "{said}");
    let (_, shown, _) = run(&api, &["key", "list", "--kubernetes-secret=b", "--json"]);
    assert!(
        shown.contains("\"kubernetes_secret\": \"b\"") && !shown.contains("ka"),
        "{shown}"
    );
    let check = [
        "check",
        "--upstream=http://127.0.0.1:9",
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
    ];
    let (code, shown, said) = run(&api, &check);
    assert_eq!(code, Some(0), "{said}");
    assert!(shown.contains(wrong), "{shown}");
    // Where the Secrets cannot be listed, each command says what to do.
    api.forbid(Some("list"));
    for command in [
        &["limits"][..],
        &["explain", "GET", "/v1/say", "--key=ka"],
        &["key", "list"],
    ] {
        let (code, shown, said) = run(&api, command);
        assert!(code.is_some_and(|code| code != 0), "{command:?}");
        assert_eq!(shown, "", "{command:?}");
        assert!(
            said.contains(
                "VOXGATE_KEYS_KUBERNETES_SELECTOR: cannot list the Secrets with the label"
            ) && said.contains("the verb `list` on `secrets` in the namespace `voice`"),
            "{command:?}: {said}"
        );
    }
    let (code, shown, said) = run(&api, &check);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        shown.contains("warning: VOXGATE_KEYS_KUBERNETES_SELECTOR: "),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_makes_and_revokes_a_key_in_its_own_secret() {
    let api = ApiServer::start().await;
    let team = ["--kubernetes-secret=team", "--apply"];
    let gateway = program(&api).await.start();
    let label = "--secret-label=voxgate.dev/keys=true";
    let (code, token, said) = run(
        &api,
        &[&["key", "new", "--id", "ka", label][..], &team].concat(),
    );
    assert_eq!(code, Some(0), "{said}");
    let a = Token {
        id: "ka",
        text: token.trim().to_owned(),
    };
    becomes(&gateway, &a, 200).await;
    // Without the name of the Secret, nothing else is changed.
    let (code, _, said) = run(&api, &["key", "revoke", "ka"]);
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("give --kubernetes-secret NAME and --apply"),
        "{said}"
    );
    // A change leaves the label, without which the gateway would not see the Secret.
    let (code, _, said) = run(&api, &[&["key", "revoke", "ka"][..], &team].concat());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(api.label("team", LABEL).as_deref(), Some("true"));
    gateway.wait_for_record("key", |record| record["state"] == "disabled");
    assert_eq!(ask(&gateway, &a).await, 401);
    // A Secret that was deleted in the meantime is not made again.
    api.delete_before_next_apply();
    let (code, _, said) = run(&api, &[&["key", "new", "--id", "kb"][..], &team].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("run the command again"), "{said}");
    assert!(!api.has("team"));
    // The fields of one key are changed where they come from.
    api.set(
        "fields",
        &[("id", "kc"), ("sha256", &Token::new("kc").digest())],
    );
    for command in [&["key", "revoke", "kc"][..], &["key", "new", "--id", "kd"]] {
        let target = ["--kubernetes-secret=fields", "--apply"];
        let (code, _, said) = run(&api, &[command, &target].concat());
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("the Secret voice/fields has the fields of one key"),
            "{said}"
        );
    }
}

/// Where the command may not write the Secret, it reaches the gateway in its own pod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_a_keys_file_has_a_control_socket() {
    let api = ApiServer::start().await;
    let a = Token::new("ka");
    api.set("a", &[("keys.toml", &a.table())]);
    let directory = tempfile::tempdir().unwrap();
    let gateway: Started = client(&api)
        .await
        .var(WATCHED.0, WATCHED.1)
        .var("VOXGATE_CONTROL_DIR", directory.path())
        .start();
    becomes(&gateway, &a, 200).await;
    let revoke = |more: &[&str]| {
        let command = ["key", "revoke", "ka", "--kubernetes-secret=a", "--now"];
        Program::new(&[&command, more].concat())
            .var("KUBECONFIG", api.kubeconfig())
            .var("VOXGATE_DIALECT", "bearer")
            .var(WATCHED.0, WATCHED.1)
            .var("VOXGATE_CONTROL_DIR", directory.path())
            .run()
    };
    let (code, _, said) = revoke(&[]);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("--now: needs --apply"), "{said}");
    api.forbid(Some("patch"));
    let (code, _, said) = revoke(&["--apply"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the verbs `create` and `patch`"), "{said}");
    assert!(
        said.contains(&format!(
            "confirmed: process {} refuses `ka`",
            gateway.pid()
        )),
        "{said}"
    );
    assert_eq!(ask(&gateway, &a).await, 401);
    // Another version of the Secret does not accept it again.
    api.set(
        "a",
        &[("keys.toml", &(Token::new("kb").table() + &a.table()))],
    );
    gateway.wait_for_log("keys reloaded");
    assert_eq!(ask(&gateway, &a).await, 401);
}
