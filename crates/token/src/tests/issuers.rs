//! Other issuers: their file, their keys, and the meaning of their claims.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jsonwebtoken::{Header, encode};
use serde_json::{Value, json};

use super::{ED25519, P256, signing_key};
use crate::{Fetch, FetchRequest, IssuersFile, TokenError, TokenIssuer, TokenVerifier};

const FILE: &str = r#"
[[issuer]]
name = "idp"
issuer = "https://idp.example"
audiences = ["voxgate", "tts"]
max_life_seconds = 3600
default_scopes = ["voices:read"]
scope_claim = "roles"
scopes = { speaker = "tts:synthesize" }
voice_claim = "voices"
account_claim = "tenant"
rate = "5/s"
"#;

fn claims() -> Value {
    let now = jsonwebtoken::get_current_timestamp();
    json!({
        "iss": "https://idp.example", "aud": ["other", "tts"], "sub": "alice", "iat": now,
        "exp": now + 600, "roles": ["speaker", "admin"], "voices": ["cove"], "tenant": "acme",
        "jti": "id-1",
    })
}

fn signed(key: &str, claims: &Value) -> String {
    let key = signing_key(key);
    let mut header = Header::new(key.algorithm);
    header.kid = Some(key.kid().to_owned());
    encode(&header, claims, &key.encoding).expect("a token")
}

fn jwks(key: &str) -> String {
    TokenIssuer::new("a", "b", signing_key(key), []).jwks()
}

/// A verifier that follows the issuer of [`FILE`], whose documents `fetch` knows.
fn verifier(
    fetch: impl Fn(&str) -> Result<String, String> + Send + Sync + 'static,
) -> TokenVerifier {
    let file = IssuersFile::parse(FILE, "issuers.toml", Some("voxgate")).expect("a valid file");
    let fetch: Arc<Fetch> = Arc::new(move |request: &FetchRequest<'_>| fetch(request.url));
    TokenVerifier::with_issuers(None, file.follow(&fetch).expect("a thread").trusted())
}

/// The documents of an issuer with this key.
fn idp(url: &str, key: &str) -> Result<String, String> {
    match url {
        "https://idp.example/.well-known/openid-configuration" => Ok(json!({
            "issuer": "https://idp.example", "jwks_uri": "https://idp.example/keys"
        })
        .to_string()),
        "https://idp.example/keys" => Ok(jwks(key)),
        _ => Err("not found".to_owned()),
    }
}

/// Waits until the keys have arrived.
fn verdict(verifier: &TokenVerifier, token: &str) -> Result<crate::VerifiedToken, TokenError> {
    let since = Instant::now();
    loop {
        match verifier.verify(token.as_bytes()) {
            Err(TokenError::IssuerUnavailable) if since.elapsed() < Duration::from_secs(20) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            verdict => return verdict.map(|token| (*token).clone()),
        }
    }
}

#[test]
fn claims_become_a_principal() {
    let verifier = verifier(|url| idp(url, ED25519));
    let token = verdict(&verifier, &signed(ED25519, &claims())).expect("accepted");
    assert_eq!(token.key_id(), None);
    assert_eq!(token.identity().id(), Some("id-1"));
    let principal = token.principal(None).expect("a subject");
    assert_eq!(principal.id(), "idp/alice");
    assert!(principal.has_scope("tts:synthesize") && principal.has_scope("voices:read"));
    assert!(!principal.has_scope("admin") && !principal.has_scope("speaker"));
    assert!(principal.has_voice("cove") && !principal.has_voice("other"));
    assert_eq!(
        principal.account().map(|account| account.id()),
        Some("acme")
    );
    assert_eq!(
        principal
            .limits()
            .rate
            .map(|rate| rate.to_string())
            .as_deref(),
        Some("5/s")
    );
    assert_eq!(
        principal.token().map(|token| token.issuer()),
        Some("https://idp.example")
    );
    // It is not the principal of a key, whatever its id.
    assert!(token.principal(Some(&principal)).is_none());
}

#[test]
fn claims_that_do_not_fit_are_refused() {
    use TokenError as E;
    let verifier = verifier(|url| idp(url, ED25519));
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        signed(ED25519, &claims)
    };
    for (token, expected) in [
        (with("aud", json!("other")), E::WrongAudience),
        (with("iss", json!("https://idp.example/")), E::UnknownIssuer),
        (with("sub", json!("a\nb")), E::Malformed),
        (with("sub", json!("a".repeat(256))), E::Malformed),
        (with("roles", json!({"a": 1})), E::Malformed),
        (with("tenant", json!("a b")), E::MissingClaim),
        (with("exp", json!(99_999_999_999_u64)), E::TooLongLived),
        (with("iat", Value::Null), E::MissingClaim),
        (signed(P256, &claims()), E::UnknownKey),
    ] {
        assert_eq!(verdict(&verifier, &token).err(), Some(expected));
    }
    let without_roles = with("roles", json!([]));
    assert!(
        verdict(&verifier, &without_roles).is_ok(),
        "the default scopes"
    );
}

#[test]
fn an_unknown_key_does_not_make_more_than_one_request_in_the_cool_down() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let verifier = verifier(move |url| {
        counted.fetch_add(1, Ordering::Relaxed);
        idp(url, ED25519)
    });
    verdict(&verifier, &signed(ED25519, &claims())).expect("accepted");
    let forged = signed(P256, &claims());
    for _ in 0..1000 {
        assert_eq!(
            verdict(&verifier, &forged).err(),
            Some(TokenError::UnknownKey)
        );
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(
        count.load(Ordering::Relaxed),
        2,
        "one discovery, one key set"
    );
}

