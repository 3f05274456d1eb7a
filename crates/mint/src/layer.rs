//! The layer that answers requests for tokens.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Either;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use voxgate::audit::{Ended, TokenRecord};
use voxgate::dialect::RefusalContext;
use voxgate::gateway::{X_REQUEST_ID, basic_id};
use voxgate::{AuditRecord, AuditSink, AuthMethod, Caller, Denial, DenialKind, Dialect};

use crate::answer::{self, AnswerBody};
use crate::body::{self, Unread};
use crate::endpoint::{Call, Endpoint, KeyForm, Made};
use crate::issuer::Issuer;
use crate::problem::Problem;
use crate::rights::{self, MINT_TOKENS, NotGranted};
use crate::signed::Signature;
use crate::vendor;

/// `Retry-After` when a token could not be signed or recorded.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The scheme of a signed request.
const SIGNED: &str = "IW1-HMAC-SHA256 ";

/// What makes and records tokens.
pub struct Minting {
    issuer: Box<dyn Issuer>,
    sink: Arc<dyn AuditSink>,
}

impl Minting {
    /// Tokens that `issuer` signs. A token is given out when `sink` has its record.
    #[must_use]
    pub fn new(issuer: impl Issuer + 'static, sink: Arc<dyn AuditSink>) -> Self {
        Self {
            issuer: Box::new(issuer),
            sink,
        }
    }
}

impl fmt::Debug for Minting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Minting")
    }
}

/// A [`Layer`] that answers requests for tokens and passes every other request on.
///
/// It belongs inside of [`AuthLayer`](voxgate::AuthLayer), which accepted the request, and in front of
/// the proxy. Give that layer the policy [`with_minting`](voxgate::Policy::with_minting): the rules of
/// a dialect otherwise require the scope [`MINT_TOKENS`] of every key. Without [`Minting`], this layer
/// passes every request on.
#[derive(Clone, Debug, Default)]
pub struct MintLayer(Option<Arc<Minting>>);

impl MintLayer {
    /// Makes tokens.
    #[must_use]
    pub fn new(minting: Minting) -> Self {
        Self(Some(Arc::new(minting)))
    }
}

impl MintLayer {
    /// Whether this layer answers the request, which passed the authentication layer.
    #[must_use]
    pub fn answers<B>(&self, request: &Request<B>) -> bool {
        self.0.is_some() && endpoint_of(request).is_some()
    }
}

impl<S> Layer<S> for MintLayer {
    type Service = Mint<S>;

    fn layer(&self, inner: S) -> Mint<S> {
        Mint {
            inner,
            minting: self.0.clone(),
        }
    }
}

/// The service of [`MintLayer`].
#[derive(Clone, Debug)]
pub struct Mint<S> {
    inner: S,
    minting: Option<Arc<Minting>>,
}

/// The body of an answer: a token, or what the inner service answers.
pub type MintBody<R> = Either<AnswerBody, R>;

type Answering = Pin<Box<dyn Future<Output = Response<AnswerBody>> + Send>>;

pin_project! {
    /// The response future of [`Mint`].
    #[project = Projected]
    pub enum MintFuture<F> {
        /// A token is made.
        #[doc(hidden)]
        Making { answer: Answering },
        /// The request was passed on.
        #[doc(hidden)]
        Passed {
            #[pin]
            response: F,
        },
    }
}

impl<F> fmt::Debug for MintFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MintFuture")
    }
}

impl<F, R, E> Future for MintFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<MintBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Making { answer } => answer
                .as_mut()
                .poll(cx)
                .map(|response| Ok(response.map(Either::Left))),
            Projected::Passed { response } => response
                .poll(cx)
                .map_ok(|response| response.map(Either::Right)),
        }
    }
}

impl<S, B, R> Service<Request<B>> for Mint<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<MintBody<R>>;
    type Error = S::Error;
    type Future = MintFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.minting.as_ref().zip(endpoint_of(&request)) {
            Some((minting, endpoint)) => {
                let minting = Arc::clone(minting);
                let answer = Box::pin(async move { minting.answer(endpoint, request).await });
                MintFuture::Making { answer }
            }
            None => MintFuture::Passed {
                response: self.inner.call(request),
            },
        }
    }
}

/// The endpoint that this request is for. A request that did not pass the authentication layer is for
/// none.
fn endpoint_of<B>(request: &Request<B>) -> Option<&'static Endpoint> {
    if request.method() != Method::POST {
        return None;
    }
    let dialect = *request.extensions().get::<Dialect>()?;
    vendor::find(dialect, request.uri().path()).map(|(endpoint, _)| endpoint)
}

/// Why no token was made.
enum NotMade {
    Denied(Denial),
    Problem(Problem),
    Abandoned,
}

impl From<DenialKind> for NotMade {
    fn from(kind: DenialKind) -> Self {
        Self::Denied(kind.into())
    }
}

impl From<Unread> for NotMade {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Denied(kind) => kind.into(),
            Unread::Problem(problem) => Self::Problem(problem),
            Unread::Abandoned => Self::Abandoned,
        }
    }
}

