//! Tests of tokens as a whole: what is accepted, and each reason to refuse.

mod attacks;
mod issuers;
mod wycheproof;

use std::time::{Duration, SystemTime};

use voxgate_core::principal::{KeyKind, Principal, Scope, Validity};

use crate::{Grant, NotIssued, SigningKey, TokenError, TokenIssuer, TokenVerifier};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) const ED25519: &str = include_str!("ed25519.pem");
pub(super) const P256: &str = include_str!("p256.pem");
pub(super) const RSA: &str = include_str!("rsa.pem");
pub(super) const SECRET: &str =
    r#"{"kty":"oct","kid":"shared","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE"}"#;

pub(super) fn signing_key(text: &str) -> SigningKey {
    SigningKey::parse(text).expect("a signing key")
}

fn issuer(text: &str) -> TokenIssuer {
    TokenIssuer::new("voxgate", "voxgate-tts", signing_key(text), [])
}

fn issue(issuer: &TokenIssuer) -> String {
    let grant = Grant::new(&Principal::new("ivr"), MINUTE);
    issuer.issue(&grant).expect("a token").token
}

#[test]
fn each_algorithm_signs_tokens_that_are_accepted() {
    for (text, algorithm) in [
        (ED25519, "EdDSA"),
        (P256, "ES256"),
        (RSA, "RS256"),
        (SECRET, "HS256"),
    ] {
        let issuer = issuer(text);
        assert_eq!(signing_key(text).algorithm(), algorithm);
        let token = issue(&issuer);
        let verifier = TokenVerifier::new(Some(issuer.clone()));
        for cached in [0, 1] {
            assert_eq!(verifier.cached(), cached, "{algorithm}");
            let verified = verifier.verify(token.as_bytes()).expect("accepted");
            assert_eq!(verified.key_id(), Some("ivr"));
            assert_eq!(verified.identity().issuer(), "voxgate");
        }
        assert!(TokenVerifier::looks_like_token(token.as_bytes()));
        // A shared secret is not published.
        let published = issuer.jwks().contains(&issuer.kid());
        assert_eq!(published, algorithm != "HS256");
        assert!(!issuer.jwks().contains("c2VjcmV0"));
    }
}

#[test]
fn a_key_is_recognised_by_the_same_kid_and_never_shown() {
    assert_eq!(signing_key(RSA).kid(), signing_key(RSA).kid());
    assert_ne!(signing_key(RSA).kid(), signing_key(P256).kid());
    for text in [ED25519, P256, RSA, SECRET] {
        let shown = format!("{:?} {:?}", signing_key(text), issuer(text));
        assert!(
            !shown.contains("c2VjcmV0") && !shown.contains("PRIVATE"),
            "{shown}"
        );
    }
}

#[test]
fn texts_that_are_no_signing_keys_are_refused() {
    use crate::InvalidSigningKey as E;
    let short = r#"{"kty":"oct","kid":"a","k":"c2hvcnQ"}"#;
    let unnamed = SECRET.replace("\"kid\":\"shared\",", "");
    let private = r#"{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}"#;
    for (text, expected) in [
        ("", E::UnknownFormat),
        ("hunter2", E::UnknownFormat),
        ("{}", E::UnknownFormat),
        (short, E::ShortSecret),
        (&*unnamed, E::MissingKid),
        (private, E::PrivateJwk),
    ] {
        assert_eq!(SigningKey::parse(text).map(|_| ()), Err(expected), "{text}");
    }
}

#[test]
fn the_rights_are_those_that_the_token_and_the_key_have_now() {
    let issuer = issuer(ED25519);
    let verifier = TokenVerifier::new(Some(issuer.clone()));
    let scopes = |names: &[&str]| {
        let scopes: Vec<_> = names.iter().filter_map(|name| Scope::new(name)).collect();
        Principal::new("ivr").with_scopes(scopes)
    };
    let key = scopes(&["a", "b"]).with_voices(["cove", "team-*"]);
    let rights = scopes(&["b"])
        .with_voices(["team-x"])
        .with_kind(KeyKind::Realtime);
    let grant = Grant::new(&key, MINUTE).with_rights(rights);
    let token = issuer.issue(&grant).expect("a token").token;
    let verified = verifier.verify(token.as_bytes()).expect("accepted");
    let principal = verified.principal(Some(&key)).expect("its key");
    assert!(principal.has_scope("b") && !principal.has_scope("a"));
    assert!(principal.has_voice("team-x") && !principal.has_voice("cove"));
    assert_eq!(principal.kind(), KeyKind::Realtime);
    assert!(principal.token().is_some());
    assert!(
        !key.may_less_than(&principal),
        "the key behind it still allows as much"
    );
    // The key lost the scope in the meantime.
    let poorer = scopes(&["a"]);
    let principal = verified.principal(Some(&poorer)).expect("its key");
    assert!(!principal.has_scope("b") && !principal.has_scope("a"));
    assert!(verified.principal(Some(&Principal::new("other"))).is_none());
    assert!(verified.principal(None).is_none());
}

