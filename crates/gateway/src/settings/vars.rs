//! The values of settings, from the environment and from flags.

use std::ffi::OsString;

use voxgate::Digest;

use super::settings;

/// Identifies a configuration: 12 hexadecimal digits of the SHA-256 of all settings that are set, in
/// the order of their names. For a secret, only the fact that it is set counts; for a file, only its
/// path.
pub(crate) fn digest(vars: &[(OsString, OsString)]) -> String {
    let mut text = Vec::new();
    let mut settings: Vec<_> = settings().collect();
    settings.sort_unstable_by_key(|setting| setting.variable);
    for setting in settings {
        let given = vars.iter().rfind(|(name, _)| name == setting.variable);
        if let Some((_, value)) = given {
            text.extend(setting.variable.as_bytes());
            text.push(b'=');
            let value = value.as_encoded_bytes();
            text.extend(if setting.secret { b"set" } else { value });
            text.push(0);
        }
    }
    Digest::of(&text).to_hex()[..12].to_owned()
}

/// The process's environment, in which the given flags replace their variables.
pub(crate) fn environment(flags: Vec<(&'static str, OsString)>) -> Vec<(OsString, OsString)> {
    let given: Vec<&str> = flags.iter().map(|(variable, _)| *variable).collect();
    std::env::vars_os()
        .filter(|(name, _)| !given.iter().any(|given| name == given))
        .chain(flags.into_iter().map(|(name, value)| (name.into(), value)))
        .collect()
}
