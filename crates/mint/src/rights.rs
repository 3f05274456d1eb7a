//! The rights of a token: no wider than those of its key.

use std::time::{Duration, SystemTime};

use voxgate::principal::KeyKind;
use voxgate::{DenialKind, Principal, Scope};

use crate::endpoint::Life;
use crate::issuer::TokenRequest;
use crate::problem::{Problem, ProblemKind};
use crate::wish::{Ends, WantedScopes, Wish};

/// The scope that a key needs to ask for tokens, if it is limited to scopes. No token has it.
pub const MINT_TOKENS: &str = "tokens:mint";

/// Why a wish cannot be granted.
#[derive(Debug)]
pub(crate) enum NotGranted {
    /// The key lacks a right.
    Denied(DenialKind),
    /// The wish is one that no key could have.
    Problem(Problem),
}

impl From<Problem> for NotGranted {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// The token that this key may have.
pub(crate) fn grant(
    key: &Principal,
    wish: &Wish,
    life: Life,
    now: SystemTime,
) -> Result<TokenRequest, NotGranted> {
    let mut principal = Principal::new(key.id());
    if let Some(label) = key.label() {
        principal = principal.with_label(label);
    }
    if let Some(account) = key.account() {
        principal = principal.with_account(std::sync::Arc::clone(account));
    }
    if let Some(scopes) = scopes(key, &wish.scopes)? {
        principal = principal.with_scopes(scopes);
    }
    if let Some(voices) = voices(key, wish.voices.as_deref())? {
        principal = principal.with_voices(voices);
    }
    if wish.realtime || key.kind() == KeyKind::Realtime {
        principal = principal.with_kind(KeyKind::Realtime);
    }
    Ok(TokenRequest {
        key: key.clone(),
        principal,
        life: lifetime(key, wish.ends, life, now)?,
        single_use: wish.single_use,
    })
}

/// The scopes of the token; `None` for a token that is not limited to scopes.
fn scopes(key: &Principal, wanted: &WantedScopes) -> Result<Option<Vec<Scope>>, NotGranted> {
    let scopes = match wanted {
        WantedScopes::OfKey => match key.scopes() {
            None => return Ok(None),
            Some(own) => own
                .iter()
                .filter(|scope| scope.as_str() != MINT_TOKENS)
                .cloned()
                .collect(),
        },
        WantedScopes::Among(wanted) => {
            let held = wanted.iter().filter(|scope| key.has_scope(scope));
            let held: Vec<Scope> = held.filter_map(|scope| Scope::new(scope)).collect();
            // A token without any scope would be of no use, and would hide why.
            if held.is_empty() && !wanted.is_empty() {
                return Err(NotGranted::Denied(DenialKind::InsufficientScope));
            }
            held
        }
        WantedScopes::Exactly(wanted) => {
            let scope = |text: &String| {
                let message = "scopes must be a list of scopes such as \"tts:synthesize\".";
                let invalid = || Problem::new(ProblemKind::InvalidValue, "scopes", message);
                Scope::new(text).ok_or_else(invalid)
            };
            let scopes = wanted.iter().map(scope).collect::<Result<Vec<_>, _>>()?;
            let is_held =
                |scope: &Scope| scope.as_str() != MINT_TOKENS && key.has_scope(scope.as_str());
            if !scopes.iter().all(is_held) {
                let message = "scopes must name only scopes that the key has; a token never has \
                               `tokens:mint`.";
                return Err(Problem::new(ProblemKind::ForbiddenScope, "scopes", message).into());
            }
            scopes
        }
    };
    Ok(Some(scopes))
}

/// The voices of the token; `None` for a token that is not limited to voices.
fn voices(key: &Principal, wanted: Option<&[String]>) -> Result<Option<Vec<String>>, NotGranted> {
    let Some(wanted) = wanted else {
        let own = key.voices();
        return Ok(own.map(|own| own.iter().map(|voice| voice.to_string()).collect()));
    };
    // A pattern is held only if the key has that pattern, or a shorter one.
    let is_held = |voice: &String| match (voice.strip_suffix('*'), key.voices()) {
        (_, None) => true,
        (None, Some(_)) => key.has_voice(voice),
        (Some(start), Some(own)) => own
            .iter()
            .filter_map(|own| own.strip_suffix('*'))
            .any(|own| start.starts_with(own)),
    };
    if !wanted.iter().all(is_held) {
        let message = "voices must name only voices that the key has.";
        return Err(Problem::new(ProblemKind::ForbiddenScope, "voices", message).into());
    }
    Ok(Some(wanted.to_vec()))
}

/// How long the token is valid: not longer than its key.
fn lifetime(
    key: &Principal,
    ends: Ends,
    life: Life,
    now: SystemTime,
) -> Result<Duration, NotGranted> {
    let wanted = match ends {
        Ends::Default => life.default,
        Ends::After(wanted) => wanted,
        Ends::At(end) => end.duration_since(now).unwrap_or_default(),
    };
    // The endpoints check what a caller asks for, and say so in the vendor's words.
    let wanted = Duration::from_secs(wanted.min(life.longest).as_secs().max(1));
    let Some(expires) = key.validity().expires else {
        return Ok(wanted);
    };
    let left = expires.duration_since(now).unwrap_or_default();
    match left.as_secs() {
        0 => Err(NotGranted::Denied(DenialKind::ExpiredCredential)),
        left => Ok(wanted.min(Duration::from_secs(left))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use voxgate::principal::Validity;

    const LIFE: Life = Life::seconds(30, 1, 3600);

    fn granted(key: &Principal, wish: &Wish) -> Result<TokenRequest, NotGranted> {
        grant(key, wish, LIFE, SystemTime::now())
    }

    fn names(principal: &Principal) -> Option<Vec<&str>> {
        let scopes = principal.scopes()?;
        Some(scopes.iter().map(Scope::as_str).collect())
    }

    #[test]
    fn scopes_are_those_of_the_key_at_most() {
        let scoped = |names: &[&str]| {
            let scopes = names.iter().filter_map(|name| Scope::new(name));
            Principal::new("a").with_scopes(scopes)
        };
        let both = scoped(&["tts:synthesize", MINT_TOKENS]);
        let minter = scoped(&[MINT_TOKENS]);
        let anyone = Principal::new("a");
        let of_key = Wish::default();
        let speak = Wish::default().among(&["tts:synthesize", "stt:transcribe"]);
        let exactly = |names: &[&str]| Wish {
            scopes: WantedScopes::Exactly(names.iter().map(|name| (*name).to_owned()).collect()),
            ..Wish::default()
        };
        for (key, wish, expected) in [
            (&anyone, &of_key, Some(None)),
            (&both, &of_key, Some(Some(vec!["tts:synthesize"]))),
            (&minter, &of_key, Some(Some(vec![]))),
            (
                &anyone,
                &speak,
                Some(Some(vec!["tts:synthesize", "stt:transcribe"])),
            ),
            (&both, &speak, Some(Some(vec!["tts:synthesize"]))),
            (&minter, &speak, None),
            (
                &both,
                &exactly(&["tts:synthesize"]),
                Some(Some(vec!["tts:synthesize"])),
            ),
            (&both, &exactly(&[]), Some(Some(vec![]))),
            (&both, &exactly(&["voices:write"]), None),
            (&both, &exactly(&[MINT_TOKENS]), None),
            (&anyone, &exactly(&[MINT_TOKENS]), None),
            (&anyone, &exactly(&["a b"]), None),
        ] {
            let token = granted(key, wish).ok();
            let found = token.as_ref().map(|token| names(&token.principal));
            assert_eq!(found, expected, "{key:?} {wish:?}");
        }
    }

    #[test]
    fn voices_and_kind_are_those_of_the_key_at_most() {
        let voices = |names: &[&str]| Wish {
            voices: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            ..Wish::default()
        };
        let some = Principal::new("a").with_voices(["cove", "team-*"]);
        for (wanted, granted_) in [
            (&["cove"][..], true),
            (&["team-a", "team-b*"], true),
            (&["team-*"], true),
            (&["team*"], false),
            (&["*"], false),
            (&["cove*"], false),
            (&["other"], false),
            (&[], true),
        ] {
            assert_eq!(
                granted(&some, &voices(wanted)).is_ok(),
                granted_,
                "{wanted:?}"
            );
        }
        let all = granted(&Principal::new("a"), &voices(&["x*"])).expect("any voice");
        assert!(all.principal.has_voice("xy") && !all.principal.has_voice("y"));
        let own = granted(&some, &Wish::default()).expect("its own");
        assert!(!own.principal.has_voice("other"));
        let realtime = Principal::new("a").with_kind(KeyKind::Realtime);
        let token = granted(&realtime, &Wish::default()).expect("a token");
        assert_eq!(token.principal.kind(), KeyKind::Realtime);
    }

    #[test]
    fn a_token_does_not_outlive_its_key() {
        let now = SystemTime::now();
        let key = |seconds| {
            let validity = Validity {
                expires: Some(now + Duration::from_secs(seconds)),
                ..Validity::default()
            };
            Principal::new("a").with_validity(validity)
        };
        let life = |key: &Principal, ends| {
            let life = lifetime(key, ends, LIFE, now).ok();
            life.map(|life| life.as_secs())
        };
        let after = |seconds| Ends::After(Duration::from_secs(seconds));
        assert_eq!(life(&Principal::new("a"), Ends::Default), Some(30));
        assert_eq!(life(&Principal::new("a"), after(u64::MAX)), Some(3600));
        assert_eq!(life(&key(10), after(60)), Some(10));
        assert_eq!(life(&key(100), after(60)), Some(60));
        assert_eq!(life(&key(0), after(60)), None);
    }
}
