//! A request or refusal continues only after its decision is recorded.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use tokio::sync::oneshot;
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use voxgate::audit::{Ended, NotRecorded, Receipt};
use voxgate::{AuditRecord, AuditSink, AuthLayer, DenialKind, Dialect, Verify};

use crate::support::{Asking, KEY, Records, request, ring};

type Told = oneshot::Sender<Result<(), NotRecorded>>;

/// Holds each decision until the test sets the result of its record.
#[derive(Clone, Default)]
struct Waiting {
    records: Records,
    receipts: Arc<Mutex<Vec<Told>>>,
}

impl AuditSink for Waiting {
    fn record(&self, record: &AuditRecord<'_>) {
        self.records.record(record);
    }

    fn commit(&self, record: &AuditRecord<'_>) -> Receipt {
        self.records.record(record);
        let (tell, told) = oneshot::channel();
        self.receipts.lock().unwrap().push(tell);
        Receipt::pending(async { told.await.unwrap_or(Err(NotRecorded)) })
    }
}

/// Returns the answer to a request whose record was `kept`, and how often the inner service was
/// called before the result was known, and in total.
async fn ask<V: Verify>(
    verifier: V,
    key: &str,
    kept: Result<(), NotRecorded>,
) -> (Response<Bytes>, [usize; 2], Waiting) {
    let sink = Waiting::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = service_fn(move |_: Request<()>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"speech")))) }
    });
    let layer = AuthLayer::new(verifier)
        .with_dialect(Dialect::Rime)
        .with_audit_sink(sink.clone());
    let mut service = layer.layer(service);
    let answer = service.ready().await.unwrap().call(request(key, ()));
    let mut answer = Box::pin(answer);
    // Poll until the receipt exists.
    while sink.receipts.lock().unwrap().is_empty() {
        assert!(futures_util::poll!(&mut answer).is_pending());
    }
    for _ in 0..3 {
        assert!(futures_util::poll!(&mut answer).is_pending());
    }
    let before = calls.load(Ordering::Relaxed);
    sink.receipts.lock().unwrap().remove(0).send(kept).unwrap();
    let (parts, body) = answer.await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let after = calls.load(Ordering::Relaxed);
    (Response::from_parts(parts, body), [before, after], sink)
}

#[tokio::test]
async fn an_accepted_request_continues_when_its_decision_is_recorded() {
    let (at_once, calls, sink) = ask(ring(), KEY, Ok(())).await;
    assert_eq!((at_once.status(), calls), (StatusCode::OK, [0, 1]));
    assert_eq!(sink.records.completions()[0].status, Some(200));
    let (after_a_while, calls, _) = ask(Asking(ring()), KEY, Ok(())).await;
    assert_eq!((after_a_while.status(), calls), (StatusCode::OK, [0, 1]));
}

#[tokio::test]
async fn a_refusal_is_sent_when_it_is_recorded() {
    let (answer, calls, sink) = ask(ring(), "wrong", Ok(())).await;
    assert_eq!((answer.status(), calls), (StatusCode::UNAUTHORIZED, [0, 0]));
    assert_eq!(answer.body(), "invalid api key");
    assert!(sink.records.completions().is_empty());
}

#[tokio::test]
async fn a_request_that_cannot_be_recorded_is_unavailable() {
    for key in [KEY, "wrong"] {
        let (answer, calls, sink) = ask(ring(), key, Err(NotRecorded)).await;
        assert_eq!(
            (answer.status(), calls),
            (StatusCode::SERVICE_UNAVAILABLE, [0, 0])
        );
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(answer.body(), "service unavailable");
        assert_eq!(
            answer.extensions().get::<DenialKind>(),
            Some(&DenialKind::Unavailable)
        );
        let completions = sink.records.completions();
        assert_eq!(completions.len(), usize::from(key == KEY));
        for completion in completions {
            assert_eq!(
                (completion.status, completion.ended),
                (Some(503), Ended::Ok)
            );
        }
    }
}

#[tokio::test]
async fn a_caller_that_disconnects_before_its_record_is_not_served() {
    let sink = Waiting::default();
    let service = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let layer = AuthLayer::new(ring())
        .with_dialect(Dialect::Rime)
        .with_audit_sink(sink.clone());
    let mut service = layer.layer(service);
    let answer = service.ready().await.unwrap().call(request(KEY, ()));
    drop(answer);
    let completion = &sink.records.completions()[0];
    assert_eq!(
        (completion.status, completion.ended),
        (None, Ended::ClientAbort)
    );
}

#[tokio::test]
async fn a_request_waits_for_all_of_several_sinks() {
    let all = |second| {
        let first = Receipt::pending(std::future::ready(Ok(())));
        Receipt::all([
            first,
            Receipt::recorded(),
            Receipt::pending(std::future::ready(second)),
        ])
    };
    assert_eq!(all(Ok(())).await, Ok(()));
    assert_eq!(all(Err(NotRecorded)).await, Err(NotRecorded));
    assert!(Receipt::all([Receipt::recorded(), Receipt::recorded()]).is_recorded());
}
