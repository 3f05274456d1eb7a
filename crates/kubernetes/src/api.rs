//! The requests to the API server.
//!
//! The bodies are read here and not by `kube_client::Client::request`, which logs an answer that it
//! cannot read: an answer of this path holds Secrets.

use std::fmt;
use std::time::Duration;

use form_urlencoded::Serializer;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use kube_client::client::Body;
use kube_client::{Client, Config};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::wire::{Secret, SecretList, Status, WatchEvent};

/// How long the API server may take to begin its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long one watch lasts, which the API server ends: a connection that is dead without a sign of it
/// is noticed then.
const WATCH_FOR: Duration = Duration::from_secs(30);
const WATCH_GRACE: Duration = Duration::from_secs(5);
/// Secrets on one page of a list.
const PAGE: &str = "100";
/// A Secret has at most 1 MiB (<https://kubernetes.io/docs/concepts/configuration/secret/>), which
/// base64 and its metadata make larger.
const MAX_EVENT_BYTES: usize = 8 << 20;
const MAX_PAGE_BYTES: usize = 256 << 20;

/// A request to the API server failed. It holds nothing of an answer but codes and reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// There is no usable configuration of a client.
    Config(String),
    /// The API server did not answer.
    Unreachable(String),
    /// It refused the request, with this status and reason.
    Refused(u16, String),
    /// It no longer has the changes since the version that was asked for.
    Expired,
    /// The answer is not that of a Kubernetes API server.
    Malformed(&'static str),
}

impl ApiError {
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused(403, _))
    }

    /// Whether the credentials should be read again.
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused(401, _))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) => write!(f, "there is no way to the API server: {why}"),
            Self::Unreachable(why) => write!(f, "the API server does not answer ({why})"),
            Self::Refused(code, reason) if reason.is_empty() => {
                write!(f, "the API server answers with status {code}")
            }
            Self::Refused(code, reason) => {
                write!(f, "the API server answers with status {code} ({reason})")
            }
            Self::Expired => f.write_str("the version to resume from has expired"),
            Self::Malformed(what) => write!(f, "the answer of the API server is wrong: {what}"),
        }
    }
}

/// The causes of an error, without its own repetitions.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Which Secrets a request concerns.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) namespace: String,
    /// `fieldSelector` or `labelSelector`, and its value.
    pub(crate) selector: (&'static str, String),
}

/// A connection to the API server, with the credentials as they were read.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
}

impl Api {
    /// The settings of the client: those of `KUBECONFIG` or `~/.kube/config`, otherwise those of the
    /// pod's ServiceAccount.
    pub(crate) async fn config() -> Result<Config, ApiError> {
        let config = Config::infer().await;
        let mut config = config.map_err(|error| {
            ApiError::Config(format!(
                "neither a kubeconfig (KUBECONFIG) nor the token of a ServiceAccount can be read; in a \
                 pod, set automountServiceAccountToken, or mount a projected token ({})",
                causes(&error)
            ))
        })?;
        config.connect_timeout = Some(CONNECT_WITHIN);
        // Attempts are repeated here, with the state of the watch.
        config.default_retry = false;
        Ok(config)
    }

    /// Reads the certificates and the credentials. It connects with the first request.
    pub(crate) fn new(config: Config) -> Result<Self, ApiError> {
        let client = Client::try_from(config);
        let client = client.map_err(|error| ApiError::Config(causes(&error)))?;
        Ok(Self { client })
    }

    /// Sends a request, and returns an answer that succeeds.
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, ApiError> {
        let answer = timeout(ANSWER_WITHIN, self.client.send(request)).await;
        let answer = answer.map_err(|_| ApiError::Unreachable("no answer in time".to_owned()))?;
        let answer = answer.map_err(|error| ApiError::Unreachable(causes(&error)))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let code = answer.status();
        let body = read_all(answer.into_body(), 1 << 20).await;
        let status: Status = body
            .ok()
            .and_then(|body| serde_json::from_slice(&body).ok())
            .unwrap_or_default();
        Err(refused(code, &status))
    }

