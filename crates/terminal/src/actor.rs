//! Who runs a command that changes something, and why.

use crate::text::misleads;

/// The most characters of an actor, and of a reason.
const MAX: usize = 256;

/// The user and the host, as `user@host`. The user is that of `SUDO_USER`, `USER` or `LOGNAME`;
/// without any of these, `None`.
#[must_use]
pub fn actor() -> Option<String> {
    let variables = ["SUDO_USER", "USER", "LOGNAME"].map(std::env::var);
    let mut names = variables.into_iter().filter_map(Result::ok);
    let user = names.find(|name| !name.is_empty() && !name.contains(misleads))?;
    let host = rustix::system::uname();
    let text = format!("{user}@{}", host.nodename().to_string_lossy());
    let shown = text.chars().filter(|letter| !misleads(*letter));
    Some(shown.take(MAX).collect())
}

/// Checks a reason that a person gives.
///
/// # Errors
///
/// It cannot be shown, or is too long. The text says what it must be.
pub fn check_reason(reason: &str) -> Result<(), String> {
    if reason.contains(misleads) || reason.trim().is_empty() {
        let message = "must be words, without control characters and invisible characters";
        return Err(message.to_owned());
    }
    match reason.chars().count() > MAX {
        true => Err(format!("is longer than {MAX} characters")),
        false => Ok(()),
    }
}
