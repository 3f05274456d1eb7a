//! Voxgate as the issuer of tokens.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Header, encode};
use uuid::Uuid;
use voxgate_core::principal::{KeyKind, Principal};

use crate::claims::{ClaimedLimits, Claims, Kind};
use crate::key_set::KeySet;
use crate::rights;
use crate::signing_key::SigningKey;

/// Signs tokens for keys, and knows the keys that verify them. Cloning shares it.
///
/// ```
/// use std::time::Duration;
/// use voxgate_core::principal::Principal;
/// use voxgate_token::{Grant, SigningKey, TokenIssuer, TokenVerifier};
///
/// let issuer = TokenIssuer::new("voxgate", "voxgate", SigningKey::ephemeral()?, []);
/// let key = Principal::new("ivr-prod");
/// let grant = Grant::new(&key, Duration::from_secs(60)).with_single_use(true);
/// let issued = issuer.issue(&grant)?;
///
/// let verifier = TokenVerifier::new(Some(issuer));
/// let token = verifier.verify(issued.token.as_bytes())?;
/// assert_eq!(token.key_id(), Some("ivr-prod"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TokenIssuer(Arc<Inner>);

struct Inner {
    issuer: Box<str>,
    audience: Box<str>,
    keys: ArcSwap<Keys>,
    epoch: AtomicU64,
}

struct Keys {
    signing: SigningKey,
    verification: KeySet,
    jwks: String,
}

/// What a token is issued for: a key, a time, and rights that are no wider than those of the key.
#[derive(Clone, Debug)]
pub struct Grant {
    key: Principal,
    rights: Option<Principal>,
    life: Duration,
    single_use: bool,
}

impl Grant {
    /// A token for this key with all its rights, for this time in whole seconds.
    #[must_use]
    pub fn new(key: &Principal, life: Duration) -> Self {
        Self {
            key: key.clone(),
            rights: None,
            life,
            single_use: false,
        }
    }

    /// Narrows the token to the scopes, voices, kind and limits of `rights`. What `rights` does not
    /// restrict is not restricted by the token, and stays as it is for the key.
    #[must_use]
    pub fn with_rights(mut self, rights: Principal) -> Self {
        self.rights = Some(rights);
        self
    }

    /// Sets whether the token can be used once only.
    #[must_use]
    pub fn with_single_use(mut self, single_use: bool) -> Self {
        self.single_use = single_use;
        self
    }
}

/// A signed token. `Debug` does not show it.
#[derive(Clone)]
#[non_exhaustive]
pub struct IssuedToken {
    /// The token in its compact form (RFC 7515 §7.1). It is a secret.
    pub token: String,
    /// Its identifier (`jti`), a UUIDv7.
    pub id: String,
    /// When it was issued, in whole seconds.
    pub issued: SystemTime,
    /// When it expires, in whole seconds.
    pub expires: SystemTime,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken")
            .field("id", &self.id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Why a token was not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotIssued {
    /// The token would have rights that its key does not have.
    WiderThanKey,
    /// The key of the grant is itself the principal of a token.
    NotAKey,
    /// The key has expired, or the life is shorter than a second.
    NoTimeLeft,
    /// The clock is before 1970, or the signature could not be made.
    CannotSign,
}

impl fmt::Display for NotIssued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WiderThanKey => "the token would have rights that its key does not have",
            Self::NotAKey => "a token cannot be issued for a token; use the key",
            Self::NoTimeLeft => "the key or the token would expire within a second",
            Self::CannotSign => "the token could not be signed",
        })
    }
}

impl std::error::Error for NotIssued {}

impl TokenIssuer {
    /// Signs with `signing`, and accepts tokens of `others` too: the next key or the previous one,
    /// during a rotation.
    ///
    /// Replicas accept each other's tokens if they have the same issuer, audience and keys.
    #[must_use]
    pub fn new(
        issuer: &str,
        audience: &str,
        signing: SigningKey,
        others: impl IntoIterator<Item = SigningKey>,
    ) -> Self {
        Self(Arc::new(Inner {
            issuer: issuer.into(),
            audience: audience.into(),
            keys: ArcSwap::from_pointee(Keys::new(signing, others)),
            epoch: AtomicU64::new(0),
        }))
    }

    /// Replaces the keys. Tokens of keys that are no longer there are refused from now on.
    pub fn replace_keys(&self, signing: SigningKey, others: impl IntoIterator<Item = SigningKey>) {
        self.0.keys.store(Arc::new(Keys::new(signing, others)));
        self.0.epoch.fetch_add(1, Ordering::Release);
    }

    /// Signs a token. Does not block.
    ///
    /// The token ends with its key at the latest: its life is shortened if the key expires sooner.
    ///
    /// # Errors
    ///
    /// If the grant is wider than its key, or the token would not be valid for a second, or cannot
    /// be signed.
    pub fn issue(&self, grant: &Grant) -> Result<IssuedToken, NotIssued> {
        self.issue_at(grant, SystemTime::now())
    }

