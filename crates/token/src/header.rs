//! What the header of a token must not have.
//!
//! The library reads the header again when it verifies the signature. This look comes first, so that
//! each kind of attack has its own reason on record and costs no signature check.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;

use voxgate_core::secret::MAX_CREDENTIAL_BYTES;

use crate::error::TokenError;

/// The header parameters of RFC 7515 §4.1 and RFC 7516 §4.1 that count.
#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    cty: Option<String>,
    crit: Option<IgnoredAny>,
    jwk: Option<IgnoredAny>,
    jku: Option<IgnoredAny>,
    x5c: Option<IgnoredAny>,
    x5u: Option<IgnoredAny>,
    zip: Option<IgnoredAny>,
    enc: Option<IgnoredAny>,
    b64: Option<bool>,
}

/// A header without anything that is refused.
#[derive(Debug)]
pub(crate) struct PlainHeader {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
}

/// Whether a credential has the form of a token, so that it is not a mistyped key: three parts, or
/// five if it is encrypted, of which the first is a JSON object in base64url.
#[must_use]
pub(crate) fn looks_like_token(credential: &[u8]) -> bool {
    let dots = credential.iter().filter(|byte| **byte == b'.').count();
    let is_text = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.=".contains(byte);
    // `ey` is the base64 of `{` with a quotation mark, a space, a tab or a line end behind it.
    let object = [&b"ey"[..], b"ew", b"e3"];
    (dots == 2 || dots == 4)
        && object.iter().any(|start| credential.starts_with(start))
        && credential.iter().all(is_text)
}

/// Reads the header of a token, and refuses what it must not have.
pub(crate) fn inspect(token: &str) -> Result<PlainHeader, TokenError> {
    if token.len() > MAX_CREDENTIAL_BYTES {
        return Err(TokenError::TooLarge);
    }
    let mut parts = token.split('.');
    let first = parts.next().unwrap_or_default();
    match parts.count() {
        2 => {}
        4 => return Err(TokenError::Encrypted),
        _ => return Err(TokenError::Malformed),
    }
    let json = BASE64_URL_SAFE_NO_PAD.decode(first);
    let json = json.map_err(|_| TokenError::Malformed)?;
    let header: RawHeader = serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)?;
    if header.alg.eq_ignore_ascii_case("none") {
        return Err(TokenError::AlgorithmNone);
    }
    if header.crit.is_some() {
        return Err(TokenError::UnknownCritical);
    }
    if header.jwk.is_some() || header.x5c.is_some() {
        return Err(TokenError::EmbeddedKey);
    }
    if header.jku.is_some() || header.x5u.is_some() {
        return Err(TokenError::KeyUrl);
    }
    if header.enc.is_some() {
        return Err(TokenError::Encrypted);
    }
    if header.cty.is_some_and(|cty| is_type(&cty, &["jwt"])) {
        return Err(TokenError::Nested);
    }
    if header.zip.is_some() || header.b64 == Some(false) {
        return Err(TokenError::UnsupportedHeader);
    }
    // RFC 8725 §3.11 and RFC 9068 §2.1.
    if header
        .typ
        .is_some_and(|typ| !is_type(&typ, &["jwt", "at+jwt"]))
    {
        return Err(TokenError::WrongType);
    }
    let algorithm = header.alg.parse::<Algorithm>();
    Ok(PlainHeader {
        algorithm: algorithm.map_err(|_| TokenError::AlgorithmMismatch)?,
        kid: header.kid,
    })
}

/// Whether a media type, with or without `application/` (RFC 7515 §4.1.9), is one of these.
fn is_type(value: &str, types: &[&str]) -> bool {
    let value = value.to_ascii_lowercase();
    let value = value.strip_prefix("application/").unwrap_or(&value);
    types.contains(&value)
}
