//! Revoking a key in a file that has other problems.

use clap::ArgMatches;
use voxgate::Problem;
use voxgate::env::Environment;

use super::edit;
use super::failure::KeyCommandError;
use super::target::{MissingFile, Source, Target};

/// Disables the key in its entry, which is found by its text because the file cannot be parsed as a
/// whole. Always returns a failure, because a running gateway does not load such a file.
pub(super) fn revoke(
    matches: &ArgMatches,
    environment: &Environment,
    id: &str,
    problems: Vec<Problem>,
) -> Result<(), KeyCommandError> {
    let mut source = Source::given(matches, environment)?;
    let target = Target::open(matches, &mut source)?;
    let Target::File(store) = &target else {
        return Err(KeyCommandError::Broken(problems));
    };
    let read = target.read(&source, MissingFile::IsWrong)?;
    let old = read.text.as_deref().unwrap_or_default();
    let Some(new) = edit::disabled_by_text(old, id) else {
        return Err(KeyCommandError::Broken(problems));
    };
    if new != old && !store.replace(&read, &new)? {
        let message = "another process changed the file at the same time; run this command again";
        return Err(KeyCommandError::failed(&source.name, message));
    }
    let problems: Vec<String> = problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect();
    let message = format!(
        "the entry of `{id}` is disabled, BUT THIS IS NOT IN FORCE: the file has other \
                problems, so a running gateway keeps its last good keys and accepts this key \
                until you fix the file:{}",
        problems.concat()
    );
    Err(KeyCommandError::failed(&source.name, message))
}
