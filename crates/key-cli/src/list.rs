//! `voxgate key list`.

use std::io::{self, Write as _};
use std::time::SystemTime;

use clap::ArgMatches;
use serde_json::{Map, Value, json};
use voxgate::env::Environment;
use voxgate::principal::KeyKind;
use voxgate::{Key, Principal, Scope};
use voxgate_terminal::color::Colors;
use voxgate_terminal::table::{ABSENT, colored_columns};
use voxgate_terminal::text::{Charset, escape_json, printable};

use super::failure::KeyCommandError;
use super::target::Source;
use super::watched::LoadedKeys;
use super::{moment, permissions};

const HEADINGS: [&str; 7] = [
    "ID",
    "LABEL",
    "MAY",
    "LIMITS",
    "STATE",
    "EXPIRES IN",
    "FINGERPRINT",
];
/// The place of the limits, which are left out if no key has any.
const LIMITS: usize = 3;

pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), KeyCommandError> {
    let source = Source::given(matches, environment)?;
    let loaded = source.load()?;
    let now = SystemTime::now();
    let text = match matches.get_flag("json") {
        true => escape_json(&format!("{:#}\n", array(&loaded, now))),
        false => table(&loaded, now),
    };
    // A closed pipe is not an error.
    let _ = io::stdout().write_all(text.as_bytes());
    for notice in &loaded.notices {
        let _ = writeln!(io::stderr(), "note: {notice}");
    }
    for problem in &loaded.problems {
        let _ = writeln!(
            io::stderr(),
            "warning: {problem}; its keys are not shown, and a running gateway keeps the last good ones"
        );
    }
    let path = source.path.as_deref();
    let permissions = path
        .filter(|_| source.watched.is_none())
        .and_then(|path| permissions::warning(path, &source.name));
    for warning in permissions
        .into_iter()
        .chain(source.listed.warnings(&loaded.keys))
    {
        let _ = writeln!(io::stderr(), "{warning}");
    }
    Ok(())
}

fn table(loaded: &LoadedKeys, now: SystemTime) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned).to_vec()];
    let charset = Charset::from_locale();
    let keys = loaded.keys.iter();
    rows.extend(keys.map(|key| row(key, now, charset).to_vec()));
    if let Some(secrets) = &loaded.secrets {
        let cells = ["SECRET".to_owned()]
            .into_iter()
            .chain(secrets.iter().cloned());
        rows.iter_mut()
            .zip(cells)
            .for_each(|(row, cell)| row.push(cell));
    }
    if rows.iter().skip(1).all(|row| row[LIMITS] == ABSENT) {
        rows.iter_mut().for_each(|row| drop(row.remove(LIMITS)));
    }
    colored_columns(&rows, Colors::of_stdout())
}

/// The key's own limits; those of its account and of the settings are in `voxgate limits`.
fn limits(principal: &Principal) -> String {
    let limits = principal.limits();
    let rate = limits.rate.map(|rate| match limits.burst {
        Some(burst) => format!("{rate} burst {burst}"),
        None => rate.to_string(),
    });
    let concurrency = limits.concurrency;
    let concurrency = concurrency.map(|concurrency| format!("{concurrency} at once"));
    let quotas = principal.quotas().iter().map(ToString::to_string);
    let shown: Vec<String> = rate.into_iter().chain(concurrency).chain(quotas).collect();
    match shown.is_empty() {
        true => ABSENT.to_owned(),
        false => shown.join(", "),
    }
}

fn row(key: &Key, now: SystemTime, charset: Charset) -> [String; HEADINGS.len()] {
    let principal = key.principal();
    let label = principal.label().unwrap_or(ABSENT);
    [
        principal.id().to_owned(),
        printable(label, charset),
        printable(&rights(principal), charset),
        limits(principal),
        principal.state(now).as_str().to_owned(),
        moment::left(principal.validity().expires, now),
        key.fingerprint(),
    ]
}

/// The restrictions of a key: scopes, voices, kind and quotas.
fn rights(principal: &Principal) -> String {
    let mut limits = Vec::new();
    if principal.is_unlimited() {
        limits.push("(all)".to_owned());
    }
    match principal.scopes() {
        None => {}
        Some([]) => limits.push("(none)".to_owned()),
        Some(scopes) => {
            let scopes: Vec<_> = scopes.iter().map(Scope::as_str).collect();
            limits.push(scopes.join(","));
        }
    }
    if let Some(voices) = principal.voices() {
        limits.push(format!("voices {}", voices.join(",")));
    }
    if let Some(models) = principal.models() {
        limits.push(format!("models {}", models.join(",")));
    }
    if let Some(languages) = principal.languages() {
        limits.push(format!("languages {}", languages.join(",")));
    }
    if limits.is_empty() && principal.kind() == KeyKind::Standard {
        limits.push("as its account".to_owned());
    }
    if principal.kind() == KeyKind::Realtime {
        limits.push("realtime".to_owned());
    }
    limits.extend(principal.quotas().iter().map(ToString::to_string));
    limits.join("; ")
}

fn array(loaded: &LoadedKeys, now: SystemTime) -> Value {
    let keys = loaded.keys.iter().enumerate();
    let objects = keys.map(|(index, key)| {
        let mut object = object(key, now);
        if let Some(secrets) = &loaded.secrets {
            object["kubernetes_secret"] = json!(secrets.get(index));
        }
        object
    });
    objects.collect()
}

/// A field is `null` if it does not restrict the key or is not set.
fn object(key: &Key, now: SystemTime) -> Value {
    let principal = key.principal();
    let validity = principal.validity();
    let written = |moment: Option<SystemTime>| moment.map(moment::written);
    let scopes = principal.scopes();
    let scopes = scopes.map(|scopes| scopes.iter().map(Scope::as_str).collect::<Vec<_>>());
    let limits = principal.limits();
    let quotas = principal.quotas().iter();
    let quotas: Vec<String> = quotas.map(ToString::to_string).collect();
    json!({
        "id": principal.id(),
        "label": principal.label(),
        "scopes": scopes,
        "voices": principal.voices(),
        "models": principal.models(),
        "languages": principal.languages(),
        "kind": kind(principal),
        "state": principal.state(now).as_str().replace(' ', "_"),
        "created": written(key.created()),
        "not_before": written(validity.not_before),
        "expires": written(validity.expires),
        "fingerprint": key.fingerprint(),
        "account": principal.account().map(|account| account.id()),
        "rate": limits.rate.map(|rate| rate.to_string()),
        "burst": limits.burst,
        "concurrency": limits.concurrency,
        "quota": quotas,
        "labels": principal
            .labels()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect::<Map<_, _>>(),
    })
}

fn kind(principal: &Principal) -> &'static str {
    match principal.kind() {
        KeyKind::Realtime => "realtime",
        _ => "standard",
    }
}
