//! Other issuers whose tokens are accepted, such as the identity provider of the operator.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use serde_json::{Map, Value};
use voxgate_core::principal::{Account, KeyKind, Principal, Scope};
use voxgate_limits::Limits;

use crate::error::TokenError;
use crate::key_set::KeySet;

/// The longest subject, in bytes. Longer ones do not fit into records.
const MAX_SUBJECT_BYTES: usize = 255;

/// The issuers whose tokens are accepted, beside Voxgate itself. Cloning shares it.
#[derive(Clone, Default)]
pub struct TrustedIssuers(Arc<ArcSwap<List>>);

#[derive(Default)]
struct List {
    issuers: Box<[Arc<TrustedIssuer>]>,
    /// The epochs of these issuers begin here, so that no two lists have the same epoch.
    first_epoch: u64,
}

/// More than the keys of a list ever change.
const EPOCHS_OF_A_LIST: u64 = 1 << 32;

/// One issuer, its keys, and what its claims mean here.
pub struct TrustedIssuer {
    name: Box<str>,
    issuer: Box<str>,
    audiences: Box<[Box<str>]>,
    mapping: ClaimMapping,
    max_life: Option<Duration>,
    keys: ArcSwapOption<KeySet>,
    epoch: AtomicU64,
    /// Called when a token names a key that is not there.
    unknown_key: Option<Box<dyn Fn() + Send + Sync>>,
}

/// What the claims of an issuer mean.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ClaimMapping {
    /// The claim with scopes: a text of scopes separated by spaces, or a list.
    pub scope_claim: Option<String>,
    /// The scope here for each scope of the issuer. Without it, scopes have the same names.
    pub scopes: Vec<(String, Scope)>,
    /// Scopes that every token of this issuer has.
    pub default_scopes: Vec<Scope>,
    /// The claim with voices: a list, or a text of voices separated by spaces.
    pub voice_claim: Option<String>,
    /// The claim with the account of the subject.
    pub account_claim: Option<String>,
    /// The limits of each subject.
    pub limits: Limits,
    /// Whether the tokens are for realtime sessions only.
    pub is_realtime: bool,
}

impl TrustedIssuer {
    /// An issuer whose keys are not known yet.
    ///
    /// `name` is the first part of the ids of its principals, and `issuer` the value of `iss`. A
    /// token must name one of `audiences`.
    #[must_use]
    pub fn new(
        name: &str,
        issuer: &str,
        audiences: impl IntoIterator<Item = impl Into<Box<str>>>,
        mapping: ClaimMapping,
    ) -> Self {
        Self {
            name: name.into(),
            issuer: issuer.into(),
            audiences: audiences.into_iter().map(Into::into).collect(),
            mapping,
            max_life: None,
            keys: ArcSwapOption::empty(),
            epoch: AtomicU64::new(0),
            unknown_key: None,
        }
    }

    /// Refuses tokens that are valid for longer. Such tokens then need `iat`.
    #[must_use]
    pub fn with_max_life(mut self, max_life: Duration) -> Self {
        self.max_life = Some(max_life);
        self
    }

    /// Calls `refresh` for each token that names an unknown key. It must not block.
    #[must_use]
    pub fn on_unknown_key(mut self, refresh: impl Fn() + Send + Sync + 'static) -> Self {
        self.unknown_key = Some(Box::new(refresh));
        self
    }

    /// Replaces the keys. Tokens of keys that are no longer there are refused from now on.
    pub fn replace_keys(&self, keys: KeySet) {
        self.keys.store(Some(Arc::new(keys)));
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Takes the keys of `other`, which has the same ones.
    pub(crate) fn take_keys_of(&self, other: &Self) {
        self.keys.store(other.keys.load_full());
    }

    /// The first part of the ids of its principals.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn audiences(&self) -> impl Iterator<Item = &str> {
        self.audiences.iter().map(|audience| &**audience)
    }

    pub(crate) fn max_life(&self) -> Option<Duration> {
        self.max_life
    }

    pub(crate) fn with_keys<T>(
        &self,
        look: impl FnOnce(&KeySet) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let keys = self.keys.load();
        let found = match &*keys {
            Some(keys) => look(keys),
            None => Err(TokenError::IssuerUnavailable),
        };
        if let (Err(TokenError::UnknownKey), Some(refresh)) = (&found, &self.unknown_key) {
            refresh();
        }
        found
    }

