//! The permit of a request is released exactly once, however the request ends.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::{FutureExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};
use voxgate::rate_limit::LimiterBuilder;
use voxgate::{
    Auth, AuthBody, AuthFuture, AuthLayer, Denial, KeyRing, Limiter, Policy, Principal,
    RawCredential, SharedKeyRing, Tunnel, Verify, VerifyOutcome,
};

use crate::support::{Asking, KEY, Records, request, ring};

type TestBody = UnsyncBoxBody<Bytes, io::Error>;

/// The inner service. The path selects its behaviour.
async fn answer(request: Request<()>) -> io::Result<Response<TestBody>> {
    let frame = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
    let body = |frames: Vec<io::Result<Frame<Bytes>>>| {
        StreamBody::new(stream::iter(frames)).boxed_unsync()
    };
    let two = || body(vec![frame("speech"), frame("speech")]);
    match request.uri().path() {
        "/broken" => Ok(Response::new(body(vec![
            frame("speech"),
            Err(io::ErrorKind::BrokenPipe.into()),
        ]))),
        "/failed" => Err(io::ErrorKind::BrokenPipe.into()),
        "/never" => pending().await,
        "/panic" => panic!("as the test wants it"),
        "/panic-of-body" => {
            let panics = stream::once(async { panic!("as the test wants it") });
            Ok(Response::new(StreamBody::new(panics).boxed_unsync()))
        }
        "/tunnel" => {
            let mut response = Response::new(two());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let tunnel = request.extensions().get::<Tunnel>().cloned();
            response.extensions_mut().insert(tunnel);
            Ok(response)
        }
        _ => Ok(Response::new(two())),
    }
}

fn to(path: &str) -> Request<()> {
    let mut request = request(KEY, ());
    *request.uri_mut() = path.parse().unwrap();
    if path == "/tunnel" {
        request
            .headers_mut()
            .insert("upgrade", "test".parse().unwrap());
    }
    request
}

/// One permit for all callers.
fn builder() -> LimiterBuilder {
    Limiter::builder().with_upstream_concurrency(NonZeroU32::MIN)
}

fn one_permit() -> Limiter {
    builder().build().unwrap()
}

fn in_flight(limiter: &Limiter) -> u32 {
    limiter.usage().in_flight
}

