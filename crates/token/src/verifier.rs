//! Verifies tokens.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, dangerous, decode};
use serde::Deserialize;
use serde_json::{Map, Value};
use voxgate_core::principal::{Principal, TokenIdentity};
use voxgate_core::secret::RawCredential;

use crate::cache::Cache;
use crate::claims::Claims;
use crate::error::TokenError;
use crate::header::{self, PlainHeader};
use crate::issuer::TokenIssuer;
use crate::key_set::KeySet;
use crate::provider;
use crate::rights;
use crate::spent::SingleUse;
use crate::trusted::TrustedIssuers;

/// The tolerance for clocks that differ.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// How many verified tokens are remembered by default, about 1 KiB each.
pub const DEFAULT_CACHE: usize = 4096;

/// Verifies tokens of Voxgate and of other issuers. Cloning shares it.
///
/// The algorithm, the issuer and the audience of a token are compared with what is configured; there
/// is no way to make a verifier that does not. A verified token is not yet an accepted one:
/// [`VerifiedToken::principal`] needs the key behind it, as it is now.
#[derive(Clone)]
pub struct TokenVerifier(Arc<Inner>);

struct Inner {
    own: Option<TokenIssuer>,
    others: TrustedIssuers,
    cache: Cache,
}

/// A token whose signature, issuer, audience and times are right.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    identity: TokenIdentity,
    not_before: u64,
    expires: u64,
    single_use: Option<SingleUse>,
    owner: Owner,
}

#[derive(Clone, Debug)]
enum Owner {
    /// A key of Voxgate, and the rights that the token has at most.
    Key(Principal),
    /// A subject of another issuer, with the rights that its claims give it.
    Subject(Principal),
}

/// What is read before it is known who signed it, to find the keys.
#[derive(Deserialize)]
struct Unverified {
    iss: Option<String>,
}

impl TokenVerifier {
    /// Verifies the tokens of this issuer, or none.
    #[must_use]
    pub fn new(own: Option<TokenIssuer>) -> Self {
        Self::with_issuers(own, TrustedIssuers::default())
    }

    /// Verifies the tokens of this issuer and of others.
    #[must_use]
    pub fn with_issuers(own: Option<TokenIssuer>, others: TrustedIssuers) -> Self {
        Self::with_cache(own, others, DEFAULT_CACHE)
    }

    /// Verifies tokens, and remembers this many of them. 0 remembers none.
    #[must_use]
    pub fn with_cache(own: Option<TokenIssuer>, others: TrustedIssuers, most: usize) -> Self {
        provider::install();
        Self(Arc::new(Inner {
            own,
            others,
            cache: Cache::new(most),
        }))
    }

    /// Whether a credential has the form of a token. What has it and is no key is a token.
    #[must_use]
    pub fn looks_like_token(credential: &[u8]) -> bool {
        header::looks_like_token(credential)
    }

    /// Verifies a token. Does not block, and asks nobody.
    ///
    /// # Errors
    ///
    /// The first reason to refuse the token. It must not be told to the caller.
    pub fn verify(&self, token: &[u8]) -> Result<Arc<VerifiedToken>, TokenError> {
        self.verify_at(token, SystemTime::now())
    }

    pub(crate) fn verify_at(
        &self,
        token: &[u8],
        now: SystemTime,
    ) -> Result<Arc<VerifiedToken>, TokenError> {
        if token.len() > voxgate_core::secret::MAX_CREDENTIAL_BYTES {
            return Err(TokenError::TooLarge);
        }
        // The epoch is read first: keys that are replaced meanwhile make the entry void.
        let epoch = self.epoch();
        let digest = RawCredential::new(token).digest();
        if let Some(known) = self.0.cache.get(&digest, epoch) {
            known.check_times(now)?;
            return Ok(known);
        }
        let text = std::str::from_utf8(token).map_err(|_| TokenError::Malformed)?;
        let token = Arc::new(self.verify_anew(text)?);
        token.check_times(now)?;
        // A single-use token is not used again, so that its place would be wasted.
        if token.single_use.is_none() {
            self.0.cache.put(digest, epoch, Arc::clone(&token));
        }
        Ok(token)
    }

    fn verify_anew(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        let header = header::inspect(token)?;
        let claims: Unverified =
            dangerous::insecure_decode_claims(token).map_err(|_| TokenError::Malformed)?;
        let issuer = claims.iss.ok_or(TokenError::MissingClaim)?;
        if let Some(own) = &self.0.own
            && own.issuer() == issuer
        {
            return verify_own(own, token, &header);
        }
        let trusted = self.0.others.find(&issuer);
        let trusted = trusted.ok_or(TokenError::UnknownIssuer)?;
        let claims = trusted.with_keys(|keys| {
            let audiences: Vec<&str> = trusted.audiences().collect();
            verified_claims(token, &header, keys, &issuer, &audiences)
        })?;
        let (principal, max_life) = (trusted.principal(&claims)?, trusted.max_life());
        let expires = number(&claims, "exp").ok_or(TokenError::MissingClaim)?;
        if let Some(max_life) = max_life {
            let issued = number(&claims, "iat").ok_or(TokenError::MissingClaim)?;
            if expires.saturating_sub(issued) > max_life.as_secs() {
                return Err(TokenError::TooLongLived);
            }
        }
        let id = claims.get("jti").and_then(Value::as_str);
        let id = id.filter(|id| id.len() <= 256);
        Ok(VerifiedToken {
            identity: TokenIdentity::new(&issuer, id, from_unix(expires)?),
            not_before: number(&claims, "nbf").unwrap_or(0),
            expires,
            single_use: None,
            owner: Owner::Subject(principal),
        })
    }

