//! `voxgate key revoke`.

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate::principal::KeyState;

use super::change::{self, Change};
use super::control::ControlRequest;
use super::edit::KeysText;
use super::failure::KeyCommandError;
use super::store::FileState;
use super::target::{MissingFile, Source, Target};
use super::{actor, emergency, find, moment, now};

pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), KeyCommandError> {
    if !now::is_given(matches)? {
        return disable(matches, environment);
    }
    let source = Source::given(matches, environment)?;
    let mut request = ControlRequest::default();
    let id = find::argument(matches, "id");
    request.revoke.push(now::revocation(&source, id)?);
    match disable(matches, environment) {
        Ok(()) => now::tell(&source, environment, &request),
        // There is no such key, or no such file.
        Err(error @ (KeyCommandError::Wrong(_) | KeyCommandError::Broken(_))) => Err(error),
        // The gateways can be told nevertheless. They read no file that refuses the key, though.
        Err(KeyCommandError::Failed(error)) => {
            let told = match now::tell(&source, environment, &request) {
                Ok(()) => {
                    "the gateways above refuse the key until they are started again".to_owned()
                }
                Err(KeyCommandError::Failed(told)) => told,
                Err(told) => return Err(told),
            };
            Err(KeyCommandError::Failed(format!("{error}\nvoxgate: {told}")))
        }
    }
}

/// Disables the key in the file.
fn disable(matches: &ArgMatches, environment: &Environment) -> Result<(), KeyCommandError> {
    let id = find::argument(matches, "id");
    let note = actor::fields(matches)?;
    let change = |file: &KeysText<'_>, _| {
        let key = find::existing(file, id)?;
        let (text, said) = match key.principal().state(moment::now()) {
            KeyState::Disabled => (None, format!("key {id}: is already revoked")),
            _ => {
                let mut fields = vec![("disabled", "true".to_owned())];
                fields.extend_from_slice(&note);
                let text = file.with(key, &fields)?;
                (Some(text), format!("key {id}: revoked"))
            }
        };
        Ok(Change {
            text,
            added: Vec::new(),
            issued: None,
            said: vec![said],
        })
    };
    let broken = |target: &Target, source: &Source, read: &FileState, problems| {
        emergency::revoke(target, source, read, id, problems)
    };
    let absent = MissingFile::IsWrong;
    change::apply_or(matches, environment, absent, change, broken).map(drop)
}
