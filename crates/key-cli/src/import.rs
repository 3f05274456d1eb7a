//! `voxgate key import`.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate::keys::PlainKey;
use voxgate::{
    Dialect, Digest, Key, KeyRing, Principal, Problem, RawCredential, Verify as _, VerifyOutcome,
};

use super::change::{self, Change};
use super::edit::{KeysText, TextBuilder};
use super::entry::{self, Proof, Rights};
use super::failure::KeyCommandError;
use super::target::MissingFile;
use super::{find, ids, moment, store};

pub(super) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(), KeyCommandError> {
    let rights = Rights::given(matches)?;
    let lifetime = entry::lifetime(matches, moment::now())?;
    let path = matches.get_one::<PathBuf>("keys");
    let secret = matches.get_one::<PathBuf>("from-secret");
    if path.is_none() && secret.is_some_and(|secret| secret.as_os_str() == "-") {
        let message = "is standard input, which the keys also need; give the keys as a PATH";
        return Err(KeyCommandError::wrong("--from-secret", message));
    }
    let given = read(path)?;
    change::apply(
        matches,
        environment,
        MissingFile::CountsAsEmpty,
        |file, dialect| {
            let plain = lines(&given, dialect)?;
            check_new(file, &plain, dialect)?;
            let prefix = find::argument(matches, "prefix");
            if let Some(wrong) = ids::wrong(&format!("{prefix}-1")) {
                return Err(KeyCommandError::wrong("--prefix", wrong));
            }
            let mut ids = Ids::new(file, &plain, prefix);
            let mut text = TextBuilder::new(file.text);
            let (mut added, mut said) = (Vec::new(), Vec::new());
            for line in &plain {
                let id = line.id.map_or_else(|| ids.next(), str::to_owned);
                let begins = text.append(&rights.fields(&id, Proof::Digest(&line.digest), lifetime));
                added.push((begins, line.place()));
                let fingerprint = Key::from_digest(line.digest, Principal::new(&id)).fingerprint();
                said.push(format!("key {id}: fingerprint {fingerprint}"));
                if line.key.is_weak() {
                    said.push(format!(
                    "warning: {}: has less than about 128 bits of randomness, so it can be guessed or found from \
                its digest; replace it: voxgate key rotate {id}",
                    line.place()
                ));
                }
            }
            Ok(Change {
                text: Some(text.finish()),
                added,
                issued: None,
                said,
            })
        },
    )
    .map(drop)
}

fn read(path: Option<&PathBuf>) -> Result<String, KeyCommandError> {
    let (name, opened) = match path {
        Some(path) => {
            let opened = File::open(path).map(|file| Box::new(file) as Box<dyn Read>);
            (path.display().to_string(), opened)
        }
        None => ("standard input".to_owned(), Ok(Box::new(io::stdin()) as _)),
    };
    let input = opened.map_err(|error| store::unreadable(&name, &error))?;
    store::read_from(input, &name)
}

/// One plain key of the input.
struct Line<'a> {
    number: usize,
    id: Option<&'a str>,
    plain: &'a str,
    key: PlainKey,
    digest: Digest,
}

impl Line<'_> {
    fn place(&self) -> String {
        place(self.number)
    }
}

fn place(number: usize) -> String {
    format!("line {number}")
}

/// The keys of the input, or its problems.
fn lines(text: &str, dialect: Dialect) -> Result<Vec<Line<'_>>, KeyCommandError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut lines, mut problems) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match one(index + 1, line, dialect) {
            Ok(line) => lines.push(line),
            Err(wrong) => problems.push(Problem::new(place(index + 1), wrong)),
        }
    }
    if lines.is_empty() && problems.is_empty() {
        return Err(KeyCommandError::wrong(
            "the input",
            "contains no key; give one key per line",
        ));
    }
    match problems.is_empty() {
        true => Ok(lines),
        false => Err(KeyCommandError::Wrong(problems)),
    }
}

fn one(number: usize, line: &str, dialect: Dialect) -> Result<Line<'_>, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (id, plain) = match words.as_slice() {
        [plain] => (None, *plain),
        [id, plain] => (Some(*id), *plain),
        _ => return Err("must be `key` or `id key`".to_owned()),
    };
    if let Some(wrong) = other_form(id, plain) {
        return Err(wrong.to_owned());
    }
    let key = PlainKey::new(plain, dialect).map_err(|error| error.to_string())?;
    let Some(digest) = key.digest() else {
        let message = "could belong to several vendors; choose one with --dialect";
        return Err(message.to_owned());
    };
    Ok(Line {
        number,
        id,
        plain,
        key,
        digest,
    })
}