#[test]
fn no_token_is_wider_or_longer_than_its_key() {
    let issuer = issuer(ED25519);
    let key = Principal::new("ivr").with_scopes(Scope::new("a"));
    let wider = Principal::new("ivr").with_scopes(Scope::new("b"));
    let grant = Grant::new(&key, MINUTE).with_rights(wider);
    assert_eq!(
        issuer.issue(&grant).map(|_| ()),
        Err(NotIssued::WiderThanKey)
    );

    let now = SystemTime::now();
    let mut validity = Validity {
        not_before: None,
        expires: Some(now + Duration::from_secs(10)),
    };
    let ending = key.clone().with_validity(validity);
    let issued = issuer.issue(&Grant::new(&ending, MINUTE)).expect("a token");
    assert!(issued.expires <= now + Duration::from_secs(10));
    validity.expires = Some(now);
    let ended = key.clone().with_validity(validity);
    let refused = issuer.issue(&Grant::new(&ended, MINUTE)).map(|_| ());
    assert_eq!(refused, Err(NotIssued::NoTimeLeft));

    let verifier = TokenVerifier::new(Some(issuer.clone()));
    let verified = verifier.verify(issued.token.as_bytes()).expect("accepted");
    let principal = verified.principal(Some(&key)).expect("its key");
    let refused = issuer.issue(&Grant::new(&principal, MINUTE)).map(|_| ());
    assert_eq!(refused, Err(NotIssued::NotAKey));
}

#[test]
fn clocks_may_differ_by_a_minute() {
    let issuer = issuer(ED25519);
    let verifier = TokenVerifier::new(Some(issuer.clone()));
    let now = SystemTime::now();
    for (age, expected) in [
        (-50, Ok(())),
        (-70, Err(TokenError::NotYetValid)),
        (100, Ok(())),
        (130, Err(TokenError::Expired)),
    ] {
        let shift = Duration::from_secs(u64::from(i32::unsigned_abs(age)));
        let then = if age < 0 { now + shift } else { now - shift };
        let grant = Grant::new(&Principal::new("ivr"), MINUTE);
        let token = issuer.issue_at(&grant, then).expect("a token").token;
        let verdict = verifier.verify(token.as_bytes()).map(|_| ());
        assert_eq!(verdict, expected, "{age}");
    }
}

#[test]
fn a_cached_token_does_not_outlive_itself_or_the_keys() {
    let issuer = issuer(ED25519);
    let verifier = TokenVerifier::new(Some(issuer.clone()));
    let token = issue(&issuer);
    verifier.verify(token.as_bytes()).expect("accepted");
    let later = SystemTime::now() + Duration::from_secs(121);
    let verdict = verifier.verify_at(token.as_bytes(), later).map(|_| ());
    assert_eq!(verdict, Err(TokenError::Expired));
    // During a rotation both keys count, afterwards only the new one.
    issuer.replace_keys(signing_key(P256), [signing_key(ED25519)]);
    verifier.verify(token.as_bytes()).expect("still accepted");
    verifier
        .verify(issue(&issuer).as_bytes())
        .expect("the new key");
    issuer.replace_keys(signing_key(P256), []);
    let verdict = verifier.verify(token.as_bytes()).map(|_| ());
    assert_eq!(verdict, Err(TokenError::UnknownKey));
}

#[test]
fn the_cache_is_bounded() {
    let issuer = issuer(ED25519);
    let others = crate::TrustedIssuers::default();
    let verifier = TokenVerifier::with_cache(Some(issuer.clone()), others, 10);
    for _ in 0..30 {
        verifier
            .verify(issue(&issuer).as_bytes())
            .expect("accepted");
        assert!(verifier.cached() <= 10);
    }
}

#[test]
fn replicas_with_the_same_key_accept_each_others_tokens() {
    let verdict = |one: &TokenIssuer, other: TokenIssuer| {
        let verifier = TokenVerifier::new(Some(other));
        verifier.verify(issue(one).as_bytes()).map(|_| ())
    };
    assert_eq!(verdict(&issuer(RSA), issuer(RSA)), Ok(()));
    assert_eq!(
        verdict(&issuer(RSA), issuer(P256)),
        Err(TokenError::UnknownKey)
    );
    let ephemeral = || {
        let key = SigningKey::ephemeral().expect("randomness");
        TokenIssuer::new("voxgate", "voxgate-tts", key, [])
    };
    assert_eq!(
        verdict(&ephemeral(), ephemeral()),
        Err(TokenError::UnknownKey)
    );
}
