//! The keys that verify the tokens of one issuer.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::jwk::{KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

use crate::error::TokenError;
use crate::provider;

/// The most keys that one issuer may have.
const MAX_KEYS: usize = 100;

/// A key with the algorithms that it may be used with. The algorithm is never the token's choice.
#[derive(Clone, Debug)]
pub(crate) struct VerificationKey {
    kid: Option<String>,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl VerificationKey {
    pub(crate) fn new(kid: Option<String>, key: DecodingKey, algorithms: Vec<Algorithm>) -> Self {
        Self {
            kid,
            key,
            algorithms,
        }
    }

    pub(crate) fn key(&self) -> &DecodingKey {
        &self.key
    }
}

/// The keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
}

/// The reason why a text is not a usable JWK set (RFC 7517 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidKeySet {
    /// Not JSON of the form `{"keys":[…]}`.
    NotAKeySet,
    /// More than 100 keys.
    TooManyKeys,
    /// No key is a public key for signatures of a supported algorithm.
    NoUsableKey,
}

impl std::fmt::Display for InvalidKeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotAKeySet => "is not a JWK set, {\"keys\":[…]}",
            Self::TooManyKeys => "has more than 100 keys",
            Self::NoUsableKey => {
                "has no public key for signatures with EdDSA, ES256, ES384, RS256 to RS512 or \
                 PS256 to PS512"
            }
        })
    }
}

impl std::error::Error for InvalidKeySet {}

impl KeySet {
    pub(crate) fn new(keys: Vec<VerificationKey>) -> Self {
        Self { keys }
    }

    /// Reads a JWK set (RFC 7517 §5) of public keys. Keys of other types, for other uses or with
    /// unknown algorithms are ignored, as §5 says. So are shared secrets: a set that is published
    /// has none.
    ///
    /// # Errors
    ///
    /// If the text is not such a set, or has no key that can be used.
    pub fn parse(text: &str) -> Result<Self, InvalidKeySet> {
        provider::install();
        let set: JwkSet = serde_json::from_str(text).map_err(|_| InvalidKeySet::NotAKeySet)?;
        if set.keys.len() > MAX_KEYS {
            return Err(InvalidKeySet::TooManyKeys);
        }
        let keys: Vec<_> = set.keys.iter().filter_map(usable).collect();
        match keys.is_empty() {
            true => Err(InvalidKeySet::NoUsableKey),
            false => Ok(Self { keys }),
        }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that must have signed a token with this header. A token without a `kid` is accepted
    /// only if one key alone can have signed it.
    pub(crate) fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<&VerificationKey, TokenError> {
        let mut named = self
            .keys
            .iter()
            .filter(|key| kid.is_none() || key.kid.as_deref() == kid)
            .peekable();
        if named.peek().is_none() {
            return Err(TokenError::UnknownKey);
        }
        let mut fitting = named.filter(|key| key.algorithms.contains(&algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            // Two keys with one `kid`, or without any.
            (Some(_), Some(_)) => Err(TokenError::UnknownKey),
            (None, _) => Err(TokenError::AlgorithmMismatch),
        }
    }
}

fn usable(jwk: &Jwk) -> Option<VerificationKey> {
    let common = &jwk.common;
    let for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let operations = common.key_operations.as_ref();
    let verifies = operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
    if !for_signatures || !verifies {
        return None;
    }
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            vec![Algorithm::ES256]
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
            vec![Algorithm::ES384]
        }
        AlgorithmParameters::RSA(_) => vec![
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        _ => return None,
    };
    if let Some(own) = common.key_algorithm {
        let own = Algorithm::try_from(own).ok()?;
        algorithms.retain(|algorithm| *algorithm == own);
    }
    if algorithms.is_empty() {
        return None;
    }
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(VerificationKey::new(common.key_id.clone(), key, algorithms))
}
