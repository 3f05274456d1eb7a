//! Ids that the commands refuse for new keys.

use voxgate::Dialect;
use voxgate::keys::PlainKey;

/// A random token has at least this many characters without a separator.
const RUN: usize = 20;
/// 128 bits in hexadecimal digits.
const LONG: usize = 32;

/// Why a new key cannot have this id. The reader of the file checks its characters.
pub(super) fn wrong(id: &str) -> Option<&'static str> {
    let number = id.strip_prefix("env-");
    if number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
        return Some("is reserved for the keys in VOXGATE_API_KEYS; choose another id");
    }
    if looks_secret(id) {
        return Some("looks like a secret, but every audit record shows the id; choose a name");
    }
    if id.ends_with(':') {
        return Some("ends in a colon; remove it");
    }
    None
}

/// Whether the id is a token of Voxgate, or long and random.
fn looks_secret(id: &str) -> bool {
    id.to_ascii_lowercase().starts_with("vxg_") || (id.len() >= LONG && is_random(id))
}

/// Whether the text is random. Long names of several words are not.
pub(super) fn is_random(text: &str) -> bool {
    let runs = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    runs.map(str::len).any(|length| length >= RUN) && is_strong(text)
}

/// Whether the text has about 128 bits of randomness.
pub(super) fn is_strong(text: &str) -> bool {
    PlainKey::new(text, Dialect::Bearer).is_ok_and(|key| !key.is_weak())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_look_like_secrets_are_refused() {
        for id in [
            "ivr-prod",
            "env",
            "env-eu",
            "token",
            "production-europe-west-interactive-voice-response-01",
            "ivr-prod-eu-west-1-callcenter-4-team-a",
            "0b8e6d1f-4a7c-2935-e0d8-b6a4f1c39e72",
            "team/ivr@prod:1",
        ] {
            assert_eq!(wrong(id), None, "{id}");
        }
        for id in [
            "env-1",
            "env-007",
            "vxg_a",
            "VXG_abc",
            "9f3c1b7ae5d24860b1c7f0e2d3a49586",
            "sk-Zk3vQ9xLm2Tn8RbW5yHc7JdPg4Fs6AeU",
            "ivr:",
        ] {
            assert!(wrong(id).is_some(), "{id}");
        }
    }
}