#[tokio::test]
async fn a_permit_is_given_back_however_a_request_ends() {
    let limiter = one_permit();
    let layer = AuthLayer::new(ring())
        .with_audit_sink(Records::default())
        .with_limits(limiter.clone());
    let mut service = layer.layer(service_fn(answer));

    let whole = service.call(to("/")).await.unwrap();
    assert_eq!(in_flight(&limiter), 1);
    let refused = service.call(to("/")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    whole.into_body().collect().await.unwrap();
    assert_eq!(in_flight(&limiter), 0, "read to its end");

    let mut part = service.call(to("/")).await.unwrap();
    part.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(in_flight(&limiter), 1);
    drop(part);
    assert_eq!(in_flight(&limiter), 0, "dropped amid its body");

    let broken = service.call(to("/broken")).await.unwrap();
    assert!(broken.into_body().collect().await.is_err());
    assert_eq!(in_flight(&limiter), 0, "its body failed");

    assert!(service.call(to("/failed")).await.is_err());
    assert_eq!(in_flight(&limiter), 0, "the service failed");

    let mut never = Box::pin(service.call(to("/never")));
    assert!(never.as_mut().now_or_never().is_none());
    assert_eq!(in_flight(&limiter), 1);
    drop(never);
    assert_eq!(in_flight(&limiter), 0, "dropped before its answer");

    let panics = AssertUnwindSafe(service.call(to("/panic"))).catch_unwind();
    assert!(panics.await.is_err());
    assert_eq!(in_flight(&limiter), 0, "the service panicked");

    let body = service
        .call(to("/panic-of-body"))
        .await
        .unwrap()
        .into_body();
    let panics = AssertUnwindSafe(body.collect()).catch_unwind();
    assert!(panics.await.is_err());
    assert_eq!(in_flight(&limiter), 0, "its body panicked");

    let mut switched = service.call(to("/tunnel")).await.unwrap();
    let tunnel = switched
        .extensions_mut()
        .remove::<Option<Tunnel>>()
        .flatten();
    drop(switched);
    assert_eq!(in_flight(&limiter), 1, "the tunnel goes on");
    drop(tunnel);
    assert_eq!(in_flight(&limiter), 0, "the tunnel ended");

    // A future that is never polled.
    drop(service.call(to("/")));
    assert_eq!(in_flight(&limiter), 0);
}

type Limited<V> = Auth<Answering, V>;
type Answering = tower::util::BoxCloneSyncService<Request<()>, Response<TestBody>, io::Error>;

fn limited<V: Verify>(verifier: V, limiter: &Limiter) -> Limited<V> {
    AuthLayer::new(verifier)
        .with_policy(Policy::default().public("GET", "/health"))
        .with_audit_sink(Records::default())
        .with_limits(limiter.clone())
        .layer(Answering::new(service_fn(answer)))
}

fn look<V: Verify>(
    answer: &mut Pin<Box<AuthFuture<Answering, V, ()>>>,
) -> Option<Response<AuthBody<TestBody>>> {
    match answer
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(answer) => Some(answer.unwrap()),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_request_that_waited_is_authenticated_again() {
    let limiter = builder()
        .with_wait_queue(1, Duration::from_secs(3600))
        .build()
        .unwrap();
    let keys = SharedKeyRing::new(ring());
    let mut service = limited(keys.clone(), &limiter);
    let first = service.call(to("/")).await.unwrap();
    let mut second = Box::pin(service.call(to("/")));
    assert!(look(&mut second).is_none());
    assert_eq!(limiter.usage().waiting, 1);
    keys.replace(KeyRing::new([]).unwrap());
    drop(first);
    let revoked = look(&mut second).expect("its turn");
    assert_eq!(revoked.status(), StatusCode::UNAUTHORIZED);
    assert_eq!((in_flight(&limiter), limiter.usage().waiting), (0, 0));
}

/// A verifier that counts its calls.
struct Counting<V>(V, Arc<AtomicU32>);

impl<V: Verify> Verify for Counting<V> {
    type Future = V::Future;

    fn verify(&self, credential: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.verify(credential)
    }
}

/// Polls until the request is in the wait queue.
async fn queued<V: Verify>(limiter: &Limiter, answer: &mut Pin<Box<AuthFuture<Answering, V, ()>>>) {
    poll_fn(|cx| {
        assert!(answer.as_mut().poll(cx).is_pending());
        match limiter.usage().waiting {
            1 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
}

#[tokio::test]
async fn an_asynchronous_verifier_is_asked_again_after_a_wait() {
    for revoked in [false, true] {
        let limiter = builder()
            .with_wait_queue(1, Duration::from_secs(3600))
            .build()
            .unwrap();
        let keys = SharedKeyRing::new(ring());
        let asked = Arc::<AtomicU32>::default();
        let verifier = Counting(Asking(keys.clone()), Arc::clone(&asked));
        let mut service = limited(verifier, &limiter);
        let first = service.call(to("/")).await.unwrap();
        assert_eq!(
            asked.load(Ordering::Relaxed),
            1,
            "a request that does not wait"
        );
        let mut second = Box::pin(service.call(to("/")));
        queued(&limiter, &mut second).await;
        if revoked {
            keys.replace(KeyRing::new([]).unwrap());
        }
        drop(first);
        let answer = second.await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        if revoked {
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        } else {
            assert_eq!(answer.status(), StatusCode::OK);
            let fields = answer.headers().contains_key("ratelimit");
            assert!(!fields, "the upstream's limit is no caller's quota");
            answer.into_body().collect().await.unwrap();
        }
        assert_eq!((in_flight(&limiter), limiter.usage().waiting), (0, 0));
    }
}

/// A verifier whose credentials count once.
struct Once(SharedKeyRing, AtomicU32);

impl Verify for Once {
    type Future = <SharedKeyRing as Verify>::Future;

    fn verify(&self, credential: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        match self.1.fetch_add(1, Ordering::Relaxed) {
            0 => self.0.verify(credential),
            _ => VerifyOutcome::Ready(Err(Denial::unknown_credential())),
        }
    }

    fn verify_again(
        &self,
        credential: RawCredential<'_>,
        accepted: &Principal,
    ) -> VerifyOutcome<Self::Future> {
        assert_eq!(accepted.id(), "ivr");
        self.0.verify(credential)
    }
}

#[tokio::test]
async fn a_request_that_waited_uses_a_single_use_credential_once() {
    for revoked in [false, true] {
        let limiter = builder()
            .with_wait_queue(1, Duration::from_secs(3600))
            .build()
            .unwrap();
        let keys = SharedKeyRing::new(ring());
        let before = limited(keys.clone(), &limiter).call(to("/")).await.unwrap();
        let mut service = limited(Once(keys.clone(), AtomicU32::new(0)), &limiter);
        let mut waiting = Box::pin(service.call(to("/")));
        assert!(look(&mut waiting).is_none());
        if revoked {
            keys.replace(KeyRing::new([]).unwrap());
        }
        drop(before);
        let answer = look(&mut waiting).expect("its turn");
        assert_eq!(answer.status() == StatusCode::OK, !revoked);
        drop(answer);
        let second = service.call(to("/")).await.unwrap();
        assert_eq!(
            second.status(),
            StatusCode::UNAUTHORIZED,
            "the credential was used"
        );
    }
}

#[tokio::test]
async fn a_request_dropped_during_its_second_verification_releases_its_permit() {
    let limiter = builder()
        .with_wait_queue(1, Duration::from_secs(3600))
        .build()
        .unwrap();
    let mut service = limited(Asking(ring()), &limiter);
    let first = service.call(to("/")).await.unwrap();
    let mut second = Box::pin(service.call(to("/")));
    queued(&limiter, &mut second).await;
    drop(first);
    assert!(look(&mut second).is_none(), "the verifier takes its time");
    assert_eq!((in_flight(&limiter), limiter.usage().waiting), (1, 0));
    drop(second);
    assert_eq!(in_flight(&limiter), 0);
}

#[tokio::test]
async fn a_public_route_needs_no_permit() {
    let limiter = one_permit();
    let mut service = limited(ring(), &limiter);
    let _busy = service.call(to("/")).await.unwrap();
    let request = Request::get("/health").body(()).unwrap();
    let health = service.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
}
