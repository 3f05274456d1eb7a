//! `voxgate key new`.

use clap::ArgMatches;
use voxgate::{Dialect, Key, Principal, generate_key};

use super::change::{self, Change, Issued};
use super::edit::Growing;
use super::entry::{self, Life, Rights};
use super::failure::Failure;
use super::find;
use super::moment;
use super::target::Absent;

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let now = moment::now();
    let rights = Rights::given(matches)?;
    let life = Life {
        created: Some(now),
        ..entry::life(matches, now)?
    };
    let id = find::argument(matches, "id");
    change::apply(matches, Absent::IsEmpty, |file, dialect| {
        find::unused(file, "--id", id)?;
        add(file.text, id, &rights, life, dialect)
    })
}

/// The text with one more key that has a new token.
pub(super) fn add(
    text: &str,
    id: &str,
    rights: &Rights,
    life: Life,
    dialect: Dialect,
) -> Result<Change, Failure> {
    let token = generate_key()
        .map_err(|error| Failure::failed("cannot read random bytes from the system", error))?;
    let issued = dialect
        .issue(id, &token)
        .map_err(|error| Failure::wrong("--id", format!("{error}; choose another")))?;
    let mut text = Growing::new(text);
    let line = text.append(&rights.fields(id, &issued.digest, life));
    let fingerprint = Key::from_digest(issued.digest, Principal::new(id)).fingerprint();
    let until = life.expires.map_or("never expires".to_owned(), |expires| {
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
        issued: Some(Issued {
            id: id.to_owned(),
            secret: issued.secret,
            fingerprint,
        }),
    })
}
