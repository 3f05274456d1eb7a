//! A small API server: lists and watches of Secrets, with the faults of a real one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::unfold;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::super::harness::{ANY, listen};

pub(super) const NAMESPACE: &str = "voice";

/// How open watches end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Cleanly,
    /// Without the end of the body.
    Broken,
    /// With an event of the type ERROR.
    Expired,
}

#[derive(Default)]
struct Objects {
    version: u64,
    /// The version before which changes are forgotten.
    oldest: u64,
    secrets: BTreeMap<String, Value>,
    events: Vec<(u64, Value)>,
    /// Counts the ends of all open watches.
    epoch: u64,
    end: Option<End>,
    /// Whether the next event breaks its watch in its middle.
    cuts_next: bool,
    is_away: bool,
    token: Option<&'static str>,
    /// The verb that is not allowed.
    forbidden: Option<&'static str>,
    /// Another field manager of the part.
    manager: Option<&'static str>,
    /// Whether another client writes before the next apply.
    changes_meanwhile: bool,
    /// Whether another client deletes the Secret before the next apply.
    deletes_meanwhile: bool,
    requests: Vec<String>,
}

/// The server, and the files of a client.
pub(super) struct ApiServer {
    objects: Arc<Mutex<Objects>>,
    changed: watch::Sender<u64>,
    pub(super) folder: TempDir,
}

type Shared = (Arc<Mutex<Objects>>, watch::Sender<u64>);

impl ApiServer {
    pub(super) async fn start() -> Self {
        let objects = Arc::new(Mutex::new(Objects {
            version: 100,
            ..Objects::default()
        }));
        let changed = watch::Sender::new(0);
        let listener = listen(ANY).await;
        let folder = tempfile::tempdir().unwrap();
        let this = Self {
            objects,
            changed,
            folder,
        };
        this.write_kubeconfig(listener.local_addr().unwrap());
        let router = Router::new()
            .route(
                "/api/v1/namespaces/{namespace}/secrets",
                get(read).post(create),
            )
            .route(
                "/api/v1/namespaces/{namespace}/secrets/{name}",
                get(one).patch(apply),
            )
            .with_state((Arc::clone(&this.objects), this.changed.clone()));
        tokio::spawn(accept(listener, router, Arc::clone(&this.objects)));
        this
    }

