//! `voxgate token mint`.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate::principal::{KeyKind, KeyState};
use voxgate::{Principal, Scope};
use voxgate_token::{Grant, NotIssued};

use crate::Signing;
use crate::failure::{self, Failure};

const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// No token may ask for tokens.
const MINT_TOKENS: &str = "tokens:mint";

pub(crate) fn run(
    matches: &ArgMatches,
    environment: &Environment,
    signing: &Signing,
) -> Result<ExitCode, Failure> {
    let issuer = match signing {
        Signing::Key(issuer) => issuer,
        Signing::None { setting } => {
            let message = "is not set; set it to the signing key of the gateways. A key that a \
                           gateway makes for itself exists in that gateway only";
            return Err(Failure::wrong(*setting, message));
        }
    };
    let keys = failure::keys(matches, environment)?;
    let keys = keys.ok_or_else(|| {
        Failure::wrong(
            "--file",
            "give the keys file of the gateways, or set VOXGATE_KEYS_FILE",
        )
    })?;
    let id = matches.get_one::<String>("key").map_or("", String::as_str);
    let key = keys.iter().find(|key| key.principal().id() == id);
    let Some(key) = key.map(voxgate::Key::principal) else {
        let message = "is not in the keys file; `voxgate key list` shows the ids";
        return Err(Failure::wrong(format!("--key {id}"), message));
    };
    match key.state(SystemTime::now()) {
        KeyState::Active => {}
        state => {
            let message = format!(
                "is {}, and so would be its tokens; choose a key that counts",
                state.as_str()
            );
            return Err(Failure::wrong(format!("--key {id}"), message));
        }
    }
    let rights = rights(key, matches)?;
    let grant = Grant::new(key, life(matches)?)
        .with_rights(rights)
        .with_single_use(matches.get_flag("single-use"));
    let issued = issuer
        .issue(&grant)
        .map_err(|error| Failure::wrong(format!("--key {id}"), advice(error)))?;
    let mut said = failure::unknown_scopes(environment, &texts(matches, "scope"));
    said.push(format!(
        "token {} of the key {id} is valid until {}",
        issued.id,
        humantime::format_rfc3339_seconds(issued.expires)
    ));
    let _ = writeln!(io::stdout(), "{}", issued.token);
    for line in said {
        let _ = writeln!(io::stderr(), "{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn advice(error: NotIssued) -> String {
    match error {
        NotIssued::WiderThanKey => {
            format!("{error}; name only scopes and voices of the key (`voxgate key list`)")
        }
        other => other.to_string(),
    }
}

fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    let given = matches.get_many::<String>(name);
    given.into_iter().flatten().cloned().collect()
}

fn life(matches: &ArgMatches) -> Result<Duration, Failure> {
    let text = matches.get_one::<String>("ttl").map_or("", String::as_str);
    let life = humantime::parse_duration(text).ok();
    let is_good = |life: &Duration| (Duration::from_secs(1)..=LONGEST).contains(life);
    life.filter(is_good)
        .ok_or_else(|| Failure::wrong("--ttl", "must be a duration from 1s to 24h, such as 5m"))
}

/// What the token may do: what the flags name, or everything that the key may, except to ask for
/// tokens.
fn rights(key: &Principal, matches: &ArgMatches) -> Result<Principal, Failure> {
    let mut rights = Principal::new(key.id());
    let wanted = texts(matches, "scope");
    if wanted.iter().any(|scope| scope == MINT_TOKENS) {
        let message = "must not be tokens:mint; a token cannot ask for tokens";
        return Err(Failure::wrong("--scope", message));
    }
    let scopes: Option<Vec<Scope>> = match (wanted.is_empty(), key.scopes()) {
        (true, own) => own.map(|own| {
            let kept = own.iter().filter(|scope| scope.as_str() != MINT_TOKENS);
            kept.cloned().collect()
        }),
        (false, _) => {
            let scopes = wanted.iter().map(|text| Scope::new(text)).collect();
            let message = "must be a scope such as tts:synthesize";
            Some(Option::ok_or_else(scopes, || {
                Failure::wrong("--scope", message)
            })?)
        }
    };
    if let Some(scopes) = scopes {
        rights = rights.with_scopes(scopes);
    }
    let voices = texts(matches, "voice");
    match (voices.is_empty(), key.voices()) {
        (false, _) => rights = rights.with_voices(voices),
        (true, Some(own)) => rights = rights.with_voices(own),
        (true, None) => {}
    }
    let is_realtime = matches
        .get_one::<String>("kind")
        .is_some_and(|kind| kind == "realtime");
    if is_realtime || key.kind() == KeyKind::Realtime {
        rights = rights.with_kind(KeyKind::Realtime);
    }
    Ok(rights)
}
