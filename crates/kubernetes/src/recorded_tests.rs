//! What a real API server answers: see `tests/recorded/README.md`.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use voxgate::Dialect;
use voxgate::principal::KeyState;

use super::api::{Api, ApiError, Selection};
use super::apply::{ApplyError, conflict};
use super::collection::SecretCollection;
use super::wire::WatchEvent;

/// An answer by its name.
fn recorded(name: &str) -> Vec<u8> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded");
    std::fs::read(format!("{directory}/{name}.http")).expect("a recorded answer")
}

/// Sends recorded answers, one for each request.
struct Replay {
    api: Api,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Replay {
    async fn of(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&requests);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    head.push(stream.read_u8().await.expect("a request"));
                }
                let head = String::from_utf8(head).expect("text");
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    let is_length = name.eq_ignore_ascii_case("content-length");
                    is_length.then(|| value.parse::<usize>().expect("a length"))
                });
                let mut body = vec![0; length.unwrap_or_default()];
                stream.read_exact(&mut body).await.expect("a body");
                let line = head.lines().next().unwrap_or_default().to_owned();
                heard.lock().expect("requests").push(line);
                stream
                    .write_all(&recorded(answer))
                    .await
                    .expect("an answer");
            }
        });
        let uri = format!("http://{address}").parse().expect("a URI");
        let api = Api::new(kube_client::Config::new(uri)).expect("a client");
        Self { api, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("requests").clone()
    }
}

fn selection() -> Selection {
    Selection {
        namespace: "voice".to_owned(),
        selector: ("labelSelector", "voxgate.dev/keys=true".to_owned()),
    }
}

/// The ids of the keys in force, and whether they are refused.
fn keys(secrets: &SecretCollection) -> Vec<(String, bool)> {
    let keys = secrets.keys();
    let keys = keys.map(|(_, key)| {
        let principal = key.principal();
        let is_disabled = principal.current_state() == KeyState::Disabled;
        (principal.id().to_owned(), is_disabled)
    });
    keys.collect()
}

#[tokio::test]
async fn secrets_are_listed_and_watched() {
    let replay = Replay::of(&["list-1", "list-2", "list-3", "watch"]).await;
    let selection = selection();
    let (list, version) = replay.api.list(&selection).await.expect("three pages");
    assert_eq!(version, "305");
    let mut secrets = SecretCollection::new("voice", Dialect::Bearer);
    secrets.replace(list);
    assert!(secrets.settle().problems.is_empty());
    assert_eq!(
        keys(&secrets),
        [("ka".to_owned(), false), ("kb".to_owned(), false)]
    );
    let mut events = replay
        .api
        .watch(&selection, &version)
        .await
        .expect("a watch");
    let mut seen = Vec::new();
    while let Some(event) = events.next().await.expect("an event") {
        match event {
            WatchEvent::Set(secret) => {
                seen.push(format!("set {}", secret.metadata.name));
                secrets.set(secret);
            }
            WatchEvent::Deleted(secret) => {
                seen.push(format!("deleted {}", secret.metadata.name));
                secrets.remove(&secret.metadata.name);
            }
            WatchEvent::Bookmark(version) => seen.push(format!("bookmark {version}")),
            WatchEvent::Error(code) => seen.push(format!("error {code}")),
        }
        assert!(secrets.settle().problems.is_empty());
    }
    // A Secret that loses the label is deleted for this watch.
    let expected = ["set a", "set d", "deleted b", "deleted d", "bookmark 310"];
    assert_eq!(seen, expected);
    assert_eq!(keys(&secrets), [("ka".to_owned(), true)]);
    let requests = replay.requests();
    let selector = "GET /api/v1/namespaces/voice/secrets?labelSelector=voxgate.dev%2Fkeys%3Dtrue&";
    assert!(requests.iter().all(|request| request.starts_with(selector)));
    assert!(requests[1].contains("&continue=eyJ2Ijoi"), "{requests:?}");
    assert!(
        requests[3].contains("&watch=true&allowWatchBookmarks=true&resourceVersion=305&"),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_version_that_has_expired_is_noticed() {
    let replay = Replay::of(&["expired-watch", "list-1", "gone"]).await;
    let selection = selection();
    let watch = replay.api.watch(&selection, "305").await;
    let event = watch.expect("status 200").next().await.expect("an event");
    assert!(matches!(event, Some(WatchEvent::Error(410))));
    let listed = replay.api.list(&selection).await.map(|_| ());
    assert_eq!(listed, Err(ApiError::Expired));
}

#[tokio::test]
async fn refusals_are_told_apart_and_not_repeated() {
    let replay = Replay::of(&["unauthorized", "forbidden", "not-found"]).await;
    let selection = selection();
    let refused = async || match replay.api.list(&selection).await {
        Ok(_) => panic!("the list is refused"),
        Err(error) => error,
    };
    let error = refused().await;
    assert!(error.is_unauthorized() && !error.is_forbidden());
    let error = refused().await;
    assert!(error.is_forbidden());
    // The message of the API server names the user, and may quote what was sent.
    let expected = "the API server answers with status 403 (Forbidden)";
    assert_eq!(error.to_string(), expected);
    let missing = replay.api.get_secret("voice", "nowhere").await;
    assert!(missing.expect("an answer").is_none());
}

#[tokio::test]
async fn an_apply_that_is_refused_says_why() {
    let answers = &[
        "create", "exists", "applied", "conflict", "changed", "deleted",
    ];
    let replay = Replay::of(answers).await;
    let create = || {
        replay
            .api
            .create("voice", "fieldManager=voxgate", "{}".to_owned())
    };
    let apply = || {
        let api = &replay.api;
        api.apply("voice", "owned", "fieldManager=voxgate", "{}".to_owned())
    };
    let made = create().await.map_err(|(error, _)| error).expect("made");
    assert_eq!(made["metadata"]["resourceVersion"], "338");
    let refused = |answer: Result<_, _>| {
        let (error, status) = answer.map(|_| ()).expect_err("a refusal");
        assert!(matches!(error, ApiError::Refused(409, _)), "{error}");
        conflict(&status)
    };
    assert_eq!(refused(create().await), ApplyError::Changed);
    let applied = apply().await.map_err(|(error, _)| error).expect("applied");
    assert_eq!(applied["metadata"]["resourceVersion"], "339");
    let owner = "the field manager `argocd` (.data.keys.toml)".to_owned();
    assert_eq!(refused(apply().await), ApplyError::Conflict(vec![owner]));
    assert_eq!(refused(apply().await), ApplyError::Changed);
    assert_eq!(refused(apply().await), ApplyError::Changed);
}