    fn write_kubeconfig(&self, address: SocketAddr) {
        let token = self.folder.path().join("token");
        std::fs::write(&token, "token-1").unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "test", "user": {"tokenFile": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}],
        });
        std::fs::write(self.kubeconfig(), config.to_string()).unwrap();
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Makes or changes a Secret.
    pub(super) fn set(&self, name: &str, parts: &[(&str, &str)]) {
        let labels = json!({"voxgate.dev/keys": "true"});
        store(&self.objects, name, parts, &labels, &json!([]));
        self.tell();
    }

    pub(super) fn delete(&self, name: &str) {
        {
            let mut objects = self.objects();
            objects.version += 1;
            let version = objects.version;
            let mut secret = objects.secrets.remove(name).unwrap();
            secret["metadata"]["resourceVersion"] = json!(version.to_string());
            let event = json!({"type": "DELETED", "object": secret});
            objects.events.push((version, event));
        }
        self.tell();
    }

    /// Advances the version, and tells it to the watches.
    pub(super) fn bookmark(&self) {
        {
            let mut objects = self.objects();
            objects.version += 10;
            let version = objects.version;
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"resourceVersion": version.to_string(), "creationTimestamp": null},
            });
            objects
                .events
                .push((version, json!({"type": "BOOKMARK", "object": secret})));
        }
        self.tell();
    }

    /// Forgets all changes so far, as etcd does when it is compacted.
    pub(super) fn compact(&self) {
        let mut objects = self.objects();
        objects.version += 1;
        objects.oldest = objects.version;
        objects.events.clear();
    }

    pub(super) fn end_watches(&self, end: End) {
        {
            let mut objects = self.objects();
            objects.epoch += 1;
            objects.end = Some(end);
        }
        self.tell();
    }

    pub(super) fn cut_next_event(&self) {
        self.objects().cuts_next = true;
    }

    /// Whether no request is answered.
    pub(super) fn set_away(&self, is_away: bool) {
        self.objects().is_away = is_away;
        if is_away {
            self.end_watches(End::Broken);
        }
    }

    pub(super) fn forbid(&self, verb: Option<&'static str>) {
        self.objects().forbidden = verb;
    }

    pub(super) fn require_token(&self, token: &'static str) {
        self.objects().token = Some(token);
    }

    pub(super) fn change_before_next_apply(&self) {
        self.objects().changes_meanwhile = true;
    }

    pub(super) fn delete_before_next_apply(&self) {
        self.objects().deletes_meanwhile = true;
    }

    /// A label of a Secret.
    pub(super) fn label(&self, name: &str, label: &str) -> Option<String> {
        let objects = self.objects();
        let label = objects.secrets.get(name)?["metadata"]["labels"][label].as_str();
        label.map(str::to_owned)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.objects().secrets.contains_key(name)
    }

    pub(super) fn own_part(&self, manager: &'static str) {
        self.objects().manager = Some(manager);
    }

    pub(super) fn disown_part(&self) {
        self.objects().manager = None;
    }

    /// The requests so far: the verb and the query.
    pub(super) fn requests(&self, verb: &str) -> Vec<String> {
        let objects = self.objects();
        let requests = objects.requests.iter();
        requests
            .filter_map(|request| request.strip_prefix(verb).map(str::to_owned))
            .collect()
    }

    /// The text of a part of a Secret.
    pub(super) fn part(&self, name: &str, part: &str) -> Option<String> {
        let objects = self.objects();
        let text = objects.secrets.get(name)?["data"][part]
            .as_str()?
            .to_owned();
        Some(String::from_utf8(STANDARD.decode(text).unwrap()).unwrap())
    }
}

/// Makes or changes a Secret.
fn store(
    objects: &Mutex<Objects>,
    name: &str,
    parts: &[(&str, &str)],
    labels: &Value,
    managers: &Value,
) -> Value {
    let mut objects = objects.lock().unwrap();
    objects.version += 1;
    let version = objects.version;
    let data = parts.iter();
    let data = data.map(|(part, text)| ((*part).to_owned(), json!(STANDARD.encode(text))));
    let data: serde_json::Map<String, Value> = data.collect();
    let old = objects.secrets.get(name);
    let uid = old.map_or(json!(format!("uid-{version}")), |old| {
        old["metadata"]["uid"].clone()
    });
    let r#type = if old.is_some() { "MODIFIED" } else { "ADDED" };
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
        "metadata": {
            "name": name, "namespace": NAMESPACE, "uid": uid, "resourceVersion": version.to_string(),
            "creationTimestamp": "2026-11-28T00:00:00Z", "labels": labels, "managedFields": managers,
        },
    });
    objects.secrets.insert(name.to_owned(), secret.clone());
    let event = json!({"type": r#type, "object": secret});
    objects.events.push((version, event));
    secret
}

async fn accept(listener: TcpListener, router: Router, objects: Arc<Mutex<Objects>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        if objects.lock().unwrap().is_away {
            continue;
        }
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn status(code: StatusCode, reason: &str, details: Value) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
        "reason": reason, "details": details, "message": "not shown: hunter2",
    });
    (code, body.to_string()).into_response()
}

/// Refuses what the server should refuse now.
fn refusal(objects: &Objects, verb: &str, headers: &HeaderMap) -> Option<Response> {
    let token = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    if objects.is_away {
        return Some(status(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            json!({}),
        ));
    }
    if objects.token.is_some_and(|wanted| token != Some(wanted)) {
        return Some(status(StatusCode::UNAUTHORIZED, "Unauthorized", json!({})));
    }
    let is_forbidden = objects.forbidden == Some(verb);
    is_forbidden.then(|| status(StatusCode::FORBIDDEN, "Forbidden", json!({})))
}

