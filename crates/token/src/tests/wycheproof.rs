//! The vectors of Project Wycheproof for JWS and JWK (Apache-2.0), reduced to keys and signatures.
//!
//! Their payloads are no claims, so that they are checked by the steps of a verification before the
//! claims: header, key, signature.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use jsonwebtoken::{Algorithm, crypto};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::key_set::KeySet;
use crate::{SigningKey, TokenError, header, provider};

#[derive(Deserialize)]
struct Corpus {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    comment: Option<String>,
    key: Value,
    tests: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    id: u64,
    jws: Value,
    result: String,
}

/// The key of a group: a public key as an issuer would publish it, or a shared secret.
fn keys(key: &Value) -> Option<KeySet> {
    if key["kty"] == "oct" {
        let mut key = key.clone();
        if key["kid"].is_null() {
            key["kid"] = "unnamed".into();
        }
        let is_hs256 = key["alg"].as_str().is_none_or(|alg| alg == "HS256");
        let secret = SigningKey::parse(&key.to_string())
            .ok()
            .filter(|_| is_hs256)?;
        return Some(KeySet::new(vec![secret.verification_key()]));
    }
    let set = match key.get("keys") {
        Some(_) => key.clone(),
        None => json!({ "keys": [key] }),
    };
    KeySet::parse(&set.to_string()).ok()
}

fn verify(keys: &KeySet, jws: &Value) -> Result<Algorithm, TokenError> {
    let jws = jws.as_str().ok_or(TokenError::Malformed)?;
    let header = header::inspect(jws)?;
    let key = keys.find(header.kid.as_deref(), header.algorithm)?;
    let (message, signature) = jws.rsplit_once('.').ok_or(TokenError::Malformed)?;
    // As the library does it for claims.
    let (_, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
    B64.decode(payload).map_err(|_| TokenError::Malformed)?;
    let verified = crypto::verify(signature, message.as_bytes(), key.key(), header.algorithm);
    match verified {
        Ok(true) => Ok(header.algorithm),
        Ok(false) => Err(TokenError::BadSignature),
        Err(_) => Err(TokenError::Malformed),
    }
}

/// How many vectors of each algorithm were accepted, and how many were refused. `known` are the
/// numbers of vectors that are accepted although the corpus says otherwise.
fn run(corpus: &str, known: &[u64]) -> (BTreeMap<String, usize>, usize, usize) {
    provider::install();
    let corpus: Corpus = serde_json::from_str(corpus).expect("a corpus");
    let (mut accepted, mut refused, mut unsupported) = (BTreeMap::new(), 0, 0);
    let mut wrong = Vec::new();
    for group in &corpus.groups {
        let keys = keys(&group.key);
        for vector in &group.tests {
            let verdict = match &keys {
                Some(keys) => verify(keys, &vector.jws),
                None => Err(TokenError::UnknownKey),
            };
            match (&*vector.result, verdict) {
                ("valid" | "acceptable", Ok(algorithm)) => {
                    *accepted.entry(format!("{algorithm:?}")).or_insert(0) += 1;
                }
                ("invalid", Ok(_)) => wrong.push(vector.id),
                ("invalid", Err(_)) => refused += 1,
                (_, Err(reason)) => {
                    unsupported += 1;
                    println!(
                        "not accepted: {} of {:?}: {reason}",
                        vector.id, group.comment
                    );
                }
                (other, _) => panic!("an unknown result: {other}"),
            }
        }
    }
    assert_eq!(wrong, known, "accepted, although the corpus says otherwise");
    (accepted, refused, unsupported)
}

/// These two differ from the valid vector 357 only in padding, and upstream lost the padding: their
/// texts are equal.
const EQUAL_TO_A_VALID_ONE: [u64; 2] = [367, 370];

/// An RSA key with the ROCA weakness (CVE-2017-15361), which no library here looks for. Such keys were
/// made by smart cards; the operator trusts the issuer to publish no broken key.
const ROCA: [u64; 1] = [7];

#[test]
fn signatures_of_the_corpus() {
    let (accepted, refused, unsupported) =
        run(include_str!("wycheproof_jws.json"), &EQUAL_TO_A_VALID_ONE);
    let total = accepted.values().sum::<usize>() + refused + unsupported;
    println!(
        "Wycheproof JWS: {total} vectors, accepted {accepted:?}, refused {refused}, not supported {unsupported}"
    );
    assert_eq!(total + EQUAL_TO_A_VALID_ONE.len(), 401);
    for algorithm in [
        "HS256", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    ] {
        assert!(
            accepted.contains_key(algorithm),
            "{algorithm}: {accepted:?}"
        );
    }
}

#[test]
fn keys_of_the_corpus() {
    let (accepted, refused, unsupported) = run(include_str!("wycheproof_jwk.json"), &ROCA);
    let total = accepted.values().sum::<usize>() + refused + unsupported;
    println!(
        "Wycheproof JWK: {total} vectors, accepted {accepted:?}, refused {refused}, not supported {unsupported}"
    );
    assert_eq!(total + ROCA.len(), 26);
}

#[derive(Deserialize)]
struct PlainCorpus {
    groups: Vec<PlainGroup>,
}

#[derive(Deserialize)]
struct PlainGroup {
    key: Value,
    /// Number, message, signature and result.
    tests: Vec<(u64, String, String, String)>,
}

/// Signatures of an algorithm that the corpus of JWS lacks, without a JWS around them.
fn plain(corpus: &str, algorithm: Algorithm) -> usize {
    provider::install();
    let corpus: PlainCorpus = serde_json::from_str(corpus).expect("a corpus");
    let mut count = 0;
    for group in &corpus.groups {
        let keys = KeySet::parse(&json!({ "keys": [group.key] }).to_string()).expect("a key");
        let key = keys.find(None, algorithm).expect("a key of this algorithm");
        for (id, message, signature, result) in &group.tests {
            let message = B64.decode(message).expect("base64url");
            let verified = crypto::verify(signature, &message, key.key(), algorithm);
            assert_eq!(
                verified.unwrap_or(false),
                result == "valid",
                "{algorithm:?} {id}"
            );
            count += 1;
        }
    }
    println!("Wycheproof {algorithm:?}: {count} vectors");
    count
}

#[test]
fn signatures_of_ed25519_and_p384() {
    assert!(plain(include_str!("wycheproof_ed25519.json"), Algorithm::EdDSA) > 100);
    assert!(plain(include_str!("wycheproof_p384.json"), Algorithm::ES384) > 100);
}