    fn get(selection: &Selection, parameters: &[(&str, &str)]) -> Result<Request<Body>, ApiError> {
        let (name, value) = &selection.selector;
        let query = Serializer::new(String::new())
            .append_pair(name, value)
            .extend_pairs(parameters)
            .finish();
        let uri = format!("/api/v1/namespaces/{}/secrets?{query}", selection.namespace);
        let request = Request::builder()
            .uri(uri)
            .header(header::ACCEPT, "application/json")
            // A compressed watch would wait for a block to be full.
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Body::empty());
        request.map_err(|_| ApiError::Config("the namespace is not valid".to_owned()))
    }

    /// All Secrets, and the version of this list.
    pub(crate) async fn list(
        &self,
        selection: &Selection,
    ) -> Result<(Vec<Secret>, String), ApiError> {
        let mut secrets = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut parameters = vec![("limit", PAGE)];
            parameters.extend(next.as_deref().map(|next| ("continue", next)));
            let answer = self.send(Self::get(selection, &parameters)?).await?;
            let body = timeout(ANSWER_WITHIN, read_all(answer.into_body(), MAX_PAGE_BYTES)).await;
            let body =
                body.map_err(|_| ApiError::Unreachable("the list ends too late".to_owned()))??;
            let page: SecretList = serde_json::from_slice(&body)
                .map_err(|_| ApiError::Malformed("it is not a list of Secrets"))?;
            secrets.extend(page.items.unwrap_or_default());
            next = page.metadata.next.filter(|next| !next.is_empty());
            if next.is_none() {
                return Ok((secrets, page.metadata.resource_version));
            }
        }
    }

    /// The changes since this version.
    pub(crate) async fn watch(
        &self,
        selection: &Selection,
        version: &str,
    ) -> Result<Events, ApiError> {
        let seconds = WATCH_FOR.as_secs().to_string();
        let parameters = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", &seconds),
        ];
        let answer = self.send(Self::get(selection, &parameters)?).await?;
        Ok(Events {
            body: answer.into_body(),
            buffer: Vec::new(),
            until: Instant::now() + WATCH_FOR + WATCH_GRACE,
        })
    }

    /// One Secret with all its fields, if it exists.
    pub(crate) async fn get_secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, ApiError> {
        let request = Request::builder()
            .uri(format!("/api/v1/namespaces/{namespace}/secrets/{name}"))
            .header(header::ACCEPT, "application/json")
            .body(Body::empty());
        let request = request.map_err(|_| ApiError::Config("the name is not valid".to_owned()))?;
        let answer = match self.send(request).await {
            Ok(answer) => answer,
            Err(ApiError::Refused(404, _)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let body = timeout(ANSWER_WITHIN, read_all(answer.into_body(), MAX_EVENT_BYTES)).await;
        let body =
            body.map_err(|_| ApiError::Unreachable("the answer ends too late".to_owned()))??;
        let secret: Option<Value> = serde_json::from_slice(&body).ok();
        let secret = secret.filter(|secret| secret["metadata"]["name"] == name);
        secret
            .map(Some)
            .ok_or(ApiError::Malformed("it is not a Secret"))
    }

    /// Makes an object, which must not exist. Returns it.
    pub(crate) async fn create(
        &self,
        namespace: &str,
        query: &str,
        object: String,
    ) -> Result<Value, (ApiError, Status)> {
        let uri = format!("/api/v1/namespaces/{namespace}/secrets?{query}");
        self.write(Method::POST, uri, "application/json", object)
            .await
    }

    /// Writes an object by server-side apply. Returns it.
    pub(crate) async fn apply(
        &self,
        namespace: &str,
        name: &str,
        query: &str,
        object: String,
    ) -> Result<Value, (ApiError, Status)> {
        let uri = format!("/api/v1/namespaces/{namespace}/secrets/{name}?{query}");
        self.write(Method::PATCH, uri, "application/apply-patch+yaml", object)
            .await
    }

    async fn write(
        &self,
        method: Method,
        uri: String,
        content_type: &str,
        object: String,
    ) -> Result<Value, (ApiError, Status)> {
        let failed = |error| (error, Status::default());
        let unreachable = |why: String| failed(ApiError::Unreachable(why));
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(object.into_bytes()));
        let request =
            request.map_err(|_| failed(ApiError::Config("the name is not valid".to_owned())))?;
        let answer = timeout(ANSWER_WITHIN, self.client.send(request)).await;
        let answer = answer.map_err(|_| unreachable("no answer in time".to_owned()))?;
        let answer = answer.map_err(|error| unreachable(causes(&error)))?;
        let code = answer.status();
        let body = timeout(ANSWER_WITHIN, read_all(answer.into_body(), MAX_EVENT_BYTES)).await;
        let body = body
            .unwrap_or_else(|_| Err(ApiError::Unreachable("the answer ends too late".to_owned())));
        match code.is_success() {
            true => {
                let object = serde_json::from_slice(&body.map_err(failed)?);
                object.map_err(|_| failed(ApiError::Malformed("it is not an object")))
            }
            false => {
                let status: Status =
                    serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
                Err((refused(code, &status), status))
            }
        }
    }
}

fn refused(code: StatusCode, status: &Status) -> ApiError {
    if code == StatusCode::GONE {
        return ApiError::Expired;
    }
    // A reason is one word, such as `Forbidden`. The message might quote what was sent.
    let is_word =
        |text: &&str| text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    let reason = Some(status.reason.as_str()).filter(is_word);
    ApiError::Refused(code.as_u16(), reason.unwrap_or_default().to_owned())
}

async fn read_all(mut body: Body, most: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::Unreachable(causes(&error)))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        if bytes.len() > most {
            return Err(ApiError::Malformed("it is too large"));
        }
    }
    Ok(bytes)
}

/// The events of one watch.
pub(crate) struct Events {
    body: Body,
    /// What was received of the next lines.
    buffer: Vec<u8>,
    until: Instant,
}

impl Events {
    /// The next event; `None` when the API server has ended the watch.
    ///
    /// Cancel safe: an event that has begun to arrive is kept for the next call.
    pub(crate) async fn next(&mut self) -> Result<Option<WatchEvent>, ApiError> {
        loop {
            if let Some(event) = self.buffered()? {
                return Ok(Some(event));
            }
            if self.buffer.len() > MAX_EVENT_BYTES {
                return Err(ApiError::Malformed("an event is too large"));
            }
            let frame = timeout_at(self.until, self.body.frame()).await;
            let Ok(frame) = frame else {
                return Err(ApiError::Unreachable(
                    "the watch did not end in time".to_owned(),
                ));
            };
            match frame {
                // The rest of a line that was cut off is no event.
                None => return Ok(None),
                Some(Ok(frame)) => {
                    let data = frame.data_ref().map_or(&[][..], |data| &data[..]);
                    self.buffer.extend_from_slice(data);
                }
                Some(Err(error)) => return Err(ApiError::Unreachable(causes(&error))),
            }
        }
    }

    /// The next event that was received as a whole.
    pub(crate) fn buffered(&mut self) -> Result<Option<WatchEvent>, ApiError> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        match WatchEvent::parse(&line) {
            Some(event) => Ok(Some(event)),
            None => Err(ApiError::Malformed("a line is not an event of a watch")),
        }
    }
}
