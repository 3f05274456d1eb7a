//! The rights of a key in words, for audit records of its changes.

use std::fmt::Display;
use std::time::SystemTime;

use super::{KeyKind, Principal, SpeechRights};
use voxgate_limits::{Limits, Quota};

/// What stands for a right that a key does not have, and so is not limited by.
const UNSET: &str = "unset";

/// What a key may do, as `name=value` in the words of the keys file, such as `scopes=tts:synthesize;
/// rate=10/s`. `unset` if nothing limits it.
#[must_use]
pub fn rights(of: &Principal) -> String {
    let set = fields(of).into_iter().filter_map(|(name, value)| {
        let value = value?;
        Some(format!("{name}={value}"))
    });
    match set.collect::<Vec<_>>().join("; ") {
        none if none.is_empty() => UNSET.to_owned(),
        set => set,
    }
}

/// Those rights that differ, before and now, in the form of [`rights`]; `unset` for a right that is
/// there only before or only now. Both are empty if none differs.
#[must_use]
pub fn changed_rights(before: &Principal, now: &Principal) -> (String, String) {
    let pairs = fields(before).into_iter().zip(fields(now));
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for ((name, before), (_, now)) in pairs.filter(|(before, now)| before.1 != now.1) {
        let shown = |value: Option<String>| format!("{name}={}", value.as_deref().unwrap_or(UNSET));
        old.push(shown(before));
        new.push(shown(now));
    }
    (old.join("; "), new.join("; "))
}

type Fields = Vec<(&'static str, Option<String>)>;

/// The fields of the keys file, in a fixed order.
fn fields(of: &Principal) -> Fields {
    let time = |time: Option<SystemTime>| {
        time.map(|time| humantime::format_rfc3339_seconds(time).to_string())
    };
    let validity = of.validity();
    let labels: Vec<String> = of
        .labels()
        .map(|(name, value)| format!("{name}:{value}"))
        .collect();
    let speech = of.details().map(|details| &details.speech);
    let kind = Some(of.kind()).filter(|kind| *kind != KeyKind::Standard);
    let mut fields = vec![
        ("disabled", of.0.disabled.then(|| true.to_string())),
        ("kind", kind.map(|kind| kind.as_str().to_owned())),
        ("not_before", time(validity.not_before)),
        ("expires", time(validity.expires)),
        ("label", of.label().map(str::to_owned)),
        ("labels", (!labels.is_empty()).then(|| labels.join(" "))),
        ("scopes", of.scopes().map(joined)),
    ];
    fields.extend(speech_fields(["voices", "models", "languages"], speech));
    fields.push(("allow_from", of.allow_from().map(joined)));
    let names = ["rate", "burst", "concurrency", "quota"];
    fields.extend(limit_fields(names, of.limits(), of.quotas()));
    let account = of.account();
    fields.push(("account", account.map(|account| account.id().to_owned())));
    let names = ["account_voices", "account_models", "account_languages"];
    fields.extend(speech_fields(
        names,
        account.map(|account| account.speech()),
    ));
    let names = [
        "account_rate",
        "account_burst",
        "account_concurrency",
        "account_quota",
    ];
    let limits = account.map(|account| account.limits()).unwrap_or_default();
    let quotas = account.map_or(&[][..], |account| account.quotas());
    fields.extend(limit_fields(names, limits, quotas));
    fields
}

fn speech_fields(names: [&'static str; 3], rights: Option<&SpeechRights>) -> Fields {
    let [voices, models, languages] = names;
    let list = |list: Option<&[Box<str>]>| list.map(joined);
    vec![
        (voices, list(rights.and_then(SpeechRights::voices))),
        (models, list(rights.and_then(SpeechRights::models))),
        (languages, list(rights.and_then(SpeechRights::languages))),
    ]
}

fn limit_fields(names: [&'static str; 4], limits: Limits, quotas: &[Quota]) -> Fields {
    let [rate, burst, concurrency, quota] = names;
    let quotas: Vec<String> = quotas.iter().map(Quota::to_string).collect();
    vec![
        (rate, limits.rate.map(|rate| rate.to_string())),
        (burst, limits.burst.map(|burst| burst.to_string())),
        (concurrency, limits.concurrency.map(|most| most.to_string())),
        (quota, (!quotas.is_empty()).then(|| quotas.join(", "))),
    ]
}

fn joined<T: Display>(list: &[T]) -> String {
    let texts: Vec<String> = list.iter().map(T::to_string).collect();
    texts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::Validity;

    #[test]
    fn rights_are_in_the_words_of_the_keys_file() {
        assert_eq!(rights(&Principal::new("ivr")), "unset");
        let none: [&str; 0] = [];
        let key = Principal::new("ivr")
            .with_scopes(["tts:synthesize", "voices:read"])
            .with_voices(none)
            .with_limits(Limits {
                rate: voxgate_limits::Rate::parse("10/s"),
                ..Limits::default()
            });
        let shown = "scopes=tts:synthesize voices:read; voices=; rate=10/s";
        assert_eq!(rights(&key), shown);
    }

    #[test]
    fn only_rights_that_differ_are_told() {
        let before = Principal::new("ivr")
            .with_scopes(["a", "b"])
            .with_label("IVR");
        assert_eq!(changed_rights(&before, &before), Default::default());
        let validity = Validity {
            expires: Some(SystemTime::UNIX_EPOCH),
            ..Validity::default()
        };
        let now = Principal::new("ivr")
            .with_scopes(["a"])
            .with_label("IVR")
            .with_validity(validity)
            .disabled(true);
        let told = changed_rights(&before, &now);
        assert_eq!(told.0, "disabled=unset; expires=unset; scopes=a b");
        assert_eq!(
            told.1,
            "disabled=true; expires=1970-01-01T00:00:00Z; scopes=a"
        );
        // Every field that makes a key another one is told.
        let changes: [&dyn Fn(Principal) -> Principal; 4] = [
            &|it| it.with_kind(KeyKind::Realtime),
            &|it| it.with_models(["m"]),
            &|it| it.with_labels([("team", "x")]),
            &|it| {
                it.with_allow_from([
                    crate::network::Network::parse("10.0.0.0/8").expect("a network")
                ])
            },
        ];
        for change in changes {
            let now = change(before.clone());
            assert!(!before.has_rights_of(&now));
            assert_ne!(changed_rights(&before, &now), Default::default());
        }
    }
}
