//! What the programs share: the whole layer, a request, and a verifier that is not in constant time.
//!
//! `scripts/constant-time.sh` and `scripts/dudect.sh` run them; `docs/explanation/constant-time.md` says what
//! they show.

pub mod bump;
pub mod valgrind;

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use tower::{Layer, Service};
use voxgate::{
    AuthLayer, Denial, Dialect, Digest, Key, KeyRing, Principal, RawCredential, Verdict, Verify,
    VerifyOutcome,
};

/// As long as a key of `voxgate`, and not one: without a checksum, every mismatch is looked up.
pub const FOREIGN_TOKEN: &[u8] = b"sk-9fJ2LqR7uXc0ZbVnT4yWm8KdHs1GpEa6QoIiU3xYvBwPzDkMt5";

/// The same token with another character at `position`.
#[must_use]
pub fn differing_at(position: usize, token: &[u8]) -> Vec<u8> {
    let mut other = token.to_vec();
    other[position] = if other[position] == b'x' { b'y' } else { b'x' };
    other
}

/// A ring with one key.
#[must_use]
pub fn ring(secret: &[u8]) -> KeyRing {
    let key = Key::from_digest(Digest::of(secret), Principal::new("key"));
    KeyRing::new([key]).expect("one key, so that nothing is twice")
}

/// The layer over a service that accepts everything.
pub fn layer<V: Verify>(
    dialect: Dialect,
    verifier: V,
) -> impl Service<Request<()>, Response = Response<impl Sized>, Error = Infallible> {
    AuthLayer::new(verifier)
        .with_dialect(dialect)
        .layer(tower::service_fn(inner))
}

/// The service behind every door that is measured.
pub fn inner(_: Request<()>) -> Ready<Result<Response<String>, Infallible>> {
    ready(Ok(Response::default()))
}

/// A request that presents `token` as RFC 6750 says.
#[must_use]
pub fn request(token: &[u8]) -> Request<()> {
    let value = [b"Bearer ", token].concat();
    let value = HeaderValue::try_from(value).expect("a token of visible characters");
    let mut request = Request::new(());
    request.headers_mut().insert(AUTHORIZATION, value);
    request
}

/// The header goes in, the decision comes out. This is what is measured.
#[inline(never)]
pub fn ask<S, R>(service: &mut S, request: Request<()>) -> Response<R>
where
    S: Service<Request<()>, Response = Response<R>, Error: Debug>,
{
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(response) => response.expect("an answer"),
        Poll::Pending => panic!("it should have known at once"),
    }
}

/// The mistake that every tool must find: a comparison that ends at the first difference. Nothing
/// else is wrong with it; what it says is declassified as the key ring's verdict is.
pub struct EarlyExit {
    secret: Vec<u8>,
}

impl EarlyExit {
    #[must_use]
    pub fn new(secret: Vec<u8>) -> Self {
        Self { secret }
    }

    fn knows(&self, presented: &[u8]) -> bool {
        if self.secret.len() != presented.len() {
            return false;
        }
        for (ours, theirs) in self.secret.iter().zip(presented) {
            // Or else the compiler may compare many at once.
            if black_box(*ours) != black_box(*theirs) {
                return false;
            }
        }
        true
    }
}

impl Verify for EarlyExit {
    type Future = Ready<Verdict>;

    fn verify(&self, presented: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        let mut known = [u8::from(self.knows(presented.expose()))];
        valgrind::mark_defined(&mut known);
        VerifyOutcome::Ready(match known {
            [0] => Err(Denial::unknown_credential()),
            _ => Ok(Principal::new("key")),
        })
    }
}
