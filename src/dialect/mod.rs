//! How one vendor's clients ask to be let in, and how they expect to be refused.
//!
//! Each vendor is one file with one [`Profile`]: where its SDK puts the credential, what its
//! server answers to a bad one, and how a deployment key goes upstream. A new vendor is a new file
//! and a new line in [`Dialect::profile`].

mod bearer;
mod credential;
mod rime;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::denial::{Denial, DenialKind};
use crate::policy::Policy;
use crate::request_id::{RequestId, X_REQUEST_ID};
use crate::secret::{Presented, Secret};

use self::credential::Carrier;

/// The variables that hold a vendor's deployment key, whether or not its dialect is spoken here.
pub(crate) const DEPLOYMENT_VARIABLES: [&str; 5] = [
    "RIME_API_KEY",
    "SUPERTONE_API_KEY",
    "SMALLEST_API_KEY",
    "KUGELAUDIO_API_KEY",
    "INWORLD_API_KEY",
];

/// The vendor whose clients call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// No vendor: `Authorization: Bearer`, and refusals as RFC 6750 §3 defines them.
    #[default]
    Bearer,
    /// Rime: `Authorization: Bearer` with a capital B, refusals in plain text.
    Rime,
}

/// Everything that differs from vendor to vendor.
struct Profile {
    name: &'static str,
    carriers: &'static [Carrier],
    /// Where a deployment key goes on the way upstream.
    upstream: Carrier,
    /// The variable that a deployment key is read from.
    deployment_variable: Option<&'static str>,
    refuse: fn(DenialKind) -> Refusal,
    /// Method, path pattern and required scope.
    routes: &'static [(&'static str, &'static str, &'static str)],
}

/// An answer in a vendor's own words.
struct Refusal {
    status: StatusCode,
    content_type: &'static str,
    body: Cow<'static, str>,
    challenge: Option<&'static str>,
}

impl Dialect {
    /// Every dialect, in the order in which help and errors name them.
    pub const ALL: [Self; 2] = [Self::Bearer, Self::Rime];

    fn profile(self) -> &'static Profile {
        match self {
            Self::Bearer => &bearer::PROFILE,
            Self::Rime => &rime::PROFILE,
        }
    }

    /// The name in settings and audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.profile().name
    }

    /// The environment variable that holds this vendor's deployment key, if it has one.
    #[must_use]
    pub fn deployment_variable(self) -> Option<&'static str> {
        self.profile().deployment_variable
    }

    /// Which scope each of the vendor's routes requires.
    #[must_use]
    pub fn policy(self) -> Policy {
        self.profile()
            .routes
            .iter()
            .fold(Policy::default(), |policy, (method, path, scope)| {
                policy.route(method, path, scope)
            })
    }

    /// Reads the credential from the carriers of this dialect.
    pub(crate) fn credential(self, headers: &HeaderMap) -> Result<Presented<'_>, DenialKind> {
        credential::read(self.profile().carriers, headers)
    }

    /// Marks what may hold a credential as sensitive, so that `Debug` of the headers hides it and
    /// HTTP/2 does not index it.
    pub(crate) fn mark_sensitive(self, headers: &mut HeaderMap) {
        for carrier in self.profile().carriers {
            carrier.mark_sensitive(headers);
        }
    }

    /// Removes the caller's credential from every carrier of this dialect.
    pub fn strip_credential(self, headers: &mut HeaderMap) {
        for carrier in self.profile().carriers {
            carrier.strip(headers);
        }
    }

    /// Adds a deployment key in the vendor's own form. The header is marked sensitive.
    pub fn add_deployment_key(self, key: &Secret, headers: &mut HeaderMap) {
        self.profile().upstream.write(key, headers);
    }

    /// The answer to a refused request, in the vendor's own words, with the request's identifier
    /// and, where the denial has one, `Retry-After` in whole seconds, rounded up.
    #[must_use]
    pub fn refuse(self, denial: &Denial, request_id: RequestId) -> Response<Bytes> {
        let refusal = (self.profile().refuse)(denial.kind());
        let mut response = Response::new(match refusal.body {
            Cow::Borrowed(body) => Bytes::from_static(body.as_bytes()),
            Cow::Owned(body) => Bytes::from(body),
        });
        *response.status_mut() = refusal.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(refusal.content_type));
        headers.insert(X_REQUEST_ID, request_id.to_header_value());
        if let Some(challenge) = refusal.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(wait) = denial.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response.extensions_mut().insert(denial.kind());
        response
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL
            .into_iter()
            .find(|dialect| dialect.as_str() == name);
        known.ok_or(UnknownDialect(()))
    }
}

/// A name that is not one of the dialects. It names those that there are.
#[derive(Debug)]
pub struct UnknownDialect(());

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Dialect::ALL.map(Dialect::as_str).join(", ");
        write!(f, "is not a known dialect; use one of: {names}")
    }
}

impl std::error::Error for UnknownDialect {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_is_found_by_its_name() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.as_str().parse::<Dialect>().ok(), Some(dialect));
        }
        let unknown = "rhyme".parse::<Dialect>().expect_err("no such dialect");
        assert!(unknown.to_string().contains("bearer, rime"), "{unknown}");
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
        assert_eq!(whole_seconds(Duration::from_millis(2001)), 3);
    }

    #[test]
    fn a_deployment_key_goes_upstream_in_place_of_the_callers() {
        let key = Secret::new("deployment-key").expect("a valid secret");
        for dialect in Dialect::ALL {
            let mut headers = HeaderMap::new();
            headers.append("authorization", HeaderValue::from_static("Bearer caller"));
            headers.append("authorization", HeaderValue::from_static("Bearer other"));
            dialect.strip_credential(&mut headers);
            assert!(headers.is_empty(), "{dialect}");
            dialect.add_deployment_key(&key, &mut headers);
            assert_eq!(
                headers["authorization"], "Bearer deployment-key",
                "{dialect}"
            );
            assert!(headers["authorization"].is_sensitive(), "{dialect}");
        }
    }
}
