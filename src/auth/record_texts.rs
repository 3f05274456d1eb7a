//! The texts of a request that get into its audit record, without credentials.

use std::borrow::Cow;

use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Method, Request};
use voxgate_core::denial::DenialKind;
use voxgate_core::trace::{TRACEPARENT, TraceContext};

use crate::audit::QueryNames;
use crate::dialect::{Dialect, PresentedCredentials, Search, may_be_copied};
use crate::keys::find_token;

use super::request_start::ClientRequestId;

/// What a client wrote. A copy of a credential that the request presents, and every token of ours,
/// is masked.
pub(super) struct RecordTexts<'a> {
    pub(super) method: Cow<'a, Method>,
    pub(super) path: Cow<'a, str>,
    /// Only its names are recorded.
    pub(super) query: Option<Cow<'a, str>>,
    pub(super) host: Option<Cow<'a, [u8]>>,
    pub(super) user_agent: Option<Cow<'a, [u8]>>,
    pub(super) trace_parent: Option<&'a str>,
    /// The identifier that a proxy gave the request.
    pub(super) client_request_id: Option<Cow<'a, [u8]>>,
}

impl<'a> RecordTexts<'a> {
    /// `is_in_force` is whether the credential is one that is known.
    pub(super) fn of<B>(
        request: &'a Request<B>,
        dialect: Dialect,
        is_in_force: bool,
        denial: Option<DenialKind>,
    ) -> Self {
        let texts = Self::as_sent(request);
        use DenialKind::{
            ConflictingCredentials, MalformedCredential, MissingCredential, UnrecognizedDialect,
        };
        let search = Search {
            dialect: match denial {
                // Nothing is where this dialect reads it. A key may be where another does.
                Some(MissingCredential | UnrecognizedDialect) => Dialect::Auto,
                _ => dialect,
            },
            is_in_force,
            words: matches!(
                denial,
                Some(
                    ConflictingCredentials
                        | MalformedCredential
                        | MissingCredential
                        | UnrecognizedDialect
                )
            ),
        };
        let any = |is_copied: &dyn Fn(&[u8]) -> bool| texts.any(is_copied);
        if !may_be_copied(search, request, find_token, any) {
            return texts;
        }
        texts.masked(&PresentedCredentials::of(search, request))
    }

    fn as_sent<B>(request: &'a Request<B>) -> Self {
        let (uri, headers) = (request.uri(), request.headers());
        let bytes = |name| headers.get(name).map(HeaderValue::as_bytes);
        let authority = || uri.authority().map(|host| host.as_str().as_bytes());
        Self {
            method: Cow::Borrowed(request.method()),
            path: Cow::Borrowed(uri.path()),
            query: uri.query().map(Cow::Borrowed),
            host: bytes(HOST).or_else(authority).map(Cow::Borrowed),
            user_agent: bytes(USER_AGENT).map(Cow::Borrowed),
            trace_parent: bytes(TRACEPARENT).and_then(trace_parent),
            client_request_id: request
                .extensions()
                .get::<ClientRequestId>()
                .map(|id| Cow::Borrowed(id.0.as_bytes())),
        }
    }

    fn any(&self, is_copied: &dyn Fn(&[u8]) -> bool) -> bool {
        let query = self.query.as_deref().map(QueryNames::of);
        let mut names = query.into_iter().flat_map(|query| query.iter());
        let bytes = [
            self.host.as_deref(),
            self.user_agent.as_deref(),
            self.client_request_id.as_deref(),
        ];
        is_copied(self.path.as_bytes())
            || bytes.into_iter().flatten().any(is_copied)
            || names.any(|name| is_copied(name.as_bytes()))
            || is_copied(self.method.as_str().as_bytes())
            || self.trace_parent.is_some_and(|id| is_copied(id.as_bytes()))
    }

    fn masked(self, presented: &PresentedCredentials) -> Self {
        let mask = |text: Cow<'a, [u8]>| {
            let masked = presented.mask(&text, find_token);
            Cow::Owned(masked.into_owned())
        };
        let mask_text = |text: &str| {
            let masked = presented.mask(text.as_bytes(), find_token);
            String::from_utf8_lossy(&masked).into_owned()
        };
        let method = mask_text(self.method.as_str());
        let names = |query: Cow<'a, str>| {
            let names = QueryNames::of(&query).iter().map(|name| match name {
                // It stands for a parameter without a name.
                "*" => "*".to_owned(),
                name => mask_text(name) + "=",
            });
            Cow::Owned(names.collect::<Vec<_>>().join("&"))
        };
        Self {
            method: match Method::from_bytes(method.as_bytes()) {
                Ok(masked) if masked != *self.method => Cow::Owned(masked),
                _ => self.method,
            },
            path: Cow::Owned(mask_text(&self.path)),
            query: self.query.map(names),
            host: self.host.map(mask),
            user_agent: self.user_agent.map(mask),
            client_request_id: self.client_request_id.map(mask),
            trace_parent: self.trace_parent.filter(|id| mask_text(id) == *id),
        }
    }
}

/// A `traceparent` of the version that is known.
fn trace_parent(value: &[u8]) -> Option<&str> {
    const LENGTH: usize = 55;
    TraceContext::parse(value)?;
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.len() == LENGTH)
}
