//! The attacks of RFC 8725 and of the published advisories, each with its own reason.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{ED25519, P256, RSA, SECRET, issue, issuer, signing_key};
use crate::{TokenError, TokenVerifier};

fn part(value: &Value) -> String {
    B64.encode(value.to_string())
}

/// The claims of a token that would be accepted.
fn claims() -> Value {
    let token = issue(&issuer(ED25519));
    let payload = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&B64.decode(payload).expect("base64url")).expect("claims")
}

/// A token with this header and these claims, signed correctly with Ed25519.
fn signed(header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let key = signing_key(ED25519);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.encoding, key.algorithm);
    format!("{message}.{}", signature.expect("a signature"))
}

fn refusal(token: &str) -> Option<TokenError> {
    let verifier = TokenVerifier::new(Some(issuer(ED25519)));
    let verdict = verifier.verify(token.as_bytes());
    assert_eq!(verifier.cached(), usize::from(verdict.is_ok()), "{token}");
    verdict.err()
}

/// The header of a good token, with more parameters.
fn header(more: Value) -> Value {
    let mut header = json!({"alg": "EdDSA", "kid": signing_key(ED25519).kid(), "typ": "JWT"});
    if let (Value::Object(header), Value::Object(more)) = (&mut header, more) {
        header.extend(more);
    }
    header
}

#[test]
fn headers_that_choose_how_they_are_verified_are_refused() {
    use TokenError as E;
    assert_eq!(refusal(&signed(&header(json!({})), &claims())), None);
    let jwk =
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    for (more, expected) in [
        (json!({"alg": "none"}), E::AlgorithmNone),
        (json!({"alg": "NoNe"}), E::AlgorithmNone),
        (json!({"alg": "HS256"}), E::AlgorithmMismatch),
        (json!({"alg": "RS256"}), E::AlgorithmMismatch),
        (json!({"alg": "ES256K"}), E::AlgorithmMismatch),
        (json!({"alg": "eddsa"}), E::AlgorithmMismatch),
        (json!({"alg": 1}), E::Malformed),
        (json!({"crit": ["exp"], "exp": 1}), E::UnknownCritical),
        (json!({"crit": ["b64"], "b64": true}), E::UnknownCritical),
        (json!({"crit": []}), E::UnknownCritical),
        (json!({"jwk": jwk}), E::EmbeddedKey),
        (json!({"x5c": ["MIIB"]}), E::EmbeddedKey),
        (
            json!({"jku": "https://attacker.example/jwks.json"}),
            E::KeyUrl,
        ),
        (
            json!({"x5u": "https://attacker.example/cert.pem"}),
            E::KeyUrl,
        ),
        (json!({"cty": "JWT"}), E::Nested),
        (json!({"cty": "application/jwt"}), E::Nested),
        (json!({"zip": "DEF"}), E::UnsupportedHeader),
        (json!({"b64": false}), E::UnsupportedHeader),
        (json!({"enc": "A128GCM"}), E::Encrypted),
        (json!({"typ": "logout+jwt"}), E::WrongType),
        (json!({"kid": "unknown"}), E::UnknownKey),
        (json!({"kid": "../../../../dev/null"}), E::UnknownKey),
        (json!({"kid": null}), E::UnknownKey),
        (json!({"kid": ["a"]}), E::Malformed),
    ] {
        let token = signed(&header(more.clone()), &claims());
        assert_eq!(refusal(&token), Some(expected), "{more}");
    }
}

#[test]
fn a_public_key_is_not_a_secret() {
    // The attacker signs with HS256, and takes what is published for the secret.
    for text in [ED25519, P256, RSA] {
        let issuer = issuer(text);
        let jwks: Value = serde_json::from_str(&issuer.jwks()).expect("a key set");
        let key = &jwks["keys"][0];
        for secret in [
            key.to_string(),
            key["x"].as_str().unwrap_or("x").to_owned(),
            key["n"].as_str().unwrap_or("n").to_owned(),
        ] {
            let mut header = Header::new(Algorithm::HS256);
            header.kid = Some(issuer.kid());
            let secret = EncodingKey::from_secret(secret.as_bytes()).expect("a secret");
            let token = encode(&header, &claims(), &secret).expect("a token");
            let verifier = TokenVerifier::new(Some(issuer.clone()));
            let verdict = verifier.verify(token.as_bytes()).map(|_| ());
            assert_eq!(verdict, Err(TokenError::AlgorithmMismatch));
        }
    }
    // The other way round: a secret does not verify signatures of other algorithms.
    let verifier = TokenVerifier::new(Some(issuer(SECRET)));
    let token = signed(&json!({"alg": "EdDSA", "kid": "shared"}), &claims());
    let verdict = verifier.verify(token.as_bytes()).map(|_| ());
    assert_eq!(verdict, Err(TokenError::AlgorithmMismatch));
}

