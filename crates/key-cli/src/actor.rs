//! Who runs the command, and why: the fields `changed_by` and `changed_reason` of a key.

use clap::ArgMatches;
use toml_edit::Value;
use voxgate::Problem;
use voxgate_terminal::text::misleads;

const MAX: usize = 256;

/// The fields of a key that this command changes: its name and its value in TOML. The user is that of
/// `SUDO_USER`, `USER` or `LOGNAME`; without any of these, only a reason is known.
///
/// # Errors
///
/// If the reason cannot be shown, or is too long.
pub(super) fn fields(matches: &ArgMatches) -> Result<Vec<(&'static str, String)>, Problem> {
    let reason = matches.get_one::<String>("reason");
    if reason.is_some_and(|reason| reason.contains(misleads) || reason.trim().is_empty()) {
        let message = "must be words, without control characters and invisible characters";
        return Err(Problem::new("--reason", message));
    }
    if reason.is_some_and(|reason| reason.chars().count() > MAX) {
        return Err(Problem::new(
            "--reason",
            format!("is longer than {MAX} characters"),
        ));
    }
    let variables = ["SUDO_USER", "USER", "LOGNAME"].map(std::env::var);
    let mut names = variables.into_iter().filter_map(Result::ok);
    let user = names.find(|name| !name.is_empty() && !name.contains(misleads));
    let by = user.map(|user| {
        let host = rustix::system::uname();
        let text = format!("{user}@{}", host.nodename().to_string_lossy());
        text.chars()
            .filter(|letter| !misleads(*letter))
            .take(MAX)
            .collect::<String>()
    });
    let known = [("changed_by", by), ("changed_reason", reason.cloned())].into_iter();
    Ok(known
        .filter_map(|(field, text)| Some((field, Value::from(text?).to_string())))
        .collect())
}
