//! `voxgate key new`.

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate::keys::generate_key;
use voxgate::{Dialect, Key, Principal};

use super::change::{self, Change, NewToken};
use super::edit::TextBuilder;
use super::entry::{self, KeyLifetime, Proof, Rights};
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
            match matches.get_one::<String>("certificate") {
                Some(name) => Ok(add_certificate(file.text, id, name, &rights, lifetime)),
                None => add(file.text, id, &rights, lifetime, dialect),
            }
        },
    )
    .map(drop)
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
    let line = text.append(&rights.fields(id, Proof::Digest(&issued.digest), lifetime));
    let fingerprint = Key::from_digest(issued.digest, Principal::new(id)).fingerprint();
    let until = until(lifetime);
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

/// The text with one more key whose credential is the client certificate with this name. There is no
/// token.
fn add_certificate(
    text: &str,
    id: &str,
    name: &str,
    rights: &Rights,
    lifetime: KeyLifetime,
) -> Change {
    let mut text = TextBuilder::new(text);
    let line = text.append(&rights.fields(id, Proof::Certificate(name), lifetime));
    let until = until(lifetime);
    Change {
        text: Some(text.finish()),
        added: vec![(line, String::new())],
        said: vec![format!("key {id}: the certificate {name}, {until}")],
        issued: None,
    }
}

fn until(lifetime: KeyLifetime) -> String {
    let expires = lifetime.expires.map(moment::written);
    expires.map_or("never expires".to_owned(), |expires| {
        format!("expires {expires}")
    })
}
