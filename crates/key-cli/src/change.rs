//! One change of a keys file: read, edit, validate, replace, report.

use std::io::{self, Write as _};

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate::keys::{KeysFile, Revocation};
use voxgate::{Dialect, Problem, Secret};

use super::edit::KeysText;
use super::failure::KeyCommandError;
use super::permissions;
use super::store::FileState;
use super::target::{MissingFile, Source, Target};

/// The first words of the library's messages about a field, and the flag that sets the field.
const FLAGS: [(&str, &str); 15] = [
    ("changed_reason ", "--reason"),
    ("id ", "--id"),
    ("account ", "--account"),
    ("scopes ", "--scope"),
    ("voices ", "--voice"),
    ("models ", "--model"),
    ("languages ", "--language"),
    ("allow_from ", "--allow-from"),
    ("certificate ", "--certificate"),
    ("rate ", "--rate"),
    ("burst ", "--burst"),
    ("quota ", "--quota"),
    ("expires ", "--expires"),
    ("a label ", "--set-label"),
    ("there may be ", "--set-label"),
];

/// How often a change is tried again when another process changes the file at the same time.
const MAX_TRIES: u32 = 10;

/// The result of a command: the changed file and the text to print.
pub(super) struct Change {
    /// The new text, if it differs from the old one.
    pub(super) text: Option<String>,
    /// The first line of each new key, in ascending order, and the place to name in its problems.
    pub(super) added: Vec<(usize, String)>,
    pub(super) issued: Option<NewToken>,
    /// Lines for standard error that say what was done.
    pub(super) said: Vec<String>,
}

/// A new token and its key.
pub(super) struct NewToken {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) fingerprint: String,
}