/// Why a line looks like the input of another program, so that part of it would wrongly become a
/// key.
fn other_form(id: Option<&str>, plain: &str) -> Option<&'static str> {
    const FIRST_WORDS: [&str; 4] = ["export", "bearer", "basic", "token"];
    if plain.contains(',') || id.is_some_and(|id| id.contains(',')) {
        return Some("contains a comma; write one key per line, and `id key` with a space");
    }
    if plain.contains(['"', '\'', '`']) {
        return Some("contains a quotation mark; remove it");
    }
    if is_assignment(plain, id.is_some()) {
        let message = "could be `id=key` or a key that contains `=`; write `id key` with a space";
        return Some(message);
    }
    let id = id?;
    if FIRST_WORDS.contains(&id.to_ascii_lowercase().as_str()) {
        return Some("begins with a word of a shell command or a header; write `key` or `id key`");
    }
    if id.starts_with("vxg_") || (ids::is_random(id) && !ids::is_strong(plain)) {
        return Some("has a secret where the id belongs; write `id key`");
    }
    ids::wrong(id)
}

/// Whether the word contains a `=` that is not base64 padding. After an id, only if a name precedes
/// it.
fn is_assignment(word: &str, is_second: bool) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match word.trim_end_matches('=').split_once('=') {
        Some((name, _)) => !is_second || name.bytes().all(is_name),
        None => false,
    }
}

/// Checks that each key is new: neither in the file nor in an earlier line.
fn check_new(
    file: &KeysText<'_>,
    lines: &[Line<'_>],
    dialect: Dialect,
) -> Result<(), KeyCommandError> {
    let ring = KeyRing::new(file.file.keys().iter().cloned())?;
    let known = |plain: &str| {
        let readings = dialect.readings(plain.as_bytes());
        readings
            .into_iter()
            .find_map(|reading| match ring.verify(RawCredential::new(&reading)) {
                VerifyOutcome::Ready(Ok(principal)) => Some(principal),
                VerifyOutcome::Ready(Err(denial)) => denial.principal().cloned(),
                VerifyOutcome::Pending(_) => None,
            })
    };
    let taken: HashSet<&str> = ids_of(file).collect();
    let listed = file.listed.by_digest();
    let (mut keys, mut ids) = (HashMap::new(), HashMap::new());
    let mut problems = Vec::new();
    for line in lines {
        let mut wrong = |message| problems.push(Problem::new(line.place(), message));
        if let Some(principal) = known(line.plain) {
            wrong(format!(
                "is already in the file, as key `{}`; remove this line",
                principal.id()
            ));
        } else if let Some(id) = listed.get(&line.digest.to_hex()) {
            wrong(format!(
                "is already in VOXGATE_API_KEYS, as `{id}`; remove it from that list first"
            ));
        } else if let Some(first) = keys.insert(line.digest.to_hex(), line.number) {
            wrong(format!("is the same key as line {first}; remove this line"));
        }
        let Some(id) = line.id else { continue };
        if taken.contains(id) {
            wrong("has an id that is already in the file; choose another id".to_owned());
        } else if let Some(first) = ids.insert(id, line.number) {
            wrong(format!(
                "has the same id as line {first}; choose another id"
            ));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(KeyCommandError::Wrong(problems)),
    }
}

fn ids_of<'a>(file: &KeysText<'a>) -> impl Iterator<Item = &'a str> {
    file.file.keys().iter().map(|key| key.principal().id())
}

/// Ids for keys without one.
struct Ids<'a> {
    prefix: &'a str,
    number: usize,
    taken: HashSet<&'a str>,
}

impl<'a> Ids<'a> {
    fn new(file: &KeysText<'a>, lines: &[Line<'a>], prefix: &'a str) -> Self {
        let given = lines.iter().filter_map(|line| line.id);
        Self {
            prefix,
            number: 0,
            taken: ids_of(file).chain(given).collect(),
        }
    }

    fn next(&mut self) -> String {
        loop {
            self.number += 1;
            let id = format!("{}-{}", self.prefix, self.number);
            if !self.taken.contains(id.as_str()) {
                return id;
            }
        }
    }
}
