//! A request is sent to the instance that was polled ready, with every kind of verifier.

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt, service_fn};
use voxgate::{AuthLayer, Verify};

use crate::support::{Asking, KEY, Records, WRONG_KEY, request, ring};

/// Panics if the called instance was not polled ready after its last call.
#[derive(Default)]
struct Strict {
    polled: bool,
    ready: bool,
}

// A clone has its own readiness, and is not ready yet.
impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Not ready at the first poll, so that the test always waits.
        if !self.polled {
            self.polled = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(self.ready, "called an instance that was not polled ready");
        self.ready = false;
        self.polled = false;
        ready(Ok(Response::new("spoken".to_owned())))
    }
}

async fn strict<V: Verify>(layer: AuthLayer<V>) {
    let records = Records::default();
    let mut service = layer
        .with_audit_sink(records.clone())
        .layer(Strict::default());
    for _ in 0..3 {
        let ready = service.ready().await.expect("a ready service");
        let response = ready.call(request(KEY, ())).await.expect("an answer");
        assert_eq!(response.status(), 200);
        drop(response);
        records.take_exchange();

        let ready = service.ready().await.expect("a ready service");
        let response = ready.call(request(WRONG_KEY, ())).await.expect("an answer");
        assert_eq!(response.status(), 401);
        records.take_refusal();
    }
}

#[tokio::test]
async fn the_called_instance_was_polled_ready() {
    strict(AuthLayer::new(ring())).await;
    strict(AuthLayer::new(Asking(ring()))).await;
    strict_preconfigured().await;
}

async fn strict_preconfigured() {
    let mut service = AuthLayer::preconfigured().layer(Strict::default());
    for _ in 0..3 {
        let ready = service.ready().await.expect("a ready service");
        let response = ready.call(request(WRONG_KEY, ())).await.expect("an answer");
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test]
async fn requests_that_wait_together_each_keep_their_ready_instance() {
    let mut service = AuthLayer::new(Asking(ring())).layer(Strict::default());
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let ready = service.ready().await.expect("a ready service");
        waiting.push(ready.call(request(KEY, ())));
    }
    for answer in waiting.into_iter().rev() {
        assert_eq!(answer.await.expect("an answer").status(), 200);
    }
}

/// `ConcurrencyLimit` reserves a place in `poll_ready`, and panics if it is called without one.
async fn limited<V: Verify>(layer: AuthLayer<V>) {
    let inner = service_fn(|_: Request<()>| async {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Response::new("spoken".to_owned()))
    });
    let mut service = layer.layer(ConcurrencyLimit::new(inner, 1));
    for _ in 0..3 {
        let ready = service.ready().await.expect("a free place");
        let answer = ready.call(request(KEY, ()));
        let next = poll_fn(|cx| Poll::Ready(service.poll_ready(cx).is_ready())).await;
        assert!(!next, "the only place is taken");
        assert_eq!(answer.await.expect("an answer").status(), 200);

        let ready = service.ready().await.expect("a free place");
        let refused = ready.call(request(WRONG_KEY, ())).await.expect("an answer");
        assert_eq!(refused.status(), 401);
    }
    let ready = service.ready().await.expect("a free place");
    drop(ready.call(request(KEY, ())));
    service
        .ready()
        .await
        .expect("the place of a dropped request");
}

#[tokio::test]
async fn a_place_reserved_by_readiness_is_used_and_released() {
    let all = async {
        limited(AuthLayer::new(ring())).await;
        limited(AuthLayer::new(Asking(ring()))).await;
    };
    tokio::time::timeout(crate::support::DEADLINE, all)
        .await
        .expect("no place is lost");
}

#[derive(Clone)]
struct Broken;

impl Service<Request<()>> for Broken {
    type Response = Response<String>;
    type Error = &'static str;
    type Future = Ready<Result<Response<String>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Err("never ready"))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        panic!("called although it is never ready")
    }
}

#[tokio::test]
async fn readiness_errors_of_the_inner_service_are_unchanged() {
    let mut service = AuthLayer::new(ring()).layer(Broken);
    assert_eq!(service.ready().await.err(), Some("never ready"));
}
