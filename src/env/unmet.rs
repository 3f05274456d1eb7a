//! Notices about keys whose restrictions no request can meet under the policy.

use std::collections::BTreeMap;

use voxgate_core::error::Problem;

use crate::policy::{Policy, Rule};
use crate::principal::Principal;
use crate::speech::{FETCH, Field, is_limited_to};

/// What no request can meet.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Unmet<'a> {
    Scope(&'a str),
    Names(&'static str),
}

/// The restrictions of these keys that no request can meet: a scope that no rule requires, and a list
/// of voices, models or languages where no rule says where these are. Each is reported once, with the
/// id of one key. Without rules there are none: the keys are useless
/// altogether.
#[doc(hidden)]
#[must_use]
pub fn unmet_restrictions<'a>(
    keys: impl IntoIterator<Item = &'a Principal>,
    policy: &Policy,
) -> Vec<Problem> {
    if policy.rules().is_empty() {
        return Vec::new();
    }
    let mut required: Vec<&str> = policy.rules().iter().filter_map(Rule::scope).collect();
    required.push(FETCH);
    required.sort_unstable();
    required.dedup();
    let unseen: Vec<(Field, &str)> = [
        (Field::Voice, "voice"),
        (Field::Model, "model"),
        (Field::Language, "language"),
    ]
    .into_iter()
    .filter(|(field, _)| !policy.rules().iter().any(|rule| sees(rule, *field)))
    .collect();
    let mut found: BTreeMap<Unmet<'a>, (&'a str, usize)> = BTreeMap::new();
    for key in keys {
        let mut note = |unmet| found.entry(unmet).or_insert((key.id(), 0)).1 += 1;
        for scope in key.scopes().into_iter().flatten() {
            if required.binary_search(&scope.as_str()).is_err() {
                note(Unmet::Scope(scope.as_str()));
            }
        }
        for (field, name) in &unseen {
            if is_limited_to(key, *field) {
                note(Unmet::Names(name));
            }
        }
    }
    let found = found.into_iter();
    found
        .map(|(unmet, (id, keys))| {
            let place = match keys {
                1 => format!("key `{id}`"),
                _ => format!("key `{id}` and {} more", keys - 1),
            };
            Problem::new(place, message(&unmet, &required))
        })
        .collect()
}

fn message(unmet: &Unmet<'_>, required: &[&str]) -> String {
    match unmet {
        Unmet::Scope(scope) => {
            let begins = |other: &str| other.starts_with(scope) || scope.starts_with(other);
            let distance = |other: &str| strsim::osa_distance(scope, other);
            let nearest = required
                .iter()
                .filter(|other| begins(other) || distance(other) <= scope.len() / 3)
                .min_by_key(|other| (!begins(other), distance(other)));
            let fix = match nearest {
                Some(other) => format!("did you mean `{other}`?"),
                None => format!("the policy has: {}", required.join(", ")),
            };
            format!("has the scope `{scope}`, which no rule of the policy requires; {fix}")
        }
        Unmet::Names(name) => format!(
            "is limited to {name}s, but no rule of the policy says where the {name} is, so that no speech \
             is allowed; add `{name} = \"…\"` to a rule in VOXGATE_POLICY_FILE"
        ),
    }
}

fn sees(rule: &Rule, field: Field) -> bool {
    let places = rule.speech().into_iter();
    let mut places = places.flat_map(|profile| profile.places().iter().chain(profile.messages()));
    places.any(|(own, _)| *own == field || (field == Field::Voice && *own == Field::DefaultVoice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Place;

    fn said(keys: &[Principal], policy: &Policy) -> Vec<String> {
        let notices = unmet_restrictions(keys, policy);
        notices.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_scope_that_no_rule_requires_is_named_once_with_the_nearest() {
        let policy = Policy::default()
            .route("POST", "/tts", "tts:synthesize")
            .route("GET", "/voices", "voices:read");
        let key =
            |id: &str, scopes: &[&str]| Principal::new(id).with_scopes(scopes.iter().copied());
        let good = key("good", &["tts:synthesize", "voices:read", "tts:fetch"]);
        assert!(said(&[good.clone(), Principal::new("all")], &policy).is_empty());
        assert_eq!(
            said(
                &[
                    good,
                    key("a", &["tts:synth"]),
                    key("b", &["tts:synth", "x"])
                ],
                &policy
            ),
            [
                "key `a` and 1 more: has the scope `tts:synth`, which no rule of the policy requires; did you \
                 mean `tts:synthesize`?",
                "key `b`: has the scope `x`, which no rule of the policy requires; the policy has: tts:fetch, \
                 tts:synthesize, voices:read",
            ]
        );
        assert!(said(&[key("a", &["x"])], &Policy::default()).is_empty());
    }

    #[test]
    fn a_list_of_names_needs_a_rule_that_sees_them() {
        let blind = Policy::default().require("tts:synthesize");
        let seeing =
            Policy::default().rule(Rule::new("*", "*").with_voice(Place::Json("/voice".into())));
        let limited = [Principal::new("a").with_voices(["cove"])];
        let found = said(&limited, &blind);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("key `a`: is limited to voices"),
            "{found:?}"
        );
        assert!(said(&limited, &seeing).is_empty());
        let models = [Principal::new("a").with_models(["mist"])];
        assert_eq!(said(&models, &seeing).len(), 1);
    }
}
