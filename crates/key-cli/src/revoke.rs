//! `voxgate key revoke`.

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate::principal::KeyState;

use super::change::{self, Change};
use super::failure::KeyCommandError;
use super::target::MissingFile;
use super::{emergency, find, moment};

pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), KeyCommandError> {
    let id = find::argument(matches, "id");
    let done = change::apply(matches, environment, MissingFile::IsWrong, |file, _| {
        let key = find::existing(file, id)?;
        let (text, said) = match key.principal().state(moment::now()) {
            KeyState::Disabled => (None, format!("key {id}: is already revoked")),
            _ => {
                let text = file.with(key, &[("disabled", "true".to_owned())])?;
                (Some(text), format!("key {id}: revoked"))
            }
        };
        Ok(Change {
            text,
            added: Vec::new(),
            issued: None,
            said: vec![said],
        })
    });
    match done {
        Err(KeyCommandError::Broken(problems)) => {
            emergency::revoke(matches, environment, id, problems)
        }
        done => done,
    }
}
