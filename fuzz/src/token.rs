//! The target for tokens: nothing is accepted that Voxgate has not signed, and nothing gets more rights
//! than its key has.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use voxgate::keys::TokenKeys;
use voxgate::token::{
    Grant, IssuersFile, KeySet, SigningKey, SpentTokens, TokenIssuer, TokenVerifier,
};
use voxgate::{
    Key, KeyRing, Principal, RawCredential, Secret, SharedKeyRing, Verify, VerifyOutcome,
};

struct Signed {
    keys: TokenKeys,
    token: String,
}

static SIGNED: LazyLock<Signed> = LazyLock::new(|| {
    let key = Principal::new("ivr").with_scopes(["tts:synthesize"]);
    let secret = Secret::new("a-long-enough-key-of-ivr").expect("a secret");
    let ring = KeyRing::new([Key::from_secret(&secret, key.clone())]).expect("a ring");
    let signing = SigningKey::ephemeral().expect("randomness");
    let issuer = TokenIssuer::new("voxgate", "voxgate", signing, []);
    let token = issuer.issue(&Grant::new(&key, Duration::from_secs(86_400)));
    let spent = Arc::new(SpentTokens::new(10));
    let verifier = TokenVerifier::new(Some(issuer));
    Signed {
        keys: TokenKeys::new(SharedKeyRing::new(ring), verifier, spent),
        token: token.expect("a token").token,
    }
});

/// A credential; a part of a token that was signed; a key set; and a file of issuers.
pub fn token(input: &[u8]) {
    let signed = &*SIGNED;
    check(signed, input);
    for at in 0..3 {
        let mut parts: Vec<&[u8]> = signed.token.split('.').map(str::as_bytes).collect();
        parts[at] = input;
        check(signed, &parts.join(&b'.'));
        // The input as the text behind base64url.
        let encoded = crate::model::base64(input)
            .replace('+', "-")
            .replace('/', "_");
        parts[at] = encoded.trim_end_matches('=').as_bytes();
        check(signed, &parts.join(&b'.'));
    }
    if let Ok(text) = std::str::from_utf8(input) {
        _ = SigningKey::parse(text);
        _ = KeySet::parse(text);
        _ = IssuersFile::parse(text, "issuers.toml", None);
    }
}

fn check(signed: &Signed, credential: &[u8]) {
    let VerifyOutcome::Ready(verdict) = signed.keys.verify(RawCredential::new(credential)) else {
        panic!("a verdict that is not ready");
    };
    if let Ok(principal) = verdict {
        assert!(
            credential == signed.token.as_bytes() || credential == b"a-long-enough-key-of-ivr",
            "a forged token is accepted"
        );
        assert_eq!(principal.id(), "ivr");
        assert!(principal.has_scope("tts:synthesize") && !principal.has_scope("voices:read"));
    }
}
