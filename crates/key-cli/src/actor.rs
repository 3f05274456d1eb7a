//! Who runs the command, and why: the fields `changed_by` and `changed_reason` of a key.

use clap::ArgMatches;
use toml_edit::Value;
use voxgate::Problem;
use voxgate_terminal::actor::{actor, check_reason};

/// The fields of a key that this command changes: its name and its value in TOML. Without a known
/// user, only a reason is known.
///
/// # Errors
///
/// If the reason cannot be shown, or is too long.
pub(super) fn fields(matches: &ArgMatches) -> Result<Vec<(&'static str, String)>, Problem> {
    let reason = matches.get_one::<String>("reason");
    if let Some(reason) = reason {
        check_reason(reason).map_err(|message| Problem::new("--reason", message))?;
    }
    let known = [("changed_by", actor()), ("changed_reason", reason.cloned())];
    Ok(known
        .into_iter()
        .filter_map(|(field, text)| Some((field, Value::from(text?).to_string())))
        .collect())
}