impl From<NotGranted> for NotMade {
    fn from(not_granted: NotGranted) -> Self {
        match not_granted {
            NotGranted::Denied(kind) => kind.into(),
            NotGranted::Problem(problem) => Self::Problem(problem),
        }
    }
}

impl Minting {
    /// The answer in the vendor's form.
    async fn answer<B>(
        &self,
        endpoint: &'static Endpoint,
        request: Request<B>,
    ) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let Some(caller) = parts.extensions.get::<Caller>() else {
            tracing::error!("a request for a token did not pass the authentication layer");
            return answer::text(StatusCode::INTERNAL_SERVER_ERROR, String::new());
        };
        let request_id = caller.request_id();
        let dialect = parts
            .extensions
            .get::<Dialect>()
            .copied()
            .unwrap_or_default();
        let made = self.make(endpoint, &parts, caller, body).await;
        let mut response = made.unwrap_or_else(|why| match why {
            NotMade::Denied(denial) => {
                let request = Request::from_parts(parts, ());
                let context = RefusalContext::of(&request, request_id);
                dialect.refuse(&denial, context).map(AnswerBody::from)
            }
            NotMade::Problem(problem) => {
                let mut response = (endpoint.refuse)(&problem, request_id);
                response
                    .extensions_mut()
                    .insert(DenialKind::InvalidTokenRequest);
                response
            }
            NotMade::Abandoned => {
                let mut response = answer::text(StatusCode::BAD_REQUEST, String::new());
                response.extensions_mut().insert(Ended::ClientAbort);
                response
            }
        });
        let id = request_id.to_header_value();
        response.headers_mut().insert(X_REQUEST_ID, id);
        response
    }

    /// Checks the caller, reads the body, grants rights, signs the token and records it.
    async fn make<B>(
        &self,
        endpoint: &'static Endpoint,
        parts: &http::request::Parts,
        caller: &Caller,
        body: B,
    ) -> Result<Response<AnswerBody>, NotMade>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let presented = may_mint(endpoint, caller, &parts.headers)?;
        let body = body::read(endpoint, &parts.headers, body).await?;
        let now = SystemTime::now();
        let call = Call {
            body: &body,
            segment: endpoint.matches(parts.uri.path()).unwrap_or_default(),
            key_id: presented.as_deref(),
            life: endpoint.life,
            now,
        };
        let wish = (endpoint.read)(&call).map_err(NotMade::Problem)?;
        let request = rights::grant(caller.principal(), &wish, endpoint.life, now)?;
        let token = self.issuer.issue(&request).map_err(|error| {
            let trace_id = caller.trace_id().map(tracing::field::display);
            tracing::error!(request_id = %caller.request_id(), trace_id, "cannot sign a token: {error}");
            NotMade::Denied(Denial::unavailable(RETRY_AFTER))
        })?;
        let record = AuditRecord::Token(TokenRecord {
            time: now,
            request_id: caller.request_id(),
            principal: &request.principal,
            token_id: &token.id,
            expires: token.expires,
            single_use: request.single_use,
        });
        // A token that is not on record is not given out.
        let receipt = self.sink.commit(&record);
        receipt
            .await
            .map_err(|_| NotMade::Denied(Denial::unavailable(RETRY_AFTER)))?;
        Ok((endpoint.answer)(&Made {
            token: &token,
            wish: &wish,
            key_id: presented.as_deref(),
            scopes: request.principal.scopes(),
        }))
    }
}

/// Whether this caller may have a token from this endpoint. Returns the public id in its key, if
/// there is one.
///
/// The policy has checked the scope, too, unless the operator's own rules name the path differently.
fn may_mint(
    endpoint: &Endpoint,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Option<String>, DenialKind> {
    match caller.auth_method() {
        AuthMethod::ApiKey => {}
        AuthMethod::Public => return Err(DenialKind::MissingCredential),
        _ => return Err(DenialKind::TokenCannotMint),
    }
    if !caller.principal().has_scope(MINT_TOKENS) {
        return Err(DenialKind::InsufficientScope);
    }
    let authorization = headers.get(AUTHORIZATION);
    let authorization = authorization
        .map(http::HeaderValue::as_bytes)
        .unwrap_or_default();
    let signed = authorization.strip_prefix(SIGNED.as_bytes());
    let id = match signed
        .map(<[u8]>::trim_ascii_start)
        .and_then(Signature::parse)
    {
        Some(signature) => Some(signature.api_key.to_owned()),
        None => basic_id(authorization),
    };
    match endpoint.credential {
        KeyForm::Any => Ok(id),
        KeyForm::Basic if signed.is_none() && id.is_some() => Ok(id),
        KeyForm::BasicOrSigned if id.is_some() => Ok(id),
        KeyForm::Basic | KeyForm::BasicOrSigned => Err(DenialKind::TokenCannotMint),
    }
}

#[cfg(test)]
mod tests;