#[test]
fn claims_are_required_and_typed() {
    use TokenError as E;
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    };
    for (claims, expected) in [
        (without("exp"), E::MissingClaim),
        (without("iss"), E::MissingClaim),
        (without("aud"), E::MissingClaim),
        (without("sub"), E::MissingClaim),
        (without("jti"), E::Malformed),
        (with("exp", json!("never")), E::Malformed),
        (with("exp", json!(1e300)), E::Malformed),
        (with("exp", json!(u64::MAX)), E::Malformed),
        (with("exp", json!(1)), E::Expired),
        (with("exp", json!(-1)), E::Malformed),
        (with("nbf", json!("x")), E::Malformed),
        (with("nbf", json!(99_999_999_999_u64)), E::NotYetValid),
        (with("iss", json!("other")), E::UnknownIssuer),
        (with("iss", json!(["voxgate"])), E::Malformed),
        (with("aud", json!("other")), E::WrongAudience),
        (with("aud", json!(["other"])), E::WrongAudience),
        (with("aud", json!(1)), E::Malformed),
        (with("sub", json!(1)), E::MissingClaim),
        (with("scope", json!("a\u{e9}")), E::Malformed),
        (with("kind", json!("admin")), E::Malformed),
        (with("limits", json!({"rate": "many"})), E::Malformed),
        (with("single_use", json!("yes")), E::Malformed),
    ] {
        let refused = refusal(&signed(&header(json!({})), &claims));
        let is_refused = refused == Some(expected)
            || (refused.is_some() && expected == E::Malformed)
            || (refused == Some(E::Malformed) && expected == E::MissingClaim);
        assert!(is_refused, "{claims}: {refused:?}");
    }
}

#[test]
fn other_forms_are_refused() {
    use TokenError as E;
    let good = issue(&issuer(ED25519));
    let [head, body, signature] = [0, 1, 2].map(|at| good.split('.').nth(at).unwrap_or(""));
    for (token, expected) in [
        (String::new(), E::Malformed),
        (format!("{head}.{body}"), E::Malformed),
        (format!("{head}.{body}.{signature}."), E::Malformed),
        (format!("{head}.{body}.{signature}.a.b"), E::Encrypted),
        (format!("{head}.{body}."), E::BadSignature),
        (format!("{head}.{body}.{signature}="), E::Malformed),
        (format!("{head}=.{body}.{signature}"), E::Malformed),
        (format!(" {good}"), E::Malformed),
        (format!("{good}\n"), E::Malformed),
        (format!("{head}.{body}.AAAA"), E::BadSignature),
        (
            format!("{head}.{}.{signature}", part(&json!({"iss": "voxgate"}))),
            E::BadSignature,
        ),
        (
            format!("{}.{body}.{signature}", part(&header(json!({"a": 1})))),
            E::BadSignature,
        ),
        (format!("{head}.{body}.{}", "A".repeat(5000)), E::TooLarge),
        // The JSON form of RFC 7515 §7.2.
        (
            json!({"payload": body, "signatures": [{"protected": head, "signature": signature}]})
                .to_string(),
            E::Malformed,
        ),
    ] {
        assert_eq!(refusal(&token), Some(expected), "{token}");
    }
    let twice = B64.encode(r#"{"alg":"EdDSA","alg":"none"}"#);
    assert_eq!(
        refusal(&format!("{twice}.{body}.{signature}")),
        Some(E::Malformed)
    );
    let verifier = TokenVerifier::new(Some(issuer(ED25519)));
    assert_eq!(verifier.verify(b"\xff.\xff.\xff").err(), Some(E::Malformed));
}