    fn epoch(&self) -> u64 {
        let own = self.0.own.as_ref().map_or(0, TokenIssuer::epoch);
        own.wrapping_add(self.0.others.epoch())
    }

    #[cfg(test)]
    pub(crate) fn cached(&self) -> usize {
        self.0.cache.len()
    }
}

fn verify_own(
    own: &TokenIssuer,
    token: &str,
    header: &PlainHeader,
) -> Result<VerifiedToken, TokenError> {
    if header.kid.is_none() {
        return Err(TokenError::UnknownKey);
    }
    let audience = [own.audience()];
    let claims =
        own.with_keys(|keys| verified_claims(token, header, keys, own.issuer(), &audience))?;
    let claims: Claims =
        serde_json::from_value(Value::Object(claims)).map_err(|_| TokenError::Malformed)?;
    let expires = from_unix(claims.exp)?;
    let until = expires + LEEWAY;
    let single_use = claims
        .single_use
        .then(|| SingleUse::new(&claims.iss, &claims.jti, until));
    Ok(VerifiedToken {
        identity: TokenIdentity::new(&claims.iss, Some(&claims.jti), expires),
        not_before: claims.nbf,
        expires: claims.exp,
        single_use,
        owner: Owner::Key(claims.principal().ok_or(TokenError::Malformed)?),
    })
}

/// The claims, if a key of the issuer signed them for this audience.
fn verified_claims(
    token: &str,
    header: &PlainHeader,
    keys: &KeySet,
    issuer: &str,
    audiences: &[&str],
) -> Result<Map<String, Value>, TokenError> {
    let key = keys.find(header.kid.as_deref(), header.algorithm)?;
    let mut validation = Validation::new(header.algorithm);
    validation.leeway = LEEWAY.as_secs();
    validation.validate_nbf = true;
    validation.set_issuer(&[issuer]);
    validation.set_audience(audiences);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let decoded = decode::<Map<String, Value>>(token, key.key(), &validation);
    let claims = decoded.map_err(|error| reason(error.kind()))?.claims;
    match claims.get("iss").and_then(Value::as_str) {
        Some(named) if named == issuer => Ok(claims),
        // The library also accepts a list of issuers.
        _ => Err(TokenError::UnknownIssuer),
    }
}

fn reason(error: &ErrorKind) -> TokenError {
    match error {
        ErrorKind::InvalidSignature => TokenError::BadSignature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            TokenError::AlgorithmMismatch
        }
        ErrorKind::MissingRequiredClaim(_) => TokenError::MissingClaim,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidIssuer => TokenError::UnknownIssuer,
        ErrorKind::InvalidAudience => TokenError::WrongAudience,
        _ => TokenError::Malformed,
    }
}

/// A number of seconds, which may have decimals (RFC 7519 §2).
fn number(claims: &Map<String, Value>, name: &str) -> Option<u64> {
    let value = claims.get(name)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and decimals do not count"
    )]
    value
        .as_u64()
        .or_else(|| value.as_f64().map(|seconds| seconds as u64))
}

fn from_unix(seconds: u64) -> Result<SystemTime, TokenError> {
    // Room for the leeway. The last moment is in the year 9999, as in RFC 3339.
    const LAST: u64 = 253_402_300_799;
    match seconds <= LAST {
        true => Ok(UNIX_EPOCH + Duration::from_secs(seconds)),
        false => Err(TokenError::Malformed),
    }
}

impl VerifiedToken {
    /// The id of the key that the token was issued for; `None` for the token of another issuer.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        match &self.owner {
            Owner::Key(rights) => Some(rights.id()),
            Owner::Subject(_) => None,
        }
    }

    /// The principal of the token. `key` is the key behind it as it is now, and must be the one that
    /// [`key_id`](Self::key_id) names. Its rights are what both the key and the token allow.
    ///
    /// `None` if the token needs a key and `key` is none, or another one.
    #[must_use]
    pub fn principal(&self, key: Option<&Principal>) -> Option<Principal> {
        let principal = match (&self.owner, key) {
            (Owner::Key(rights), Some(key)) if rights.id() == key.id() => {
                rights::intersection(key, rights)
            }
            (Owner::Subject(principal), None) => principal.clone(),
            _ => return None,
        };
        Some(principal.with_token(self.identity.clone()))
    }

    /// What must be used up before a single-use token is accepted.
    #[must_use]
    pub fn single_use(&self) -> Option<&SingleUse> {
        self.single_use.as_ref()
    }

    /// The issuer, the identifier and the end of the token.
    #[must_use]
    pub fn identity(&self) -> &TokenIdentity {
        &self.identity
    }

    fn check_times(&self, now: SystemTime) -> Result<(), TokenError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let leeway = LEEWAY.as_secs();
        if self.expires.saturating_add(leeway) < now {
            return Err(TokenError::Expired);
        }
        if self.not_before > now.saturating_add(leeway) {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier")
            .field("own", &self.0.own)
            .field("others", &self.0.others)
            .finish_non_exhaustive()
    }
}