    /// Signs a token as [`issue`](Self::issue) does, with another time as the present one.
    #[doc(hidden)]
    pub fn issue_at(&self, grant: &Grant, now: SystemTime) -> Result<IssuedToken, NotIssued> {
        let Grant {
            key,
            rights,
            life,
            single_use,
        } = grant;
        if key.token().is_some() {
            return Err(NotIssued::NotAKey);
        }
        let asks_for_more = rights
            .as_ref()
            .is_some_and(|rights| !rights::is_within(key, &with_restrictions_of(key, rights)));
        if asks_for_more {
            return Err(NotIssued::WiderThanKey);
        }
        let since = now.duration_since(UNIX_EPOCH);
        let issued = since.map_err(|_| NotIssued::CannotSign)?.as_secs();
        let mut expires = issued.saturating_add(life.as_secs());
        if let Some(end) = key.validity().expires {
            let end = end.duration_since(UNIX_EPOCH).unwrap_or_default();
            expires = expires.min(end.as_secs());
        }
        if expires <= issued {
            return Err(NotIssued::NoTimeLeft);
        }
        let id = Uuid::now_v7().to_string();
        let claims = self.claims(&id, key, rights.as_ref(), [issued, expires], *single_use);
        let keys = self.0.keys.load();
        let mut header = Header::new(keys.signing.algorithm);
        header.kid = Some(keys.signing.kid.clone());
        let token = encode(&header, &claims, &keys.signing.encoding);
        Ok(IssuedToken {
            token: token.map_err(|_| NotIssued::CannotSign)?,
            id,
            issued: UNIX_EPOCH + Duration::from_secs(issued),
            expires: UNIX_EPOCH + Duration::from_secs(expires),
        })
    }

    fn claims(
        &self,
        id: &str,
        key: &Principal,
        rights: Option<&Principal>,
        [issued, expires]: [u64; 2],
        single_use: bool,
    ) -> Claims {
        let scopes = rights.and_then(Principal::scopes);
        let scopes = scopes.map(|all| all.iter().map(|scope| scope.as_str()));
        let voices = rights.and_then(Principal::voices);
        let is_realtime = |rights: &Principal| rights.kind() == KeyKind::Realtime;
        Claims {
            iss: self.0.issuer.to_string(),
            aud: self.0.audience.to_string(),
            sub: key.id().to_owned(),
            exp: expires,
            iat: issued,
            nbf: issued,
            jti: id.to_owned(),
            scope: scopes.map(|scopes| scopes.collect::<Vec<_>>().join(" ")),
            voices: voices.map(|all| all.iter().map(ToString::to_string).collect()),
            kind: rights
                .filter(|rights| is_realtime(rights))
                .map(|_| Kind::Realtime),
            limits: rights.and_then(|rights| ClaimedLimits::of(rights.limits())),
            single_use,
        }
    }

    /// The value of `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The value of `aud`.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.0.audience
    }

    /// The public keys as a JWK set (RFC 7517 §5), for `/.well-known/jwks.json`. Shared secrets are
    /// not part of it.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.0.keys.load().jwks.clone()
    }

    /// The `kid` of the key that signs.
    #[must_use]
    pub fn kid(&self) -> String {
        self.0.keys.load().signing.kid.clone()
    }

    /// The keys that verify tokens of this issuer now.
    pub(crate) fn with_keys<T>(&self, look: impl FnOnce(&KeySet) -> T) -> T {
        look(&self.0.keys.load().verification)
    }

    /// A number that changes when the keys do.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::Acquire)
    }
}

/// `rights`, and where they do not restrict anything, the restrictions of the key.
fn with_restrictions_of(key: &Principal, rights: &Principal) -> Principal {
    let mut wanted = rights.clone();
    if let (None, Some(scopes)) = (rights.scopes(), key.scopes()) {
        wanted = wanted.with_scopes(scopes.iter().cloned());
    }
    if let (None, Some(voices)) = (rights.voices(), key.voices()) {
        wanted = wanted.with_voices(voices);
    }
    if key.kind() == KeyKind::Realtime {
        wanted = wanted.with_kind(KeyKind::Realtime);
    }
    wanted
}

impl Keys {
    fn new(signing: SigningKey, others: impl IntoIterator<Item = SigningKey>) -> Self {
        let mut all = vec![signing.clone()];
        for other in others {
            if all.iter().all(|key| key.kid != other.kid) {
                all.push(other);
            }
        }
        let public = JwkSet {
            keys: all.iter().filter_map(SigningKey::public).cloned().collect(),
        };
        Self {
            signing,
            verification: KeySet::new(all.iter().map(SigningKey::verification_key).collect()),
            // Such a value is always JSON.
            jwks: serde_json::to_string(&public).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuer")
            .field("issuer", &self.0.issuer)
            .field("audience", &self.0.audience)
            .field("kid", &self.kid())
            .finish()
    }
}
