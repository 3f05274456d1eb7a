//! The settings in force, for people: what is secret is not shown.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde_json::{Value, json};
use voxgate::env::{Setting, path_to_show};

use super::settings;

/// What stands for a value that is not shown.
const REDACTED: &str = "(redacted)";

/// Each setting, its value, and whether it is set or a default. Secrets, paths that may be a secret,
/// and what a URL has besides its scheme, host and path are redacted.
pub(crate) fn effective(vars: &[(OsString, OsString)]) -> Value {
    let shown = settings().map(|setting| {
        let given = vars.iter().rfind(|(name, _)| name == setting.variable);
        let value = match given {
            Some((_, value)) => redacted(setting, &value.to_string_lossy()),
            None => setting.default.to_owned(),
        };
        (
            setting.variable,
            json!({ "value": value, "set": given.is_some() }),
        )
    });
    json!(shown.collect::<BTreeMap<_, _>>())
}

fn redacted(setting: &Setting, value: &str) -> String {
    if setting.secret {
        return REDACTED.to_owned();
    }
    if setting.value == "PATH" {
        return path_to_show(Path::new(value))
            .unwrap_or(REDACTED)
            .to_owned();
    }
    let parts: Vec<String> = value.split(',').map(without_url_secrets).collect();
    parts.join(",")
}

fn without_url_secrets(part: &str) -> String {
    let Some((scheme, rest)) = part.split_once("://") else {
        return part.to_owned();
    };
    let (authority, path) = rest
        .find(['/', '?', '#'])
        .map_or((rest, ""), |at| rest.split_at(at));
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{REDACTED}@{host}"),
        None => authority.to_owned(),
    };
    let path = match path.find(['?', '#']) {
        Some(at) => format!("{}?{REDACTED}", &path[..at]),
        None => path.to_owned(),
    };
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_redacted_and_defaults_are_shown() {
        let vars = [
            ("VOXGATE_API_KEYS", "hunter2"),
            ("RIME_API_KEY", "hunter2"),
            ("VOXGATE_KEYS_FILE", "hunter2hunter2hunter2"),
            ("VOXGATE_POLICY_FILE", "/etc/voxgate/policy.toml"),
            (
                "VOXGATE_UPSTREAM",
                "/ws=http://a:hunter2@tts:8000/x,https://b/?key=hunter2",
            ),
            ("VOXGATE_LISTEN", "0.0.0.0:80"),
        ];
        let vars = vars.map(|(name, value)| (name.into(), value.into()));
        let shown = effective(&vars);
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
        for (name, value, set) in [
            ("VOXGATE_API_KEYS", "(redacted)", true),
            ("VOXGATE_KEYS_FILE", "(redacted)", true),
            ("VOXGATE_POLICY_FILE", "/etc/voxgate/policy.toml", true),
            (
                "VOXGATE_UPSTREAM",
                "/ws=http://(redacted)@tts:8000/x,https://b/?(redacted)",
                true,
            ),
            ("VOXGATE_LISTEN", "0.0.0.0:80", true),
            ("VOXGATE_ADMIN_LISTEN", "127.0.0.1:8081", false),
        ] {
            assert_eq!(shown[name], json!({ "value": value, "set": set }), "{name}");
        }
        for setting in settings() {
            assert!(shown[setting.variable].is_object(), "{}", setting.variable);
        }
    }
}
