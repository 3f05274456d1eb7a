//! `voxgate key new`.

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate::keys::generate_key;
use voxgate::{Dialect, Key, Principal};

use super::change::{self, Change, NewToken};
use super::edit::TextBuilder;
use super::entry::{self, KeyLifetime, Rights};
use super::failure::KeyCommandError;
use super::find;
use super::moment;
use super::target::MissingFile;

pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), KeyCommandError> {
    let now = moment::now();
    let rights = Rights::given(matches)?;
    let lifetime = KeyLifetime {
        created: Some(now),
        ..entry::lifetime(matches, now)?
    };
    let id = find::argument(matches, "id");
    change::apply(
        matches,
        environment,
        MissingFile::CountsAsEmpty,
        |file, dialect| {
            find::unused(file, "--id", id)?;
            add(file.text, id, &rights, lifetime, dialect)
        },
    )
}

/// The text with one more key that has a new token.
pub(super) fn add(
    text: &str,
    id: &str,
    rights: &Rights,
    lifetime: KeyLifetime,
    dialect: Dialect,
) -> Result<Change, KeyCommandError> {
    let token = generate_key().map_err(|error| {
        KeyCommandError::failed("cannot read random bytes from the system", error)
    })?;
    let issued = dialect
        .issue(id, &token)
        .map_err(|error| KeyCommandError::wrong("--id", format!("{error}; choose another")))?;
    let mut text = TextBuilder::new(text);
    let line = text.append(&rights.fields(id, &issued.digest, lifetime));
    let fingerprint = Key::from_digest(issued.digest, Principal::new(id)).fingerprint();
    let until = lifetime
        .expires
        .map_or("never expires".to_owned(), |expires| {
            format!("expires {}", moment::written(expires))
        });
    let mut said = vec![format!("key {id}: fingerprint {fingerprint}, {until}")];
    if dialect == Dialect::Auto {
        said.push(
            "note: the token works with the clients of every vendor except Inworld; for \
                Inworld, give --dialect inworld"
                .to_owned(),
        );
    }
    Ok(Change {
        text: Some(text.finish()),
        added: vec![(line, String::new())],
        said,
        issued: Some(NewToken {
            id: id.to_owned(),
            secret: issued.secret,
            fingerprint,
        }),
    })
}
