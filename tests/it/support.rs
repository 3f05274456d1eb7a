//! What the tests share: keys, verifiers that have to ask, a sink that collects, a real server.

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

/// Belongs to `ivr`, who may everything.
pub(crate) const KEY: &str = "key-of-the-ivr-4711";
/// Belongs to `speaker`, who may only `tts:synthesize`.
pub(crate) const SCOPED_KEY: &str = "key-of-the-speaker-4712";
/// Belongs to `old`, and is disabled.
pub(crate) const DISABLED_KEY: &str = "key-of-somebody-gone-4713";
/// Belongs to nobody.
pub(crate) const WRONG_KEY: &str = "key-that-was-guessed-4714";

/// For what must happen at some time: long enough that only a failure gets there.
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

/// Gives the verdicts of a ring, but asynchronously.
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

/// Cannot be asked; says so at once, or after a while.
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

/// A `Decision`, as far as the tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) request_id: String,
    pub(crate) accepted: bool,
    pub(crate) reason: &'static str,
    pub(crate) status: Option<u16>,
    pub(crate) key_id: Option<String>,
    pub(crate) auth_method: Option<AuthMethod>,
    pub(crate) peer: Option<SocketAddr>,
}

/// A `Completion`, as far as the tests look at it.
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

/// Collects what it is told. Clones collect together.
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

    /// The one decision and the one completion of a request that was accepted. Forgets them.
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

    /// The one decision, and nothing else, about a request that was refused. Forgets it.
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

/// Serves HTTP/1 and HTTP/2 on a free port, for as long as the test runs.
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
                // A connection that breaks is what some tests are about.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// A client without connection reuse surprises: it speaks either HTTP/1 or HTTP/2.
pub(crate) fn client(http2: bool) -> Client<HttpConnector, Empty<Bytes>> {
    Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http()
}
