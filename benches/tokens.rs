//! What tokens cost beside keys: to sign one, and to accept one with and without the memory of
//! verified tokens.
//!
//! `make bench` runs it. Each time is the median of several rounds, and each ratio is to the look-up of
//! a key by the same verifier in the same run.

#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use voxgate::keys::TokenKeys;
use voxgate::token::{
    DEFAULT_CACHE, Grant, SigningKey, SpentTokens, TokenIssuer, TokenVerifier, TrustedIssuers,
};
use voxgate::{
    Key, KeyRing, Principal, RawCredential, Secret, SharedKeyRing, Verify as _, VerifyOutcome,
};

const KEYS: usize = 1_000;
const ROUNDS: usize = 21;
const TIMES: u32 = 200;

fn main() {
    println!(
        "tokens of one of {KEYS} keys (medians of {ROUNDS} rounds, and times a key's look-up)"
    );
    println!(
        "{:>6}  {:>18}  {:>18}  {:>18}",
        "", "sign", "verify", "verify again"
    );
    for (name, key) in [
        (
            "EdDSA",
            include_str!("../crates/token/src/tests/ed25519.pem"),
        ),
        ("ES256", include_str!("../crates/token/src/tests/p256.pem")),
        ("RS256", include_str!("../crates/token/src/tests/rsa.pem")),
        (
            "HS256",
            r#"{"kty":"oct","kid":"a","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE"}"#,
        ),
    ] {
        let key = SigningKey::parse(key).expect("a key");
        let issuer = TokenIssuer::new("voxgate", "voxgate", key, []);
        let grant = Grant::new(&Principal::new(&id(0)), Duration::from_secs(3600));
        let token = issuer.issue(&grant).expect("a token").token;
        let (forgets, remembers) = (verifier(&issuer, 0), verifier(&issuer, DEFAULT_CACHE));
        let look_up = median(|| accept(&remembers, &secret(0)));
        let show = |time: Duration| {
            let ratio = time.as_secs_f64() / look_up.as_secs_f64();
            format!("{time:.1?} ({ratio:.1}x)")
        };
        println!(
            "{name:>6}  {:>18}  {:>18}  {:>18}",
            show(median(
                || _ = black_box(issuer.issue(&grant).expect("a token"))
            )),
            show(median(|| accept(&forgets, &token))),
            show(median(|| accept(&remembers, &token))),
        );
    }
}

fn id(number: usize) -> String {
    format!("key-{number}")
}

fn secret(number: usize) -> String {
    format!("the-secret-of-the-key-with-the-number-{number}")
}

/// A verifier of keys and of tokens. It remembers at most `most` tokens.
fn verifier(issuer: &TokenIssuer, most: usize) -> TokenKeys {
    let keys = (0..KEYS).map(|number| {
        let secret = Secret::new(&secret(number)).expect("a secret");
        Key::from_secret(&secret, Principal::new(&id(number)))
    });
    let keys = SharedKeyRing::new(KeyRing::new(keys).expect("keys"));
    let issuers = TrustedIssuers::default();
    let tokens = TokenVerifier::with_cache(Some(issuer.clone()), issuers, most);
    TokenKeys::new(keys, tokens, Arc::new(SpentTokens::new(1)))
}

fn accept(verifier: &TokenKeys, credential: &str) {
    let credential = RawCredential::new(black_box(credential.as_bytes()));
    match verifier.verify(credential) {
        VerifyOutcome::Ready(Ok(principal)) => _ = black_box(principal),
        _ => panic!("not accepted"),
    }
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let since = Instant::now();
            for _ in 0..TIMES {
                run();
            }
            since.elapsed() / TIMES
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}
