//! Revoking a key in a file that has other problems.

use std::io::{self, Write as _};

use voxgate::Problem;

use super::edit;
use super::failure::KeyCommandError;
use super::store::FileState;
use super::target::{Source, Target};

/// Disables the key in its entry, which is found by its text because the file cannot be parsed as a
/// whole; or lists its id in `[revoked]`, if not even the entry can be parsed. Returns a failure also if this succeeds, because a running gateway takes nothing else from
/// such a file.
pub(super) fn revoke(
    target: &Target,
    source: &Source,
    read: &FileState,
    id: &str,
    problems: Vec<Problem>,
) -> KeyCommandError {
    let old = read.text.as_deref().unwrap_or_default();
    let disabled = edit::disabled_by_text(old, id).map(|new| (new, "the entry is disabled"));
    let denied = || {
        Some((
            edit::denied_by_text(old, id)?,
            "[revoked] at its end has the id",
        ))
    };
    let Some((new, change)) = disabled.or_else(denied) else {
        return KeyCommandError::Broken(problems);
    };
    let done = match write(target, source, read, &new) {
        Ok(printed) => format!("{change}{printed}"),
        Err(error) => return error,
    };
    let problems: Vec<String> = problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect();
    let message = format!(
        "{done}, and a running gateway refuses this key. But the file has other problems, so no \
                other change is in force, and no gateway starts with it, until you fix the file:{}",
        problems.concat()
    );
    KeyCommandError::failed(&source.name, message)
}

/// Returns what has to be said besides.
fn write(
    target: &Target,
    source: &Source,
    read: &FileState,
    new: &str,
) -> Result<&'static str, KeyCommandError> {
    match target {
        Target::File(_) if read.text.as_deref() == Some(new) => Ok(""),
        Target::File(store) => match store.replace(read, new)? {
            true => Ok(""),
            false => {
                let message =
                    "another process changed the file at the same time; run this command again";
                Err(KeyCommandError::failed(&source.name, message))
            }
        },
        Target::Manifest(manifest, _) => {
            let printed = io::stdout().write_all(manifest.render_keys(new).as_bytes());
            printed.map_err(|error| KeyCommandError::failed("standard output", error))?;
            Ok(" in the printed manifest; apply it")
        }
    }
}
