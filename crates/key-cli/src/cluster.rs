//! The current state of a Kubernetes Secret, from `kubectl get secret NAME -o json`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::failure::KeyCommandError;
use super::manifest::FIELD;
use super::store;

const FLAG: &str = "--from-secret";
/// It holds the Secret as it was applied, with its keys.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The parts of a Secret that has one key, with a part for each field.
const KEY_FIELDS: [&str; 3] = ["id", "sha256", "certificate"];

/// The fields of a Secret that the commands use.
pub(super) struct Secret {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    /// The text of its keys file.
    pub(super) text: String,
    /// What the next version keeps, because `kubectl apply` removes what a manifest leaves out.
    pub(super) kept: KeptFields,
}

/// The other fields of a Secret.
#[derive(Clone, Default)]
pub(super) struct KeptFields {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    /// The other parts, in base64.
    pub(super) data: BTreeMap<String, String>,
    pub(super) kind: Option<String>,
}

impl KeptFields {
    fn of(secret: &Value) -> Self {
        let texts = |value: &Value| -> BTreeMap<String, String> {
            let entries = value.as_object().into_iter().flatten();
            let texts = entries.filter_map(|(name, value)| Some((name, value.as_str()?)));
            texts
                .map(|(name, value)| (name.clone(), value.to_owned()))
                .collect()
        };
        let mut annotations = texts(&secret["metadata"]["annotations"]);
        annotations.remove(LAST_APPLIED);
        let mut data = texts(&secret["data"]);
        let plain = texts(&secret["stringData"]);
        data.extend(
            plain
                .into_iter()
                .map(|(name, text)| (name, STANDARD.encode(text))),
        );
        data.remove(FIELD);
        Self {
            labels: texts(&secret["metadata"]["labels"]),
            annotations,
            data,
            kind: secret["type"].as_str().map(str::to_owned),
        }
    }
}

/// Reads the Secret from a file, or from standard input (`-`).
pub(super) fn read(path: &Path) -> Result<Secret, KeyCommandError> {
    let json = match path.to_str() {
        Some("-") => store::read_from(io::stdin(), "standard input")?,
        _ => store::read(path, &path.display().to_string())?,
    };
    parse(&json).map_err(|message| KeyCommandError::wrong(FLAG, message))
}

fn parse(json: &str) -> Result<Secret, &'static str> {
    // Empty output means that kubectl failed, not that the Secret has no keys.
    if json.trim().is_empty() {
        return Err(
            "is empty: kubectl failed, or the Secret does not exist (`key new` and `key \
                import` start a new one with --empty)",
        );
    }
    // The error of the parser would quote the content, which may be secret.
    let Ok(secret) = serde_json::from_str::<Value>(json) else {
        return Err("is not JSON; give the output of `kubectl get secret NAME -o json`");
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (Some("Secret"), Some(name)) = (secret["kind"].as_str(), text(&secret["metadata"]["name"]))
    else {
        return Err("is not one Secret; give the output of `kubectl get secret NAME -o json`");
    };
    let has = |field: &&str| {
        let parts = [&secret["data"], &secret["stringData"]];
        parts.iter().any(|parts| parts.get(*field).is_some())
    };
    if KEY_FIELDS.iter().any(has) {
        return Err(
            "has the fields of one key, which this command does not change; change them where the Secret \
             comes from (`disabled` with the value `true` revokes the key), or delete the Secret",
        );
    }
    let plain = text(&secret["stringData"][FIELD]);
    let encoded = || {
        let bytes = STANDARD.decode(secret["data"][FIELD].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    Ok(Secret {
        name,
        namespace: text(&secret["metadata"]["namespace"]),
        text: plain
            .or_else(encoded)
            .ok_or("has no keys.toml, or it is not text; give --empty to start with this key")?,
        kept: KeptFields::of(&secret),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_secret_is_accepted() {
        for (json, expected) in [
            (
                r#"{"kind":"Secret","metadata":{"name":"k","namespace":"n"},"data":{"keys.toml":"YQo=","x":"eA=="}}"#,
                Ok("a\n"),
            ),
            (
                r#"{"kind":"Secret","metadata":{"name":"k"},"data":{"keys.toml":"YQo="},"stringData":{"keys.toml":"b"}}"#,
                Ok("b"),
            ),
            (" \n", Err("is empty")),
            ("kind: Secret", Err("is not JSON")),
            ("[]", Err("is not one Secret")),
            (r#"{"kind":"List","items":[]}"#, Err("is not one Secret")),
            (
                r#"{"kind":"Secret","metadata":{"name":"k"}}"#,
                Err("has no keys.toml"),
            ),
            (
                r#"{"kind":"Secret","metadata":{"name":"k"},"data":{"keys.toml":"!"}}"#,
                Err("has no keys.toml"),
            ),
            (
                r#"{"kind":"Secret","metadata":{"name":"k"},"data":{"id":"YQ==","sha256":"YQ=="}}"#,
                Err("has the fields of one key"),
            ),
        ] {
            match (parse(json), expected) {
                (Ok(secret), Ok(text)) => assert_eq!(secret.text, text),
                (Err(message), Err(begins)) => assert!(message.starts_with(begins), "{message}"),
                (read, _) => panic!("{json}: {:?}", read.map(|secret| secret.text)),
            }
        }
    }
}
