//! The cryptography of `jsonwebtoken`, by `ring`, which already does TLS here.
//!
//! Of the providers that `jsonwebtoken` ships, one needs `aws-lc-rs` (a second C library) and the
//! other the crate `rsa` (RUSTSEC-2023-0071: its signing leaks the private key through timing).

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, Result, new_error};
use jsonwebtoken::jwk::{EllipticCurve, ThumbprintHash};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{self as sig, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use ring::{digest, hmac};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: new_signer,
    verifier_factory: new_verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: rsa_components,
        rsa_pub_components_from_public_key: |_| Err(new_error(ErrorKind::UnsupportedAlgorithm)),
        ec_pub_components_from_private_key: ec_components,
        ed_pub_components_from_private_key: ed_component,
        compute_digest,
    },
};

/// Makes `ring` the provider of this process, unless the program has installed another.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The error is the provider that was installed before. It serves as well.
        _ = PROVIDER.install_default();
    });
}

/// Reads an Ed25519 key in PKCS #8 (RFC 8410); OpenSSL writes it without the public key.
pub(crate) fn ed25519(pkcs8: &[u8]) -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).ok()
}

/// Reads a key of the curve P-256 in PKCS #8.
pub(crate) fn p256(pkcs8: &[u8]) -> Option<EcdsaKeyPair> {
    let algorithm = &sig::ECDSA_P256_SHA256_FIXED_SIGNING;
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &SystemRandom::new()).ok()
}

/// Reads an RSA key of 2048 bits or more, in PKCS #8 or PKCS #1.
pub(crate) fn rsa(der: &[u8]) -> Option<RsaKeyPair> {
    let read = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der));
    read.ok()
}

/// The modulus and the exponent of an RSA key.
pub(crate) fn rsa_public(key: &RsaKeyPair) -> (Vec<u8>, Vec<u8>) {
    let parts = sig::RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
    (parts.n, parts.e)
}

struct RingSigner {
    algorithm: Algorithm,
    key: PrivateKey,
}

enum PrivateKey {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
    Hmac(hmac::Key),
}

fn new_signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    if key.family() != algorithm.family() {
        return Err(new_error(ErrorKind::InvalidAlgorithm));
    }
    let bytes = key.as_bytes();
    let key = match algorithm {
        Algorithm::EdDSA => ed25519(bytes).map(PrivateKey::Ed25519),
        Algorithm::ES256 => p256(bytes).map(PrivateKey::P256),
        Algorithm::RS256 => rsa(bytes).map(|key| PrivateKey::Rsa(Box::new(key))),
        Algorithm::HS256 => Some(PrivateKey::Hmac(hmac::Key::new(hmac::HMAC_SHA256, bytes))),
        _ => return Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    };
    let key = key.ok_or_else(invalid_key)?;
    let algorithm = *algorithm;
    Ok(Box::new(RingSigner { algorithm, key }))
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, SignatureError> {
        let random = SystemRandom::new();
        match &self.key {
            PrivateKey::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            PrivateKey::P256(key) => {
                let signature = key.sign(&random, message);
                let signature = signature.map_err(|_| SignatureError::new())?;
                Ok(signature.as_ref().to_vec())
            }
            PrivateKey::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&sig::RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| SignatureError::new())?;
                Ok(signature)
            }
            PrivateKey::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

fn new_verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if key.family() != algorithm.family() {
        return Err(new_error(ErrorKind::InvalidAlgorithm));
    }
    Ok(Box::new(RingVerifier {
        algorithm: *algorithm,
        key: key.clone(),
    }))
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), SignatureError> {
        let verified = match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => rsa_parameters(self.algorithm)
                .and_then(|parameters| {
                    let key = sig::RsaPublicKeyComponents { n, e };
                    key.verify(parameters, message, signature).ok()
                }),
            DecodingKeyKind::SecretOrDer(key) if self.key.family() == AlgorithmFamily::Hmac => {
                hmac_algorithm(self.algorithm).and_then(|algorithm| {
                    hmac::verify(&hmac::Key::new(algorithm, key), message, signature).ok()
                })
            }
            DecodingKeyKind::SecretOrDer(key) => {
                public_key_algorithm(self.algorithm).and_then(|algorithm| {
                    let key = sig::UnparsedPublicKey::new(algorithm, key);
                    key.verify(message, signature).ok()
                })
            }
        };
        verified.ok_or_else(SignatureError::new)
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn public_key_algorithm(algorithm: Algorithm) -> Option<&'static dyn sig::VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::EdDSA => &sig::ED25519,
        Algorithm::ES256 => &sig::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &sig::ECDSA_P384_SHA384_FIXED,
        _ => return None,
    })
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static sig::RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &sig::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &sig::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &sig::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &sig::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &sig::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &sig::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn hmac_algorithm(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    (algorithm == Algorithm::HS256).then_some(hmac::HMAC_SHA256)
}

fn rsa_components(der: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let key = rsa(der).ok_or_else(invalid_key)?;
    Ok(rsa_public(&key))
}

fn ec_components(pkcs8: &[u8], algorithm: Algorithm) -> Result<(EllipticCurve, Vec<u8>, Vec<u8>)> {
    if algorithm != Algorithm::ES256 {
        return Err(new_error(ErrorKind::UnsupportedAlgorithm));
    }
    let key = p256(pkcs8).ok_or_else(invalid_key)?;
    // An uncompressed point: 4, x, y (SEC 1 §2.3.3).
    let point = key.public_key().as_ref();
    let coordinates = point.get(1..).filter(|rest| rest.len() == 64);
    let (x, y) = coordinates.ok_or_else(invalid_key)?.split_at(32);
    Ok((EllipticCurve::P256, x.to_vec(), y.to_vec()))
}

fn ed_component(pkcs8: &[u8], curve: &EllipticCurve) -> Result<Vec<u8>> {
    if *curve != EllipticCurve::Ed25519 {
        return Err(new_error(ErrorKind::UnsupportedAlgorithm));
    }
    let key = ed25519(pkcs8).ok_or_else(invalid_key)?;
    Ok(key.public_key().as_ref().to_vec())
}

fn compute_digest(data: &[u8], hash: ThumbprintHash) -> Result<Vec<u8>> {
    let algorithm = match hash {
        ThumbprintHash::SHA256 => &digest::SHA256,
        ThumbprintHash::SHA384 => &digest::SHA384,
        ThumbprintHash::SHA512 => &digest::SHA512,
        _ => return Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    };
    Ok(digest::digest(algorithm, data).as_ref().to_vec())
}

fn invalid_key() -> Error {
    new_error(ErrorKind::InvalidKeyFormat)
}