/// Whether a Secret is among those that were asked for.
fn is_selected(secret: &Value, query: &BTreeMap<String, String>) -> bool {
    let name = query
        .get("fieldSelector")
        .map(|field| field.strip_prefix("metadata.name=").unwrap());
    let label = query
        .get("labelSelector")
        .map(|label| label.split_once('=').unwrap());
    let is_named = name.is_none_or(|name| secret["metadata"]["name"] == name);
    is_named && label.is_none_or(|(label, value)| secret["metadata"]["labels"][label] == value)
}

async fn read(
    State((objects, changed)): State<Shared>,
    Path(namespace): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    assert_eq!(namespace, NAMESPACE);
    let text = query.unwrap_or_default();
    let query = http_query(&text);
    let is_watch = query.get("watch").map(String::as_str) == Some("true");
    let verb = if is_watch { "watch" } else { "list" };
    let mut state = objects.lock().unwrap();
    state.requests.push(format!("{verb} {text}"));
    if let Some(refusal) = refusal(&state, verb, &headers) {
        return refusal;
    }
    if !is_watch {
        // Two pages, so that the second one has to be asked for.
        let found = state
            .secrets
            .values()
            .filter(|secret| is_selected(secret, &query));
        let found: Vec<Value> = found.cloned().collect();
        let version = state.version.to_string();
        let half = found.len() / 2;
        let (items, next) = match query.get("continue") {
            Some(_) => (&found[half..], ""),
            None if half > 0 => (&found[..half], "second page"),
            None => (&found[..], ""),
        };
        let list = json!({
            "kind": "SecretList", "apiVersion": "v1", "items": items,
            "metadata": {"resourceVersion": version, "continue": next},
        });
        return list.to_string().into_response();
    }
    let from: u64 = query["resourceVersion"].parse().unwrap();
    assert_eq!(query["allowWatchBookmarks"], "true");
    if from < state.oldest {
        return status(StatusCode::GONE, "Expired", json!({}));
    }
    let epoch = state.epoch;
    drop(state);
    let start = Stream {
        objects,
        changed: changed.subscribe(),
        query,
        from,
        epoch,
        is_over: false,
        fails: false,
    };
    Body::from_stream(unfold(start, Stream::next)).into_response()
}

struct Stream {
    objects: Arc<Mutex<Objects>>,
    changed: watch::Receiver<u64>,
    query: BTreeMap<String, String>,
    from: u64,
    epoch: u64,
    is_over: bool,
    /// Whether the connection breaks now.
    fails: bool,
}

impl Stream {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        loop {
            if self.fails {
                self.fails = false;
                self.is_over = true;
                return Some((Err(io::Error::other("broken")), self));
            }
            if self.is_over {
                return None;
            }
            if let Some(line) = self.line() {
                return Some((Ok(line), self));
            }
            if !self.fails && !self.is_over && self.changed.changed().await.is_err() {
                return None;
            }
        }
    }

    fn line(&mut self) -> Option<Bytes> {
        let objects = Arc::clone(&self.objects);
        let mut objects = objects.lock().unwrap();
        if objects.epoch != self.epoch {
            match objects.end {
                Some(End::Broken) => self.fails = true,
                Some(End::Expired) => {
                    self.is_over = true;
                    let error = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}});
                    return Some(Bytes::from(format!("{error}\n")));
                }
                _ => self.is_over = true,
            }
            return None;
        }
        let next = objects.events.iter().find(|(version, event)| {
            let is_bookmark = event["type"] == "BOOKMARK";
            *version > self.from && (is_bookmark || is_selected(&event["object"], &self.query))
        });
        let (version, event) = next.cloned()?;
        let line = format!("{event}\n");
        if std::mem::take(&mut objects.cuts_next) {
            self.fails = true;
            return Some(Bytes::from(line[..line.len() / 2].to_owned()));
        }
        self.from = version;
        Some(Bytes::from(line))
    }
}

fn http_query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let decoded = |text: &str| {
        text.replace("%3D", "=")
            .replace("%2F", "/")
            .replace('+', " ")
    };
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

