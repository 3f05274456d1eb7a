//! What tokens cost: to sign, and to verify with and without the memory of verified tokens.
//!
//! `make bench` runs it. Each number is the median of several rounds.

#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use voxgate_core::principal::Principal;
use voxgate_token::{DEFAULT_CACHE, Grant, SigningKey, TokenIssuer, TokenVerifier, TrustedIssuers};

const ROUNDS: usize = 21;
const TIMES: u32 = 200;

fn main() {
    println!("tokens (medians of {ROUNDS} rounds)");
    println!(
        "{:>6}  {:>12}  {:>12}  {:>12}",
        "", "sign", "verify", "verify again"
    );
    for (name, key) in [
        ("EdDSA", include_str!("../src/tests/ed25519.pem")),
        ("ES256", include_str!("../src/tests/p256.pem")),
        ("RS256", include_str!("../src/tests/rsa.pem")),
        (
            "HS256",
            r#"{"kty":"oct","kid":"a","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE"}"#,
        ),
    ] {
        let key = SigningKey::parse(key).expect("a key");
        let issuer = TokenIssuer::new("voxgate", "voxgate", key, []);
        let grant = Grant::new(&Principal::new("ivr"), Duration::from_secs(3600));
        let token = issuer.issue(&grant).expect("a token").token;
        let verifier = |most| {
            let issuers = TrustedIssuers::default();
            TokenVerifier::with_cache(Some(issuer.clone()), issuers, most)
        };
        let (forgets, remembers) = (verifier(0), verifier(DEFAULT_CACHE));
        let verify = |verifier: &TokenVerifier| {
            black_box(
                verifier
                    .verify(black_box(token.as_bytes()))
                    .expect("accepted"),
            );
        };
        println!(
            "{name:>6}  {:>12.1?}  {:>12.1?}  {:>12.1?}",
            median(|| _ = black_box(issuer.issue(&grant).expect("a token"))),
            median(|| verify(&forgets)),
            median(|| verify(&remembers)),
        );
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
