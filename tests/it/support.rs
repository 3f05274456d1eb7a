//! Shared helpers: keys, asynchronous verifiers, a collecting sink, and a real server.

use std::error::Error;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::{Body, Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::Service;
use voxgate::audit::Ended;
use voxgate::{
    AuditRecord, AuditSink, AuthMethod, Denial, Key, KeyRing, Principal, RawCredential, Scope,
    Secret, Verdict, Verify, VerifyOutcome,
};

/// The key of `ivr`, which has no restrictions.
pub(crate) const KEY: &str = "key-of-the-ivr-4711";
/// The key of `speaker`, which has only the scope `tts:synthesize`.
pub(crate) const SCOPED_KEY: &str = "key-of-the-speaker-4712";
/// The key of `old`, which is disabled.
pub(crate) const DISABLED_KEY: &str = "key-of-somebody-gone-4713";
/// An unknown key.
pub(crate) const WRONG_KEY: &str = "key-that-was-guessed-4714";

/// A timeout that only a failing test reaches.
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);

pub(crate) fn ring() -> KeyRing {
    let key = |secret, principal| {
        let secret = Secret::new(secret).expect("a valid secret");
        Key::from_secret(&secret, principal)
    };
    let scoped = Principal::new("speaker").with_scopes(Scope::new("tts:synthesize"));
    KeyRing::new([
        key(KEY, Principal::new("ivr")),
        key(SCOPED_KEY, scoped),
        key(DISABLED_KEY, Principal::new("old")).disabled(true),
    ])
    .expect("different keys")
}

/// An asynchronous verifier with the verdicts of a ring.
pub(crate) struct Asking<V = KeyRing>(pub(crate) V);

impl<V: Verify> Verify for Asking<V> {
    type Future = Pin<Box<dyn Future<Output = Verdict> + Send>>;

    fn verify(&self, presented: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        let VerifyOutcome::Ready(verdict) = self.0.verify(presented) else {
            panic!("a ring answers at once");
        };
        VerifyOutcome::Pending(Box::pin(async {
            tokio::task::yield_now().await;
            verdict
        }))
    }
}

/// A verifier that is unavailable, at once or after a delay.
pub(crate) struct Down {
    pub(crate) at_once: bool,
}

impl Verify for Down {
    type Future = Pin<Box<dyn Future<Output = Verdict> + Send>>;

    fn verify(&self, _: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        let denial = Denial::unavailable(Duration::from_millis(1500));
        match self.at_once {
            true => VerifyOutcome::Ready(Err(denial)),
            false => VerifyOutcome::Pending(Box::pin(async {
                tokio::task::yield_now().await;
                Err(denial)
            })),
        }
    }
}

/// The fields of a `Decision` that the tests check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) request_id: String,
    pub(crate) accepted: bool,
    pub(crate) reason: &'static str,
    pub(crate) status: Option<u16>,
    pub(crate) key_id: Option<String>,
    pub(crate) auth_method: Option<AuthMethod>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) path: String,
}

/// The fields of a `Completion` that the tests check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Completed {
    pub(crate) request_id: String,
    pub(crate) key_id: String,
    pub(crate) status: Option<u16>,
    pub(crate) ended: Ended,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: Option<u64>,
}

#[derive(Clone, Debug)]
enum Record {
    Decided(Decided),
    Completed(Completed),
}

/// Collects records. Clones share the collection.
#[derive(Clone, Default)]
pub(crate) struct Records(Arc<watch::Sender<Vec<Record>>>);

impl AuditSink for Records {
    fn record(&self, record: &AuditRecord<'_>) {
        let record = match record {
            AuditRecord::Decision(decision) => Record::Decided(Decided {
                request_id: decision.request_id.to_string(),
                accepted: decision.outcome() == "accepted",
                reason: decision.reason(),
                status: decision.status.map(|status| status.as_u16()),
                key_id: decision
                    .principal
                    .map(|principal| principal.id().to_owned()),
                auth_method: decision.auth_method,
                peer: decision.peer,
                path: decision.path.to_owned(),
            }),
            AuditRecord::Completion(completion) => Record::Completed(Completed {
                request_id: completion.request_id.to_string(),
                key_id: completion.principal.id().to_owned(),
                status: completion.status.map(|status| status.as_u16()),
                ended: completion.ended,
                bytes_sent: completion.bytes_sent,
                bytes_received: completion.bytes_received,
            }),
            other => panic!("not a record of a request: {other:?}"),
        };
        self.0.send_modify(|records| records.push(record));
    }
}

impl Records {
    pub(crate) fn decisions(&self) -> Vec<Decided> {
        self.0
            .borrow()
            .iter()
            .filter_map(|record| match record {
                Record::Decided(decided) => Some(decided.clone()),
                Record::Completed(_) => None,
            })
            .collect()
    }

    pub(crate) fn completions(&self) -> Vec<Completed> {
        self.0
            .borrow()
            .iter()
            .filter_map(|record| match record {
                Record::Completed(completed) => Some(completed.clone()),
                Record::Decided(_) => None,
            })
            .collect()
    }

    /// Waits for the completion of `count` requests.
    pub(crate) async fn completed(&self, count: usize) {
        let mut changes = self.0.subscribe();
        let enough = |records: &Vec<Record>| {
            let completed = |record: &&Record| matches!(record, Record::Completed(_));
            records.iter().filter(completed).count() >= count
        };
        tokio::time::timeout(DEADLINE, changes.wait_for(enough))
            .await
            .unwrap_or_else(|_| panic!("{count} completions expected: {self:?}"))
            .expect("the sender is alive");
    }

    /// Removes and returns the only decision and the only completion of an accepted request.
    pub(crate) fn take_exchange(&self) -> (Decided, Completed) {
        match self.0.send_replace(Vec::new()).as_slice() {
            [Record::Decided(decided), Record::Completed(completed)] => {
                assert!(decided.accepted, "{decided:?}");
                assert_eq!(decided.request_id, completed.request_id);
                assert_eq!(decided.key_id.as_ref(), Some(&completed.key_id));
                (decided.clone(), completed.clone())
            }
            other => panic!("one decision and one completion expected: {other:?}"),
        }
    }

    /// Removes and returns the only record of a refused request, its decision.
    pub(crate) fn take_refusal(&self) -> Decided {
        match self.0.send_replace(Vec::new()).as_slice() {
            [Record::Decided(decided)] if !decided.accepted => decided.clone(),
            other => panic!("one refusal expected: {other:?}"),
        }
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.borrow().fmt(f)
    }
}

/// `GET /` with `body` and the given credential in its usual form.
pub(crate) fn request<B>(key: &str, body: B) -> Request<B> {
    Request::get("/")
        .header("authorization", format!("Bearer {key}"))
        .body(body)
        .expect("a request")
}

/// Serves HTTP/1 and HTTP/2 on a free port until the test ends.
pub(crate) async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                // Some tests break connections on purpose.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// A client that uses either HTTP/1 or HTTP/2.
pub(crate) fn client(http2: bool) -> Client<HttpConnector, Empty<Bytes>> {
    Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http()
}
