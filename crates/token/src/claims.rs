//! The claims of Voxgate's own tokens.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use voxgate_core::principal::{KeyKind, Principal, Scope};
use voxgate_limits::{Limits, Rate};

/// The claims of a token. Those of RFC 7519 §4.1 and `scope` of RFC 8693 §4.2 have their standard
/// meaning; `sub` is the id of the key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) sub: String,
    pub(crate) exp: u64,
    pub(crate) iat: u64,
    pub(crate) nbf: u64,
    pub(crate) jti: String,
    /// Scopes, separated by spaces. Without the claim, the token has those of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) voices: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<ClaimedLimits>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) single_use: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Standard,
    Realtime,
}

/// Limits in the form of a keys file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ClaimedLimits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) burst: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) concurrency: Option<NonZeroU32>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

impl Claims {
    /// The principal that the claims describe: an id and the rights that the token asks for. They
    /// are not in force until they are intersected with those of the key. `None` if a claim is not
    /// one that Voxgate signs.
    pub(crate) fn principal(&self) -> Option<Principal> {
        let mut principal = Principal::new(&self.sub);
        if let Some(scope) = &self.scope {
            let scopes = scope.split_ascii_whitespace().map(Scope::new);
            principal = principal.with_scopes(scopes.collect::<Option<Vec<_>>>()?);
        }
        if let Some(voices) = &self.voices {
            principal = principal.with_voices(voices);
        }
        if self.kind == Some(Kind::Realtime) {
            principal = principal.with_kind(KeyKind::Realtime);
        }
        if let Some(limits) = &self.limits {
            principal = principal.with_limits(limits.read()?);
        }
        Some(principal)
    }
}

impl ClaimedLimits {
    /// The claim for these limits, unless there are none.
    pub(crate) fn of(limits: Limits) -> Option<Self> {
        (!limits.is_empty()).then(|| Self {
            rate: limits.rate.map(|rate| rate.to_string()),
            burst: limits.burst,
            concurrency: limits.concurrency,
        })
    }

    fn read(&self) -> Option<Limits> {
        let rate = match &self.rate {
            Some(rate) => Some(Rate::parse(rate)?),
            None => None,
        };
        Some(Limits {
            rate,
            burst: self.burst,
            concurrency: self.concurrency,
        })
    }
}
