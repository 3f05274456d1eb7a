//! The rights of a token: what both the token and its key allow.

use std::num::NonZeroU32;

use voxgate_core::principal::voice_covers as covers;
use voxgate_core::principal::{KeyKind, Principal, Scope};
use voxgate_limits::Limits;

/// The key, with no more than the token's rights. Everything that is not a right (label, account,
/// attribution, validity) is the key's.
///
/// Limits are the narrower of both. They count in the counters of the key: a token is not a second
/// key.
pub(crate) fn intersection(key: &Principal, token: &Principal) -> Principal {
    let mut principal = key.clone();
    if let Some(wanted) = token.scopes() {
        let scopes = wanted.iter().filter(|scope| key.has_scope(scope.as_str()));
        principal = principal.with_scopes::<Scope>(scopes.cloned());
    }
    if let Some(wanted) = token.voices() {
        principal = principal.with_voices(voices(key.voices(), wanted));
    }
    if token.kind() == KeyKind::Realtime {
        principal = principal.with_kind(KeyKind::Realtime);
    }
    let limits = narrower(key.limits(), token.limits());
    if limits != key.limits() {
        principal = principal.with_limits(limits);
    }
    principal
}

/// Whether `token` asks for nothing that `key` does not have.
pub(crate) fn is_within(key: &Principal, token: &Principal) -> bool {
    let scopes = match token.scopes() {
        Some(wanted) => wanted.iter().all(|scope| key.has_scope(scope.as_str())),
        None => key.scopes().is_none(),
    };
    let voices = match (key.voices(), token.voices()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(own), Some(wanted)) => wanted
            .iter()
            .all(|voice| own.iter().any(|own| covers(own, voice))),
    };
    let kind = key.kind() == KeyKind::Standard || token.kind() == key.kind();
    scopes && voices && kind
}

/// The voices that both lists allow.
fn voices(own: Option<&[Box<str>]>, wanted: &[Box<str>]) -> Vec<Box<str>> {
    let Some(own) = own else {
        return wanted.to_vec();
    };
    let mut both: Vec<Box<str>> = Vec::new();
    for own in own {
        for voice in wanted {
            let common = match () {
                () if covers(own, voice) => voice,
                () if covers(voice, own) => own,
                () => continue,
            };
            if !both.contains(common) {
                both.push(common.clone());
            }
        }
    }
    both
}

fn narrower(key: Limits, token: Limits) -> Limits {
    let mut limits = key;
    limits.concurrency = least(key.concurrency, token.concurrency);
    let (own, wanted) = (key.rate_and_burst(), token.rate_and_burst());
    if let Some((rate, burst)) = wanted
        && own.is_none_or(|(own, _)| rate.interval() >= own.interval())
    {
        let most = own.map(|(_, burst)| burst);
        limits.rate = Some(rate);
        limits.burst = least(most, Some(burst));
    }
    limits
}

fn least(one: Option<NonZeroU32>, other: Option<NonZeroU32>) -> Option<NonZeroU32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use voxgate_limits::Rate;

    fn scoped(names: &[&str]) -> Principal {
        let scopes = names.iter().filter_map(|name| Scope::new(name));
        Principal::new("a").with_scopes(scopes)
    }

    #[test]
    fn scopes_and_kind_are_those_that_both_have() {
        let anyone = Principal::new("a");
        for (key, token, expected) in [
            (&anyone, &anyone, None),
            (&anyone, &scoped(&["x"]), Some(vec!["x"])),
            (&scoped(&["x", "y"]), &anyone, Some(vec!["x", "y"])),
            (&scoped(&["x", "y"]), &scoped(&["y", "z"]), Some(vec!["y"])),
            (&scoped(&["x"]), &scoped(&["z"]), Some(vec![])),
            (&anyone, &scoped(&[]), Some(vec![])),
        ] {
            let both = intersection(key, token);
            let scopes = both.scopes();
            let scopes = scopes.map(|all| all.iter().map(Scope::as_str).collect::<Vec<_>>());
            assert_eq!(scopes, expected, "{key:?} {token:?}");
            assert!(is_within(key, &both));
        }
        let realtime = Principal::new("a").with_kind(KeyKind::Realtime);
        for (key, token) in [(&anyone, &realtime), (&realtime, &anyone)] {
            assert_eq!(intersection(key, token).kind(), KeyKind::Realtime);
        }
        assert!(!is_within(&realtime, &anyone) && is_within(&anyone, &realtime));
    }

    #[test]
    fn voices_are_those_that_both_match() {
        let with = |voices: &[&str]| Principal::new("a").with_voices(voices);
        let key = with(&["cove", "team-*"]);
        for (token, allowed, refused) in [
            (
                with(&["cove", "other"]),
                vec!["cove"],
                vec!["other", "team-a"],
            ),
            (
                with(&["team-a*"]),
                vec!["team-a", "team-ab"],
                vec!["team-b", "cove"],
            ),
            (with(&["*"]), vec!["cove", "team-x"], vec!["other"]),
            (with(&["te*"]), vec!["team-x"], vec!["tea", "cove"]),
            (with(&[]), vec![], vec!["cove", "team-x"]),
        ] {
            let both = intersection(&key, &token);
            assert!(
                allowed.iter().all(|voice| both.has_voice(voice)),
                "{both:?}"
            );
            assert!(
                !refused.iter().any(|voice| both.has_voice(voice)),
                "{both:?}"
            );
        }
        assert!(is_within(&key, &with(&["team-a", "team-b*"])));
        for wider in [
            with(&["te*"]),
            with(&["*"]),
            with(&["cove*"]),
            Principal::new("a"),
        ] {
            assert!(!is_within(&key, &wider), "{wider:?}");
        }
    }

    #[test]
    fn limits_are_the_narrower_of_both() {
        let limits = |rate: Option<&str>, burst, concurrency| Limits {
            rate: rate.and_then(Rate::parse),
            burst: NonZeroU32::new(burst),
            concurrency: NonZeroU32::new(concurrency),
        };
        for (key, token, expected) in [
            (limits(None, 0, 0), limits(None, 0, 0), limits(None, 0, 0)),
            (
                limits(Some("5/s"), 9, 2),
                limits(None, 0, 0),
                limits(Some("5/s"), 9, 2),
            ),
            (
                limits(None, 0, 0),
                limits(Some("5/s"), 0, 2),
                limits(Some("5/s"), 5, 2),
            ),
            (
                limits(Some("5/s"), 0, 2),
                limits(Some("9/s"), 9, 9),
                limits(Some("5/s"), 0, 2),
            ),
            (
                limits(Some("5/s"), 0, 2),
                limits(Some("60/min"), 90, 1),
                limits(Some("60/min"), 5, 1),
            ),
        ] {
            let key = Principal::new("a").with_limits(key);
            let token = Principal::new("a").with_limits(token);
            assert_eq!(intersection(&key, &token).limits(), expected);
        }
    }
}