#[test]
fn an_issuer_that_does_not_answer_is_not_an_empty_one() {
    let verifier = verifier(|_| Err("refused".to_owned()));
    let verdict = verifier
        .verify(signed(ED25519, &claims()).as_bytes())
        .map(|_| ());
    assert_eq!(verdict, Err(TokenError::IssuerUnavailable));
    assert_eq!(TokenError::IssuerUnavailable.kind().as_str(), "unavailable");
}

#[test]
fn a_mounted_key_set_is_followed_and_a_bad_one_is_not() {
    let folder = std::env::temp_dir().join(format!("voxgate-jwks-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("jwks.json");
    std::fs::write(&path, jwks(ED25519)).expect("a file");
    let text = format!("{FILE}\njwks_file = {:?}\n", path.display().to_string());
    let file = IssuersFile::parse(&text, "issuers.toml", None).expect("a valid file");
    let fetch: Arc<Fetch> = Arc::new(|_: &FetchRequest<'_>| Err("not used".to_owned()));
    let verifier =
        TokenVerifier::with_issuers(None, file.follow(&fetch).expect("a thread").trusted());
    let (old, new) = (signed(ED25519, &claims()), signed(P256, &claims()));
    verifier.verify(old.as_bytes()).expect("accepted at once");
    std::fs::write(&path, "{}").expect("a file");
    std::thread::sleep(Duration::from_millis(2500));
    verifier
        .verify(old.as_bytes())
        .expect("the last keys stay in force");
    std::fs::write(&path, jwks(P256)).expect("a file");
    let since = Instant::now();
    while verifier.verify(new.as_bytes()).is_err() && since.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    verifier.verify(new.as_bytes()).expect("the new key");
    assert_eq!(
        verifier.verify(old.as_bytes()).err(),
        Some(TokenError::UnknownKey)
    );
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn all_problems_of_a_file_are_reported_at_once() {
    let text = r#"
colour = "red"

[[issuer]]
name = "a/b"
issuer = "http://idp.example"
audiences = []
kind = "other"
burst = 1

[[issuer]]
name = "one"
issuer = "voxgate"
audiences = ["a"]
default_scopes = ["a b"]
jwks_url = "http://idp.example/keys"

[[issuer]]
name = "one"
issuer = "https://idp.example"
audiences = ["a"]
scopes = { a = "b" }
jwks_file = "/does/not/exist"
ca_file = "/ca.pem"

[[issuer]]
tier = "x"
"#;
    let error = IssuersFile::parse(text, "issuers.toml", Some("voxgate")).expect_err("wrong");
    let problems = error.to_string();
    for expected in [
        "issuers.toml: colour is unknown",
        "issuer 1: name must be 1 to 32 characters",
        "issuer 1: audiences must name",
        "issuer 1: gives its subjects no right",
        "issuer 1: kind must be standard or realtime",
        "issuer 1: rate must be",
        "issuer 1: issuer must be an https:// URL",
        "issuer 2: issuer is another issuer's",
        "issuer 2: default_scopes must be scopes",
        "issuer 2: jwks_url must be an https:// URL",
        "issuer 3: name is another issuer's",
        "issuer 3: scopes has no effect without scope_claim",
        "issuer 3: ca_file and bearer_file have no effect",
        "issuer 3: jwks_file cannot be read",
        "issuer 4: unknown field `tier`",
    ] {
        assert!(problems.contains(expected), "{expected}:\n{problems}");
    }
    for text in ["", "[[issuer]", "[[issuer]]"] {
        assert!(
            IssuersFile::parse(text, "issuers.toml", None).is_err(),
            "{text}"
        );
    }
}

#[test]
fn a_changed_file_comes_into_force_and_keeps_the_keys_that_are_known() {
    let other = FILE
        .replace("idp.example", "other.example")
        .replace("\"idp\"", "\"other\"");
    let parse = |text: &str| IssuersFile::parse(text, "issuers.toml", None).expect("a valid file");
    let is_away = Arc::new(AtomicUsize::new(0));
    let fetch: Arc<Fetch> = Arc::new({
        let is_away = Arc::clone(&is_away);
        move |request: &FetchRequest<'_>| match is_away.load(Ordering::Relaxed) {
            0 => idp(request.url, ED25519),
            _ => Err("down".to_owned()),
        }
    });
    let mut followed = parse(FILE).follow(&fetch).expect("a thread");
    let verifier = TokenVerifier::with_issuers(None, followed.trusted());
    let token = signed(ED25519, &claims());
    assert!(verdict(&verifier, &token).is_ok());
    is_away.store(1, Ordering::Relaxed);
    // The same table goes on, beside another one.
    let issuer = followed.trusted().iter().next().expect("an issuer");
    let both = parse(&format!("{FILE}{other}"));
    followed.replace(both).expect("a thread");
    let same = followed.trusted().iter().next().expect("an issuer");
    assert!(Arc::ptr_eq(&issuer, &same));
    assert!(verifier.verify(token.as_bytes()).is_ok());
    // Another audience counts at once, for a token that was verified before, too. The issuer does
    // not answer, and its keys are known.
    let narrow = FILE.replace("\"voxgate\", \"tts\"", "\"voxgate\"");
    followed.replace(parse(&narrow)).expect("a thread");
    let refused = verifier.verify(token.as_bytes()).expect_err("an audience");
    assert_eq!(refused, TokenError::WrongAudience);
    // An issuer that is gone is unknown.
    followed.replace(parse(&other)).expect("a thread");
    let refused = verifier.verify(token.as_bytes()).expect_err("an issuer");
    assert_eq!(refused, TokenError::UnknownIssuer);
    followed.replace(parse(FILE)).expect("a thread");
    let refused = verifier.verify(token.as_bytes()).expect_err("keys");
    assert_eq!(refused, TokenError::IssuerUnavailable);
}
