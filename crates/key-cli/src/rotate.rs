//! `voxgate key rotate`.

use std::collections::HashSet;
use std::time::SystemTime;

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate::principal::KeyState;
use voxgate::{Key, Problem};

use super::change;
use super::control::ControlRequest;
use super::edit::KeysText;
use super::entry::{self, KeyLifetime, Rights};
use super::failure::KeyCommandError;
use super::target::{MissingFile, Source};
use super::{actor, find, moment, new, now};

pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), KeyCommandError> {
    let now = moment::now();
    let id = find::argument(matches, "id");
    let end = overlap(find::argument(matches, "overlap"), now)?;
    let expires = entry::expires(matches, now)?;
    let old = match now::is_given(matches)? {
        true => Some(now::revocation(&Source::given(matches, environment)?, id)?),
        false => None,
    };
    let issued = change::apply(
        matches,
        environment,
        MissingFile::IsWrong,
        |file, dialect| {
            let old = find::existing(file, id)?;
            if !matches.get_flag("force") {
                check_counts(old, now)?;
            }
            if file.fields(old)?.contains_key("certificate") {
                let message = "its credential is a certificate, which is rotated where it is issued: a new \
                               one with the same name needs no change here";
                return Err(KeyCommandError::wrong(format!("key {id}"), message));
            }
            let given = matches.get_one::<String>("new-id").cloned();
            let new_id = given.unwrap_or_else(|| counted_up(file, id));
            find::unused(file, "--new-id", &new_id)?;
            let note = actor::fields(matches)?;
            let rights = Rights::of(&file.fields(old)?, note.clone());
            let mut said = Vec::new();
            let lifetime = KeyLifetime {
                created: Some(now),
                not_before: None,
                expires: match expires {
                    Some(given) => given,
                    None => inherited(old, now, &mut said)?,
                },
            };
            check_room(file, old, now, end)?;
            let shortened = shortened(file, old, now, end, &note, &mut said)?;
            let text = shortened.as_deref().unwrap_or(file.text);
            let mut change = new::add(text, &new_id, &rights, lifetime, dialect)?;
            for (_, place) in &mut change.added {
                "--new-id".clone_into(place);
            }
            change.said.extend(said);
            Ok(change)
        },
    )?;
    let (Some(old), Some(issued)) = (old, issued) else {
        return Ok(());
    };
    let mut request = ControlRequest::default();
    request.load.push(issued);
    // The old key is refused from now on.
    if end <= now {
        request.revoke.push(old);
    }
    now::tell(&Source::given(matches, environment)?, environment, &request)
}

fn overlap(text: &str, now: SystemTime) -> Result<SystemTime, Problem> {
    let end = humantime::parse_duration(text).ok();
    end.and_then(|overlap| moment::after(now, overlap))
        .ok_or_else(|| Problem::new("--overlap", "must be a duration such as 24h, 30m or 0s"))
}

/// Checks that the old key is neither revoked nor expired: a new key would restore its rights.
fn check_counts(old: &Key, now: SystemTime) -> Result<(), Problem> {
    let state = match old.principal().state(now) {
        KeyState::Disabled => "is revoked",
        KeyState::Expired => "is expired",
        _ => return Ok(()),
    };
    let message = format!(
        "{state}, and a new key would restore its rights; give --force to make one \
                anyway"
    );
    Err(Problem::new(
        format!("key {}", old.principal().id()),
        message,
    ))
}

/// Checks that the account may have one more active key while both keys are valid.
fn check_room(
    file: &KeysText<'_>,
    old: &Key,
    now: SystemTime,
    end: SystemTime,
) -> Result<(), Problem> {
    let account = old.principal().account();
    let most = account.and_then(|account| account.max_active_keys());
    let Some(most) = most.filter(|_| end > now) else {
        return Ok(());
    };
    let counts = |key: &&Key| {
        let state = key.principal().state(now);
        key.principal().account() == account
            && matches!(state, KeyState::Active | KeyState::NotYetValid)
    };
    if file.file.keys().iter().filter(counts).count() < most.get() as usize {
        return Ok(());
    }
    let message = format!(
        "the account already has its maximum of {most} active keys; give --overlap 0s \
                to end the old key at once, or raise max_active_keys"
    );
    Err(Problem::new("--overlap", message))
}

/// The text in which the old key expires after the overlap. `None` if it expires earlier anyway.
fn shortened(
    file: &KeysText<'_>,
    old: &Key,
    now: SystemTime,
    end: SystemTime,
    note: &[(&'static str, String)],
    said: &mut Vec<String>,
) -> Result<Option<String>, KeyCommandError> {
    let (id, validity) = (old.principal().id(), old.principal().validity());
    let state = old.principal().state(now);
    match state {
        KeyState::Active => {}
        KeyState::NotYetValid => {
            let message = "is not valid yet, so it is not in use; revoke it and make a new key";
            return Err(KeyCommandError::wrong(format!("key {id}"), message));
        }
        state => {
            said.push(format!("key {id}: remains {}", state.as_str()));
            return Ok(None);
        }
    }
    if let Some(expires) = validity.expires
        && expires <= end
    {
        let written = moment::written(expires);
        said.push(format!("key {id}: expires {written}, as before"));
        return Ok(None);
    }
    let written = moment::written(end);
    said.push(format!("key {id}: expires {written}"));
    let mut fields = vec![("expires", written)];
    fields.extend_from_slice(note);
    Ok(Some(file.with(old, &fields)?))
}

/// The default expiry of a new key: after the lifetime of the old key.
fn inherited(
    old: &Key,
    now: SystemTime,
    said: &mut Vec<String>,
) -> Result<Option<SystemTime>, Problem> {
    let validity = old.principal().validity();
    let Some(expires) = validity.expires else {
        return Ok(None);
    };
    if let Some(since) = old.created().or(validity.not_before) {
        let lifetime = expires.duration_since(since).unwrap_or_default();
        if let Some(end) = moment::after(now, lifetime).filter(|end| *end > now) {
            return Ok(Some(end));
        }
    } else if expires > now {
        said.push(
            "note: the lifetime of the old key is unknown, so the new key expires when the \
                old key would have; --expires overrides this"
                .to_owned(),
        );
        return Ok(Some(expires));
    }
    let message = "is required, because the lifetime of the old key is unknown; give a time such \
                as 90d";
    Err(Problem::new("--expires", message))
}

/// The next id: `ivr-2` after `ivr`, then `ivr-3`, or the next one that is not in use.
fn counted_up(file: &KeysText<'_>, id: &str) -> String {
    let counted = id.rsplit_once('-').and_then(|(stem, digits)| {
        let number: u32 = digits.parse().ok()?;
        // A year, a ticket number or 07 is part of the name, not a counter.
        (number > 1 && number < 1000 && digits == number.to_string()).then_some((stem, number))
    });
    let (stem, first) = counted.map_or((id, 2), |(stem, number)| (stem, number + 1));
    let keys = file.file.keys().iter();
    let taken: HashSet<&str> = keys.map(|key| key.principal().id()).collect();
    let mut ids = (first..).map(|number| format!("{stem}-{number}"));
    let free = ids.find(|id| !taken.contains(id.as_str()) && !file.file.revokes(id));
    // There are fewer than four thousand million keys.
    free.unwrap_or_else(|| format!("{id}-next"))
}
