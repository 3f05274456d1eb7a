//! A layer that reports the credential that it read.

use std::convert::Infallible;
use std::future::{Future, Ready};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use voxgate::{
    AuditRecord, AuditSink, AuthLayer, Dialect, Key, KeyRing, Principal, RawCredential, Secret,
    Verdict, Verify, VerifyOutcome,
};

/// The token of `key`. Random texts are never similar to it.
pub(crate) const KEY: &str = "vg7XQm2nT9_cL4kRw8ZpA1sYhE6uJdB3oGfK5iVxN0tqMz";
/// The token of `pair`: an id and a secret, as in Basic credentials.
pub(crate) const PAIR: &str = "ivr-prod:8sKpD3xWq_7NbTfR2mZc5VjYh9LgQ4eUaXoC6i1Bw0E";

/// The response body of the inner service.
const SERVED: StatusCode = StatusCode::IM_A_TEAPOT;

/// The result of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The credential that the verifier received, if it was called.
    pub(crate) presented: Option<Vec<u8>>,
    /// `ok`, or the reason in the audit record.
    pub(crate) reason: &'static str,
}

impl Answer {
    /// The expected answer for this reading.
    pub(crate) fn to(reading: Result<Vec<u8>, &'static str>) -> Self {
        let known = |credential: &[u8]| [KEY.as_bytes(), PAIR.as_bytes()].contains(&credential);
        let reason = match &reading {
            Ok(credential) if known(credential) => "ok",
            // It has the prefix of a generated key. No random text has the right checksum as well.
            Ok(credential) if after_colon(credential).starts_with(b"vxg_") => "mistyped_credential",
            Ok(_) => "unknown_credential",
            Err(reason) => reason,
        };
        Self {
            presented: reading.ok(),
            reason,
        }
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.reason == "ok"
    }
}

/// The token, without the id that may come before it.
fn after_colon(credential: &[u8]) -> &[u8] {
    credential
        .rsplit(|byte| *byte == b':')
        .next()
        .unwrap_or_default()
}

/// The calls of the verifier and the sink since the last request.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    credentials: Vec<Vec<u8>>,
    reasons: Vec<&'static str>,
}

impl Heard {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks up a credential and records it.
pub(crate) struct Recording {
    ring: KeyRing,
    heard: Heard,
}

impl Verify for Recording {
    type Future = Ready<Verdict>;

    fn verify(&self, presented: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        let credential = presented.expose().to_vec();
        self.heard.told().credentials.push(credential);
        self.ring.verify(presented)
    }
}

impl AuditSink for Heard {
    fn record(&self, record: &AuditRecord<'_>) {
        if let AuditRecord::Decision(decision) = record {
            self.told().reasons.push(decision.reason());
        }
    }
}

/// A server behind the layer.
pub(crate) struct Door {
    layer: AuthLayer<Recording>,
    heard: Heard,
}

impl Door {
    /// A server with the keys `KEY` and `PAIR`.
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self::build(Principal::new("key"), |layer| layer.with_dialect(dialect))
    }

    /// A server with these settings, in which `KEY` belongs to `principal`.
    pub(crate) fn build(
        principal: Principal,
        set: impl FnOnce(AuthLayer<Recording>) -> AuthLayer<Recording>,
    ) -> Self {
        let key = |secret, principal| {
            let secret = Secret::new(secret).expect("a valid secret");
            Key::from_secret(&secret, principal)
        };
        let keys = [key(KEY, principal), key(PAIR, Principal::new("pair"))];
        let ring = KeyRing::new(keys).expect("two keys");
        let heard = Heard::default();
        let verifier = Recording {
            ring,
            heard: heard.clone(),
        };
        let layer = set(AuthLayer::new(verifier)).with_audit_sink(heard.clone());
        Self { layer, heard }
    }

    pub(crate) fn ask(&self, request: Request<()>) -> Answer {
        let server = service_fn(async |_: Request<()>| {
            let mut response = Response::new(String::new());
            *response.status_mut() = SERVED;
            Ok::<_, Infallible>(response)
        });
        let answer = pin!(self.layer.layer(server).oneshot(request));
        let status = match answer.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => response.status(),
            Poll::Pending => panic!("there is nothing to wait for"),
        };
        let Told {
            mut credentials,
            reasons,
        } = std::mem::take(&mut *self.heard.told());
        let [reason] = reasons[..] else {
            panic!("one decision expected: {reasons:?}");
        };
        assert!(credentials.len() < 2, "asked twice");
        assert_eq!(status == SERVED, reason == "ok", "{status}, {reason}");
        Answer {
            presented: credentials.pop(),
            reason,
        }
    }
}
