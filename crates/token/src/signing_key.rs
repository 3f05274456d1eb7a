//! A key that signs tokens.

use std::fmt;

use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

use crate::key_set::VerificationKey;
use crate::provider;

/// The shortest secret of HS256, in bytes: as long as its hash (RFC 7518 §3.2).
const MIN_SECRET_BYTES: usize = 32;

/// A private key, or a shared secret, that signs tokens. `Debug` shows only its `kid`.
#[derive(Clone)]
pub struct SigningKey {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: EncodingKey,
    decoding: DecodingKey,
    /// The public half; `None` for a shared secret, which has none.
    public: Option<Jwk>,
}

/// The reason why a text is not a signing key. It never contains the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidSigningKey {
    /// Neither a private key in PEM nor a JWK.
    UnknownFormat,
    /// A private key of a kind that cannot be used.
    UnsupportedKey,
    /// A JWK with `"kty":"oct"` and without a `kid`.
    MissingKid,
    /// A secret that is shorter than 32 bytes.
    ShortSecret,
    /// A JWK with a private key. These are read in PEM.
    PrivateJwk,
    /// The operating system has no randomness.
    NoRandomness,
}

impl fmt::Display for InvalidSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownFormat => {
                "is neither a private key in PEM nor a JWK; make one with \
                 `openssl genpkey -algorithm ed25519`"
            }
            Self::UnsupportedKey => {
                "is not a private key of Ed25519, of P-256 in PKCS #8, or of RSA with 2048 bits or \
                 more; make one with `openssl genpkey -algorithm ed25519`"
            }
            Self::MissingKid => "is a JWK without a kid; add one",
            Self::ShortSecret => {
                "is a JWK whose secret k is shorter than 32 bytes; use a longer one"
            }
            Self::PrivateJwk => {
                "is a JWK of a private key; convert it to PEM (PKCS #8), or use a JWK of kty oct \
                 for HS256"
            }
            Self::NoRandomness => "cannot be made: the operating system has no randomness",
        })
    }
}

impl std::error::Error for InvalidSigningKey {}

#[derive(Deserialize)]
struct SecretJwk {
    kty: String,
    kid: Option<String>,
    k: Option<String>,
}

impl SigningKey {
    /// A new Ed25519 key that exists only in this process.
    ///
    /// # Errors
    ///
    /// If the operating system has no randomness.
    pub fn ephemeral() -> Result<Self, InvalidSigningKey> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let document = document.map_err(|_| InvalidSigningKey::NoRandomness)?;
        Self::from_private_der(document.as_ref())
    }

    /// Reads a private key in PEM, or a JWK (RFC 7517) with a secret:
    ///
    /// - Ed25519 (RFC 8410) signs with `EdDSA`, P-256 with `ES256`, RSA of 2048 bits or more with
    ///   `RS256`. The `kid` is the thumbprint of RFC 7638.
    /// - a JWK with `"kty":"oct"` signs with `HS256`. It needs a `kid` of its own: a thumbprint
    ///   would be a hash of the secret (RFC 7638 §7).
    ///
    /// # Errors
    ///
    /// If the text is none of these.
    pub fn parse(text: &str) -> Result<Self, InvalidSigningKey> {
        if text.trim_start().starts_with('{') {
            return Self::from_secret_jwk(text);
        }
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes());
        let der = der.map_err(|_| InvalidSigningKey::UnknownFormat)?;
        Self::from_private_der(der.secret_der())
    }

    fn from_private_der(der: &[u8]) -> Result<Self, InvalidSigningKey> {
        provider::install();
        let (algorithm, encoding, decoding) = if let Some(key) = provider::ed25519(der) {
            let public = DecodingKey::from_ed_der(key.public_key().as_ref());
            (Algorithm::EdDSA, EncodingKey::from_ed_der(der), public)
        } else if let Some(key) = provider::p256(der) {
            let public = DecodingKey::from_ec_der(key.public_key().as_ref());
            (Algorithm::ES256, EncodingKey::from_ec_der(der), public)
        } else if let Some(key) = provider::rsa(der) {
            let (n, e) = provider::rsa_public(&key);
            let public = DecodingKey::from_rsa_raw_components(&n, &e);
            (Algorithm::RS256, EncodingKey::from_rsa_der(der), public)
        } else {
            return Err(InvalidSigningKey::UnsupportedKey);
        };
        let unsupported = |_| InvalidSigningKey::UnsupportedKey;
        let mut public = Jwk::from_decoding_key(&decoding, Some(algorithm)).map_err(unsupported)?;
        let kid = public
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(unsupported)?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            kid,
            algorithm,
            encoding,
            decoding,
            public: Some(public),
        })
    }

    fn from_secret_jwk(text: &str) -> Result<Self, InvalidSigningKey> {
        provider::install();
        let jwk: SecretJwk =
            serde_json::from_str(text).map_err(|_| InvalidSigningKey::UnknownFormat)?;
        if jwk.kty != "oct" {
            return Err(InvalidSigningKey::PrivateJwk);
        }
        let secret: Jwk =
            serde_json::from_str(text).map_err(|_| InvalidSigningKey::UnknownFormat)?;
        let decoding =
            DecodingKey::from_jwk(&secret).map_err(|_| InvalidSigningKey::UnknownFormat)?;
        let bytes = decoding.try_get_as_bytes();
        let bytes = bytes.map_err(|_| InvalidSigningKey::UnknownFormat)?;
        if jwk.k.is_none() || bytes.len() < MIN_SECRET_BYTES {
            return Err(InvalidSigningKey::ShortSecret);
        }
        let encoding =
            EncodingKey::from_secret(bytes).map_err(|_| InvalidSigningKey::ShortSecret)?;
        let kid = jwk.kid.filter(|kid| !kid.trim().is_empty());
        Ok(Self {
            kid: kid.ok_or(InvalidSigningKey::MissingKid)?,
            algorithm: Algorithm::HS256,
            encoding,
            decoding,
            public: None,
        })
    }

    /// The identifier in the header of each token (`kid`).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm: `EdDSA`, `ES256`, `RS256` or `HS256`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::ES256 => "ES256",
            Algorithm::RS256 => "RS256",
            Algorithm::HS256 => "HS256",
            _ => "EdDSA",
        }
    }

    /// The public half, or `None` for a shared secret.
    pub(crate) fn public(&self) -> Option<&Jwk> {
        self.public.as_ref()
    }

    /// What verifies the tokens that this key signs, with its one algorithm.
    pub(crate) fn verification_key(&self) -> VerificationKey {
        VerificationKey::new(
            Some(self.kid.clone()),
            self.decoding.clone(),
            vec![self.algorithm],
        )
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
