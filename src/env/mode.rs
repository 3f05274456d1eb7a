//! The two modes, and the mode that follows from the settings.

use voxgate_core::error::Problem;

use super::KEY_SOURCES;

/// How callers are authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every caller presents its own credential.
    Validate,
    /// A deployment key is set, and the caller's credential is not read.
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

/// The deployment key of another vendor that is set, and the dialect that uses it.
#[derive(Clone, Copy)]
pub(super) struct OtherVendor {
    pub(super) variable: &'static str,
    pub(super) dialect: &'static str,
}

impl OtherVendor {
    /// What to do about it, at the end of a message.
    fn fix(self) -> String {
        let Self { variable, dialect } = self;
        format!("; {variable} is set, which needs VOXGATE_DIALECT={dialect}")
    }
}

/// Chooses the mode. Callers are accepted without a key only if a deployment key is the only key,
/// or if the mode is set explicitly.
pub(super) fn decide(
    asked: Option<Mode>,
    caller_keys: bool,
    deployment_key: bool,
    variable: Option<&'static str>,
    others: Option<OtherVendor>,
) -> Result<Mode, Problem> {
    let deployment = variable.unwrap_or("a deployment key");
    let problem = |place: &str, message: String| Err(Problem::new(place, message));
    let other = others.map(OtherVendor::fix).unwrap_or_default();
    match (asked, caller_keys, deployment_key) {
        (Some(Mode::Validate), true, _) | (None, true, false) => Ok(Mode::Validate),
        (Some(Mode::Preconfigured), _, true) | (None, false, true) => Ok(Mode::Preconfigured),
        (Some(Mode::Validate), false, _) => problem(
            "VOXGATE_MODE",
            format!("is `validate`, but there are no caller keys; set {KEY_SOURCES}"),
        ),
        (Some(Mode::Preconfigured), _, false) if variable.is_none() => problem(
            "VOXGATE_MODE",
            format!(
                "is `preconfigured`, but this dialect has no deployment key; use a vendor's \
                 dialect{other}"
            ),
        ),
        (Some(Mode::Preconfigured), _, false) => problem(
            "VOXGATE_MODE",
            format!("is `preconfigured`, but there is no deployment key; set {deployment}{other}"),
        ),
        (None, true, true) => problem(
            "VOXGATE_MODE",
            format!(
                "must be set, because there are caller keys and {deployment}: with `validate`, every \
                 caller needs its own key; with `preconfigured`, no caller needs a key"
            ),
        ),
        (None, false, false) => problem(
            "VOXGATE_API_KEYS",
            match variable {
                None => format!("no caller could authenticate; set {KEY_SOURCES}{other}"),
                Some(name) => format!(
                    "no caller could authenticate; set {KEY_SOURCES} to require a key, or only \
                     {name} to require none{other}"
                ),
            },
        ),
    }
}
