//! Addresses that fail to authenticate too often are slowed down, without a runtime.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Bytes;
use tower::{Layer as _, Service, service_fn};
use voxgate::gateway::CloseConnection;
use voxgate::{AuthBody, AuthLayer, Limiter, PeerAddr};

use crate::support::{KEY, Records, WRONG_KEY, request, ring};

type Answer = Response<AuthBody<Empty<Bytes>>>;

fn service(
    records: &Records,
) -> impl Service<Request<()>, Response = Answer, Error = Infallible, Future: Send + 'static> {
    let limiter = Limiter::builder().with_auth_failure_limit(NonZeroU32::MIN);
    let layer = AuthLayer::new(ring())
        .with_audit_sink(records.clone())
        .with_limits(limiter.build().unwrap());
    layer.layer(service_fn(async |_| Ok(Response::new(Empty::new()))))
}

fn from(address: &str, key: &str) -> Request<()> {
    let address: SocketAddr = address.parse().unwrap();
    let mut request = request(key, ());
    request.extensions_mut().insert(PeerAddr(address));
    request
}

/// Runs a future on this thread, with nothing but the standard library.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_wrong_key_is_refused_later_and_in_the_same_words() {
    let records = Records::default();
    let mut service = service(&records);
    let mut ask = |address, key| service.call(from(address, key));
    let at_once = ask("192.0.2.1:1", WRONG_KEY).now_or_never();
    let at_once = at_once.expect("not slowed down").unwrap();
    let mut later = Box::pin(ask("192.0.2.1:2", WRONG_KEY));
    assert!(later.as_mut().now_or_never().is_none(), "delayed");
    // Its record is written already. Other addresses, and valid keys, are not delayed.
    let refused = records.decisions();
    assert_eq!(refused.len(), 2, "{refused:?}");
    let other = ask("192.0.2.2:1", WRONG_KEY).now_or_never();
    assert_eq!(
        other.expect("not delayed").unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    let valid = ask("192.0.2.1:3", KEY).now_or_never();
    assert_eq!(
        valid.expect("not delayed").unwrap().status(),
        StatusCode::OK
    );

    let later = block_on(later).unwrap();
    assert_eq!(later.status(), at_once.status());
    let comparable = |answer: &Answer| {
        let mut headers = answer.headers().clone();
        headers.remove("x-request-id");
        headers
    };
    assert_eq!(comparable(&later), comparable(&at_once));
    assert!(!later.headers().contains_key("retry-after"));
}

#[test]
fn a_refusal_that_finds_no_room_to_wait_closes_its_connection() {
    let records = Records::default();
    let mut service = service(&records);
    let mut waiting = Vec::new();
    let closing = (0..10_000).find_map(|port| {
        let mut answer = Box::pin(service.call(from(&format!("192.0.2.1:{port}"), WRONG_KEY)));
        match answer.as_mut().now_or_never() {
            Some(answer) if port > 0 => Some(answer.unwrap()),
            Some(_) => None,
            None => {
                waiting.push(answer);
                None
            }
        }
    });
    let closing = closing.expect("a refusal at once");
    assert_eq!(closing.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(closing.headers()["connection"], "close");
    assert!(closing.extensions().get::<CloseConnection>().is_some());
    let other = service.call(from("192.0.2.1:1", KEY)).now_or_never();
    assert_eq!(
        other.expect("not delayed").unwrap().status(),
        StatusCode::OK
    );
    // Requests that are abandoned make room.
    waiting.clear();
    let next = service.call(from("192.0.2.1:1", WRONG_KEY)).now_or_never();
    assert!(next.is_none(), "it waits");
}
