//! One row of a vendor's table: a request for a token.

use std::time::{Duration, SystemTime};

use http::Response;
use voxgate::{Dialect, RequestId};

use crate::answer::AnswerBody;
use crate::issuer::IssuedToken;
use crate::problem::Problem;
use crate::wish::Wish;

/// A request for a token in the form of one vendor's API, and its answer.
///
/// The method is `POST` for all of them.
pub struct Endpoint {
    pub(crate) vendor: &'static str,
    /// The dialects that have this endpoint; empty for all.
    pub(crate) dialects: &'static [Dialect],
    /// The path. A last segment `{type}` is any one segment.
    pub(crate) path: &'static str,
    pub(crate) credential: KeyForm,
    pub(crate) content: Content,
    pub(crate) max_body: usize,
    pub(crate) life: Life,
    pub(crate) single_use: bool,
    /// How the vendor's clients present the token.
    pub(crate) presented: &'static str,
    pub(crate) read: fn(&Call<'_>) -> Result<Wish, Problem>,
    pub(crate) answer: fn(&Made<'_>) -> Response<AnswerBody>,
    pub(crate) refuse: fn(&Problem, RequestId) -> Response<AnswerBody>,
}

/// How a key must be presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyForm {
    /// As the dialect reads it.
    Any,
    /// As `Authorization: Basic`.
    Basic,
    /// As `Authorization: Basic`, or by a signature.
    BasicOrSigned,
}

/// The content type of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// JSON, or nothing.
    Json,
    /// Nothing.
    Nothing,
    /// One message of gRPC.
    Grpc,
}

/// How long tokens are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Without a wish of the caller.
    pub default: Duration,
    /// The shortest that a caller may ask for.
    pub shortest: Duration,
    /// The longest that a caller may ask for.
    pub longest: Duration,
}

impl Life {
    pub(crate) const fn seconds(default: u64, shortest: u64, longest: u64) -> Self {
        Self {
            default: Duration::from_secs(default),
            shortest: Duration::from_secs(shortest),
            longest: Duration::from_secs(longest),
        }
    }

    /// The same life for every token.
    pub(crate) const fn fixed(seconds: u64) -> Self {
        Self::seconds(seconds, seconds, seconds)
    }
}

/// A request for a token, whose body was read.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) body: &'a [u8],
    /// The segment of the path that stands for `{type}`.
    pub(crate) segment: &'a str,
    /// The id in the caller's key, if the key has one that is public.
    pub(crate) key_id: Option<&'a str>,
    pub(crate) life: Life,
    pub(crate) now: SystemTime,
}

impl Call<'_> {
    /// The shortest and the longest life in seconds.
    pub(crate) fn limits(&self) -> (u64, u64) {
        (self.life.shortest.as_secs(), self.life.longest.as_secs())
    }
}

/// A token that was made, and what the answer needs beside it.
pub(crate) struct Made<'a> {
    pub(crate) token: &'a IssuedToken,
    pub(crate) wish: &'a Wish,
    /// The id in the caller's key, if the key has one that is public.
    pub(crate) key_id: Option<&'a str>,
    pub(crate) scopes: Option<&'a [voxgate::Scope]>,
}

impl Made<'_> {
    /// The seconds from the token's issue to its end.
    pub(crate) fn seconds(&self) -> u64 {
        let life = self.token.expires.duration_since(self.token.issued);
        life.unwrap_or_default().as_secs()
    }

    /// The end of the token in Unix time.
    pub(crate) fn expires_at(&self) -> u64 {
        let since = self.token.expires.duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default().as_secs()
    }

    /// The end of the token (RFC 3339).
    pub(crate) fn expire_time(&self) -> String {
        humantime::format_rfc3339_seconds(self.token.expires).to_string()
    }
}

impl Endpoint {
    /// The vendor.
    #[must_use]
    pub fn vendor(&self) -> &'static str {
        self.vendor
    }

    /// The path, with `{type}` for any one segment.
    #[must_use]
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// How long its tokens are valid.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }

    /// Whether its tokens can be used once only.
    #[must_use]
    pub fn is_single_use(&self) -> bool {
        self.single_use
    }

    /// How the vendor's clients present the token.
    #[must_use]
    pub fn presented(&self) -> &'static str {
        self.presented
    }

    /// Whether requests of this dialect have the endpoint.
    #[must_use]
    pub fn is_of(&self, dialect: Dialect) -> bool {
        self.dialects.is_empty() || self.dialects.contains(&dialect)
    }

    /// The segment that stands for `{type}`, if this is the path.
    pub(crate) fn matches<'p>(&self, path: &'p str) -> Option<&'p str> {
        match self.path.strip_suffix("{type}") {
            None => (self.path == path).then_some(""),
            Some(start) => path
                .strip_prefix(start)
                .filter(|rest| !rest.is_empty() && !rest.contains('/')),
        }
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("vendor", &self.vendor)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
