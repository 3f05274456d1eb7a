//! The two modes, and which of them the settings ask for.

use crate::error::Problem;

use super::KEY_SOURCES;

/// How callers are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every caller presents a credential of its own.
    Validate,
    /// A deployment key is set, and the caller's credential is not looked at.
    Preconfigured,
}

impl Mode {
    /// The name in settings and audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Preconfigured => "preconfigured",
        }
    }
}

/// Silence never opens the door: only a deployment key that stands alone, or a mode that is
/// named, lets callers in without a key.
pub(super) fn decide(
    asked: Option<Mode>,
    caller_keys: bool,
    deployment_key: bool,
    variable: Option<&'static str>,
) -> Result<Mode, Problem> {
    let deployment = variable.unwrap_or("a deployment key");
    let problem = |place: &str, message: String| Err(Problem::new(place, message));
    match (asked, caller_keys, deployment_key) {
        (Some(Mode::Validate), true, _) | (None, true, false) => Ok(Mode::Validate),
        (Some(Mode::Preconfigured), _, true) | (None, false, true) => Ok(Mode::Preconfigured),
        (Some(Mode::Validate), false, _) => problem(
            "VOXGATE_MODE",
            format!("is `validate`, but there are no caller keys; set {KEY_SOURCES}"),
        ),
        (Some(Mode::Preconfigured), _, false) if variable.is_none() => problem(
            "VOXGATE_MODE",
            "is `preconfigured`, but this dialect has no deployment key; use a vendor's dialect"
                .to_owned(),
        ),
        (Some(Mode::Preconfigured), _, false) => problem(
            "VOXGATE_MODE",
            format!("is `preconfigured`, but there is no deployment key; set {deployment}"),
        ),
        (None, true, true) => problem(
            "VOXGATE_MODE",
            format!(
                "must be set, because there are caller keys and {deployment}: `validate` asks every \
                 caller for its own key, `preconfigured` asks for none"
            ),
        ),
        (None, false, false) => problem(
            "VOXGATE_API_KEYS",
            match variable {
                None => format!("no caller could authenticate; set {KEY_SOURCES}"),
                Some(name) => format!(
                    "no caller could authenticate; set {KEY_SOURCES} to ask callers for a key, or only \
                     {name} to ask for none"
                ),
            },
        ),
    }
}
