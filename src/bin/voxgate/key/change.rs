//! One change of a keys file, from its reading to what is said of it.

use std::io::{self, Write as _};

use clap::ArgMatches;
use voxgate::{Dialect, KeysFile, Problem, Secret};

use super::edit::Text;
use super::failure::Failure;
use super::target::{Absent, Source, Target};

/// How messages of the library begin that are about a field, and the flag that gave it.
const FLAGS: [(&str, &str); 9] = [
    ("id ", "--id"),
    ("account ", "--account"),
    ("scopes ", "--scope"),
    ("voices ", "--voice"),
    ("rate ", "--rate"),
    ("burst ", "--burst"),
    ("expires ", "--expires"),
    ("a label ", "--set-label"),
    ("there may be ", "--set-label"),
];

/// What a command makes of a file.
pub(super) struct Change {
    /// The new text, if it is another.
    pub(super) text: Option<String>,
    /// Where new keys begin, in ascending order, and what to call each.
    pub(super) added: Vec<(usize, String)>,
    pub(super) issued: Option<Issued>,
    /// For people: what was done.
    pub(super) said: Vec<String>,
}

/// A new token, and whose it is.
pub(super) struct Issued {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) fingerprint: String,
}

/// Reads the file, changes it, and prints what is to be printed: the token only when its digest
/// is kept.
pub(super) fn apply(
    matches: &ArgMatches,
    absent: Absent,
    change: impl FnOnce(&Text<'_>, Dialect) -> Result<Change, Failure>,
) -> Result<(), Failure> {
    let mut source = Source::given(matches)?;
    let target = Target::open(matches, &mut source)?;
    let old = target.text(&source, absent)?;
    let file = KeysFile::parse(&old, &source.name, source.gateways)?;
    let view = Text {
        name: &source.name,
        text: &old,
        file: &file,
    };
    let change = change(&view, source.dialect)?;
    let mut said = change.said.clone();
    let mut keys = file;
    if let Some(new) = &change.text {
        let changed = KeysFile::parse(new, &source.name, source.gateways)
            .map_err(|error| mapped(error.into_problems(), &source.name, &change.added))?;
        said.extend(new_notices(&keys, &changed, &source.name, &change.added));
        keys = changed;
        if let Target::File(store) = &target {
            store.replace(new)?;
            said.push(format!("written to {}", source.name));
        }
    }
    if matches!(target, Target::Manifest(..)) && source.path.is_some() {
        said.push(format!(
            "note: {} itself was left as it is: the change is in the manifest alone, and is lost \
             if the next one starts from this file",
            source.name
        ));
    }
    let text = change.text.as_ref().unwrap_or(&old);
    let printed = match (target, &change.issued) {
        (Target::Manifest(manifest, _), issued) => manifest.render(text, &keys, issued.as_ref())?,
        // Here its lock ends: whoever waits need not wait for a pipe to be read.
        (Target::File(_), Some(issued)) => format!("{}\n", issued.secret.expose()),
        (Target::File(_), None) => String::new(),
    };
    print(&printed, change.issued.as_ref())?;
    let said: String = said.into_iter().map(|line| line + "\n").collect();
    let _ = io::stderr().write_all(said.as_bytes());
    Ok(())
}

fn print(text: &str, issued: Option<&Issued>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    printed.map_err(|error| {
        let lost = issued.map_or(String::new(), |issued| {
            format!(
                "; the token of `{0}` is lost, so run `voxgate key revoke {0}`",
                issued.id
            )
        });
        Failure::failed(
            "standard output",
            format!("cannot be written ({error}){lost}"),
        )
    })
}

/// Problems of what was added are of its flags or lines: the file does not have those lines.
fn mapped(problems: Vec<Problem>, name: &str, added: &[(usize, String)]) -> Failure {
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
    Failure::Wrong(problems.into_iter().map(map).collect())
}

/// What to call the new key that a problem is of.
fn place<'a>(problem: &Problem, name: &str, added: &'a [(usize, String)]) -> Option<&'a str> {
    let rest = problem.place().strip_prefix(name)?.strip_prefix(':')?;
    let line: usize = rest.parse().ok()?;
    let key = added.iter().rev().find(|(begins, _)| *begins <= line)?;
    Some(key.1.as_str())
}

/// What is unwise about the change, and was not so before.
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