    /// The principal of a subject, with the rights that its claims give it.
    pub(crate) fn principal(&self, claims: &Map<String, Value>) -> Result<Principal, TokenError> {
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject.ok_or(TokenError::MissingClaim)?;
        let is_valid = !subject.is_empty()
            && subject.len() <= MAX_SUBJECT_BYTES
            && !subject.chars().any(char::is_control);
        if !is_valid {
            return Err(TokenError::Malformed);
        }
        let mut principal = Principal::new(&format!("{}/{subject}", self.name));
        principal = principal.with_scopes(self.mapping.scopes(claims)?);
        if let Some(claim) = &self.mapping.voice_claim {
            let voices = claims.get(claim).map_or(Ok(Vec::new()), texts)?;
            principal = principal.with_voices(voices);
        }
        if let Some(claim) = &self.mapping.account_claim {
            let account = claims.get(claim).and_then(Value::as_str);
            let account = account.filter(|id| is_account(id));
            let account = account.ok_or(TokenError::MissingClaim)?;
            let account = Account::new(account, Limits::default());
            principal = principal.with_account(Arc::new(account));
        }
        if !self.mapping.limits.is_empty() {
            principal = principal.with_limits(self.mapping.limits);
        }
        if self.mapping.is_realtime {
            principal = principal.with_kind(KeyKind::Realtime);
        }
        Ok(principal)
    }
}

/// The form of an account in a keys file.
fn is_account(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@/-".contains(&byte);
    (1..=64).contains(&id.len()) && id.bytes().all(plain)
}

impl ClaimMapping {
    fn scopes(&self, claims: &Map<String, Value>) -> Result<Vec<Scope>, TokenError> {
        let mut scopes = self.default_scopes.clone();
        let claim = self
            .scope_claim
            .as_ref()
            .and_then(|claim| claims.get(claim));
        for text in claim.map_or(Ok(Vec::new()), texts)? {
            let mapped: Vec<Scope> = match self.scopes.is_empty() {
                true => Scope::new(&text).into_iter().collect(),
                false => {
                    let named = self.scopes.iter().filter(|(theirs, _)| *theirs == text);
                    named.map(|(_, ours)| ours.clone()).collect()
                }
            };
            scopes.extend(mapped);
        }
        scopes.dedup();
        match scopes.is_empty() {
            true => Err(TokenError::NoRights),
            false => Ok(scopes),
        }
    }
}

/// The texts of a claim: a list of texts, or one text of words separated by spaces.
fn texts(claim: &Value) -> Result<Vec<String>, TokenError> {
    match claim {
        Value::String(text) => Ok(text.split_ascii_whitespace().map(str::to_owned).collect()),
        Value::Array(items) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or(TokenError::Malformed)
        }
        _ => Err(TokenError::Malformed),
    }
}

impl TrustedIssuers {
    /// These issuers. If two have the same `iss`, the first one counts.
    #[must_use]
    pub fn new(issuers: impl IntoIterator<Item = Arc<TrustedIssuer>>) -> Self {
        let list = List {
            issuers: issuers.into_iter().collect(),
            first_epoch: 0,
        };
        Self(Arc::new(ArcSwap::from_pointee(list)))
    }

    /// Replaces all issuers. Tokens of those that are no longer there are refused from now on, also
    /// those that were verified before.
    pub fn replace(&self, issuers: impl IntoIterator<Item = Arc<TrustedIssuer>>) {
        let issuers: Box<[_]> = issuers.into_iter().collect();
        self.0.rcu(|last| List {
            issuers: issuers.clone(),
            first_epoch: last.first_epoch.wrapping_add(EPOCHS_OF_A_LIST),
        });
    }

    /// Every issuer, as of now.
    pub fn iter(&self) -> impl Iterator<Item = Arc<TrustedIssuer>> {
        let issuers: Vec<_> = self.0.load().issuers.iter().cloned().collect();
        issuers.into_iter()
    }

    /// Whether there is no issuer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.load().issuers.is_empty()
    }

    pub(crate) fn find(&self, issuer: &str) -> Option<Arc<TrustedIssuer>> {
        let list = self.0.load();
        let found = list
            .issuers
            .iter()
            .find(|trusted| *trusted.issuer == *issuer);
        found.cloned()
    }

    /// Changes with the issuers and with the keys of each.
    pub(crate) fn epoch(&self) -> u64 {
        let list = self.0.load();
        let epochs = list.issuers.iter();
        let changes: u64 = epochs
            .map(|issuer| issuer.epoch.load(Ordering::Acquire))
            .sum();
        list.first_epoch.wrapping_add(changes)
    }
}

impl fmt::Debug for TrustedIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedIssuer")
            .field("name", &self.name)
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TrustedIssuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