async fn one(
    State((objects, _)): State<Shared>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let state = objects.lock().unwrap();
    if let Some(refusal) = refusal(&state, "get", &headers) {
        return refusal;
    }
    match state.secrets.get(&name) {
        Some(secret) => secret.to_string().into_response(),
        None => status(StatusCode::NOT_FOUND, "NotFound", json!({})),
    }
}

/// Makes an empty Secret, which must not exist.
async fn create(
    State((objects, changed)): State<Shared>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let secret: Value = serde_json::from_str(&body).unwrap();
    let name = secret["metadata"]["name"].as_str().unwrap();
    {
        let state = objects.lock().unwrap();
        if let Some(refusal) = refusal(&state, "create", &headers) {
            return refusal;
        }
        if state.secrets.contains_key(name) {
            return status(StatusCode::CONFLICT, "AlreadyExists", json!({}));
        }
    }
    let made = store(&objects, name, &[], &json!({}), &json!([]));
    changed.send_modify(|count| *count += 1);
    (StatusCode::CREATED, made.to_string()).into_response()
}

/// Server-side apply, as far as one part and the labels are concerned.
async fn apply(
    State((objects, changed)): State<Shared>,
    Path((namespace, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Infallible> {
    let mut state = objects.lock().unwrap();
    let query = query.unwrap_or_default();
    state.requests.push(format!("patch {query}"));
    if let Some(refusal) = refusal(&state, "patch", &headers) {
        return Ok(refusal);
    }
    assert_eq!(headers["content-type"], "application/apply-patch+yaml");
    let secret: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(secret["metadata"]["namespace"], namespace);
    let query = http_query(&query);
    assert_eq!(query["fieldManager"], "voxgate");
    if let Some(manager) = state.manager.filter(|_| !query.contains_key("force")) {
        let cause = json!({
            "reason": "FieldManagerConflict", "field": ".data.keys.toml",
            "message": format!("conflict with \"{manager}\" using v1"),
        });
        return Ok(status(
            StatusCode::CONFLICT,
            "Conflict",
            json!({"causes": [cause]}),
        ));
    }
    if std::mem::take(&mut state.deletes_meanwhile) {
        state.secrets.remove(&name);
    }
    let wanted = &secret["metadata"];
    let is_as_read = match state.secrets.get(&name) {
        Some(before) => before["metadata"]["resourceVersion"] == wanted["resourceVersion"],
        // A real one makes the Secret again, unless the `uid` is given.
        None => wanted["uid"].is_null(),
    };
    if std::mem::take(&mut state.changes_meanwhile) || !is_as_read {
        return Ok(status(StatusCode::CONFLICT, "Conflict", json!({})));
    }
    let own = own_labels(state.secrets.get(&name));
    let mut labels = match state.secrets.get(&name) {
        Some(before) => before["metadata"]["labels"].clone(),
        None => json!({}),
    };
    drop(state);
    // Server-side apply removes the fields of the manager that it does not repeat.
    let given = wanted["labels"].as_object().cloned().unwrap_or_default();
    if let Value::Object(labels) = &mut labels {
        labels.retain(|label, _| !own.contains(label));
        labels.extend(given.clone());
    }
    let fields: serde_json::Map<String, Value> = given
        .keys()
        .map(|label| (format!("f:{label}"), json!({})))
        .collect();
    let managers = json!([{
        "manager": "voxgate", "operation": "Apply",
        "fieldsV1": {"f:data": {"f:keys.toml": {}}, "f:metadata": {"f:labels": fields}},
    }]);
    let part = secret["data"]["keys.toml"].as_str().unwrap();
    let text = String::from_utf8(STANDARD.decode(part).unwrap()).unwrap();
    let applied = store(&objects, &name, &[("keys.toml", &text)], &labels, &managers);
    changed.send_modify(|count| *count += 1);
    Ok(applied.to_string().into_response())
}

/// The labels that the field manager of Voxgate has set.
fn own_labels(secret: Option<&Value>) -> Vec<String> {
    let Some(secret) = secret else {
        return Vec::new();
    };
    let fields = &secret["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:labels"];
    let fields = fields.as_object().into_iter().flatten();
    fields
        .filter_map(|(name, _)| Some(name.strip_prefix("f:")?.to_owned()))
        .collect()
}