/// Reads the file, changes it, and prints the result. A token is printed only after its digest is
/// stored. Returns what identifies the new key, if there is one.
pub(super) fn apply(
    matches: &ArgMatches,
    environment: &Environment,
    absent: MissingFile,
    change: impl Fn(&KeysText<'_>, Dialect) -> Result<Change, KeyCommandError>,
) -> Result<Option<Revocation>, KeyCommandError> {
    let broken =
        |_: &Target, _: &Source, _: &FileState, problems| KeyCommandError::Broken(problems);
    apply_or(matches, environment, absent, change, broken)
}

/// The same. If the file is wrong, `broken` decides what is done, with the file still locked.
pub(super) fn apply_or(
    matches: &ArgMatches,
    environment: &Environment,
    absent: MissingFile,
    change: impl Fn(&KeysText<'_>, Dialect) -> Result<Change, KeyCommandError>,
    broken: impl FnOnce(&Target, &Source, &FileState, Vec<Problem>) -> KeyCommandError,
) -> Result<Option<Revocation>, KeyCommandError> {
    let mut source = Source::given(matches, environment)?;
    let target = Target::open(matches, &mut source)?;
    for _ in 0..MAX_TRIES {
        let read = target.read(&source, absent)?;
        let old = read.text.as_deref().unwrap_or_default();
        let file = match KeysFile::parse(old, &source.name, source.gateways) {
            Ok(file) => file,
            Err(error) => return Err(broken(&target, &source, &read, error.into_problems())),
        };
        let view = KeysText {
            name: &source.name,
            text: old,
            file: &file,
            listed: &source.listed,
        };
        let mut change = change(&view, source.dialect)?;
        change.said.extend(source.listed.warnings(file.keys()));
        let mut keys = file;
        if let Some(new) = &change.text {
            let changed = KeysFile::parse(new, &source.name, source.gateways)
                .map_err(|error| mapped(error.into_problems(), &source.name, &change.added))?;
            let notices = new_notices(&keys, &changed, &source.name, &change.added);
            change.said.extend(notices);
            keys = changed;
            if let Some(issued) = &change.issued {
                let key = keys
                    .keys()
                    .iter()
                    .find(|key| key.principal().id() == issued.id);
                let unmet = key.map(|key| source.unmet(key.principal()));
                change.said.extend(unmet.unwrap_or_default());
            }
            if let Target::Applied(secret) = &target {
                secret.apply(new)?;
                change.said.push(format!(
                    "applied the Secret {}; gateways that watch it have the change within a second, those \
                     that mount it when the kubelet has synced it",
                    secret.place()
                ));
            }
            if let Target::File(store) = &target {
                if !store.replace(&read, new)? {
                    continue;
                }
                let done = match read.text {
                    Some(_) => "written to",
                    None => "made the file",
                };
                change.said.push(format!("{done} {}", source.name));
                let path = source.path.as_deref();
                let warning = path.and_then(|path| permissions::warning(path, &source.name));
                change.said.extend(warning);
            }
        }
        finish(target, &source, &change, old, &keys)?;
        let issued = change.issued.as_ref();
        return Ok(issued.and_then(|issued| {
            let fingerprint = Some(issued.fingerprint.as_str());
            Revocation::new(&issued.id, fingerprint).ok()
        }));
    }
    let message = "another process keeps changing the file; nothing was done; try again later";
    Err(KeyCommandError::failed(&source.name, message))
}

/// Prints the result.
fn finish(
    target: Target,
    source: &Source,
    change: &Change,
    old: &str,
    keys: &KeysFile,
) -> Result<(), KeyCommandError> {
    let mut said = change.said.clone();
    let text = change.text.as_deref().unwrap_or(old);
    let issued = change.issued.as_ref();
    let (printed, kept) = match target {
        Target::Manifest(manifest, _) => {
            if source.path.is_some() {
                said.push(format!(
                    "note: {} was not changed: the change is only in the manifest; apply the \
                manifest before the next change, or the change is lost",
                    source.name
                ));
            }
            (manifest.render(text, keys, issued)?, None)
        }
        // This releases the lock, so that other processes do not wait until the pipe is read.
        Target::File(_) | Target::Applied(_) => {
            let token = issued.map(|issued| format!("{}\n", issued.secret.expose()));
            (token.unwrap_or_default(), issued)
        }
    };
    let printed = print(&printed, kept);
    // The file was changed, even if the token could not be printed.
    if printed.is_ok() || kept.is_some() {
        let said: String = said.into_iter().map(|line| line + "\n").collect();
        let _ = io::stderr().write_all(said.as_bytes());
    }
    printed
}

fn print(text: &str, issued: Option<&NewToken>) -> Result<(), KeyCommandError> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    printed.map_err(|error| {
        let lost = issued.map_or(String::new(), |issued| {
            format!(
                "; the token of `{0}` is lost, but its key is in the file: run `voxgate key \
                revoke {0}`, and make a new key",
                issued.id
            )
        });
        KeyCommandError::failed(
            "standard output",
            format!("cannot be written ({error}){lost}"),
        )
    })
}

/// Problems of new keys name their flags or input lines, because the file does not have their lines
/// yet.
fn mapped(problems: Vec<Problem>, name: &str, added: &[(usize, String)]) -> KeyCommandError {
    let map = |problem: Problem| match place(&problem, name, added) {
        Some("") => {
            let message = problem.message();
            let flag = FLAGS.iter().find(|(begins, _)| message.starts_with(begins));
            let flag = flag.map_or("the new key", |(_, flag)| flag);
            Problem::new(flag, message)
        }
        Some(place) => Problem::new(place, problem.message()),
        None => problem,
    };
    KeyCommandError::Wrong(problems.into_iter().map(map).collect())
}

/// The place to name for a problem of a new key.
fn place<'a>(problem: &Problem, name: &str, added: &'a [(usize, String)]) -> Option<&'a str> {
    let rest = problem.place().strip_prefix(name)?.strip_prefix(':')?;
    let line: usize = rest.parse().ok()?;
    let key = added.iter().rev().find(|(begins, _)| *begins <= line)?;
    Some(key.1.as_str())
}

/// The notices that the change causes.
fn new_notices(
    old: &KeysFile,
    new: &KeysFile,
    name: &str,
    added: &[(usize, String)],
) -> Vec<String> {
    let known = |notice: &&Problem| {
        let mut old = old.notices().iter();
        !old.any(|old| old.message() == notice.message())
    };
    let notices = new.notices().iter().filter(known);
    notices
        .map(|notice| match place(notice, name, added) {
            Some(_) => format!("warning: {}", notice.message()),
            None => format!("warning: {notice}"),
        })
        .collect()
}
