//! Writes keys into a Secret by server-side apply
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>).

use std::{error, fmt};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::runtime;

use super::api::{Api, ApiError};
use super::wire::{Status, StatusCause};

/// The field manager of what Voxgate writes.
const FIELD_MANAGER: &str = "voxgate";

/// A Secret with one part to write.
pub struct ApplySecret<'a> {
    /// The name of the Secret.
    pub name: &'a str,
    /// Its namespace; `None` for that of the kubeconfig's context, or of the pod.
    pub namespace: Option<&'a str>,
    /// The name of the part.
    pub part: &'a str,
    /// The content of the part.
    pub text: &'a str,
    /// Takes the part over from other field managers.
    pub force: bool,
}

impl fmt::Debug for ApplySecret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplySecret")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

/// A Secret could not be written. It shows nothing of the Secret's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// Other field managers own the part: each with its name.
    Conflict(Vec<String>),
    /// The API server could not be asked, or refused, for this reason.
    Failed(String),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(managers) => write!(
                f,
                "the Secret is also written by {}; change the keys there, or take the Secret over",
                managers.join(", ")
            ),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl error::Error for ApplyError {}

/// Writes one part of a Secret, which is made if it does not exist. Returns the namespace. It blocks
/// until the API server has answered, ten seconds at most.
///
/// # Errors
///
/// When there is no configuration of a client, when the API server does not answer or refuses, and when
/// another field manager owns the part.
pub fn apply(secret: &ApplySecret<'_>) -> Result<String, ApplyError> {
    let failed = |error: ApiError| ApplyError::Failed(error.to_string());
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ApplyError::Failed(error.to_string()))?;
    runtime.block_on(async {
        let config = Api::config().await.map_err(failed)?;
        let namespace = secret.namespace.unwrap_or(&config.default_namespace);
        let namespace = namespace.to_owned();
        let api = Api::new(config).map_err(failed)?;
        let object = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": secret.name, "namespace": namespace },
            // The field manager would not own `stringData`, which is written only.
            "data": { secret.part: STANDARD.encode(secret.text) },
        });
        let force = if secret.force { "&force=true" } else { "" };
        let query = format!("fieldManager={FIELD_MANAGER}{force}");
        let applied = api.apply(&namespace, secret.name, &query, object.to_string());
        match applied.await {
            Ok(()) => Ok(namespace),
            Err((ApiError::Refused(409, _), status)) => {
                Err(ApplyError::Conflict(managers(&status)))
            }
            Err((error, _)) if error.is_forbidden() => Err(ApplyError::Failed(format!(
                "{error}; the account of this kubeconfig needs the verbs `create` and `patch` on \
                 `secrets` in the namespace `{namespace}`"
            ))),
            Err((error, _)) => Err(failed(error)),
        }
    })
}

/// The field managers of a conflict. Only their names are taken from the messages, such as `conflict
/// with "kubectl-client-side-apply" using v1`.
fn managers(status: &Status) -> Vec<String> {
    let conflicts = status.details.causes.iter();
    let conflicts = conflicts.filter(|cause| cause.reason == "FieldManagerConflict");
    let mut managers: Vec<String> = conflicts.map(manager).collect();
    managers.sort_unstable();
    managers.dedup();
    if managers.is_empty() {
        managers.push("another field manager".to_owned());
    }
    managers
}

fn manager(cause: &StatusCause) -> String {
    let quoted = cause.message.split('"').nth(1).unwrap_or_default();
    let is_name = !quoted.is_empty()
        && quoted.len() <= 128
        && quoted.bytes().all(|byte| byte.is_ascii_graphic());
    match is_name {
        true => format!("the field manager `{quoted}` ({})", field(&cause.field)),
        false => "another field manager".to_owned(),
    }
}

/// The name of a field, such as `.data.keys.toml`.
fn field(field: &str) -> &str {
    let is_name = field.len() <= 300 && field.bytes().all(|byte| byte.is_ascii_graphic());
    if is_name { field } else { "a field" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_names_its_field_managers_and_nothing_else() {
        let json = r#"{"reason":"Conflict","details":{"causes":[
            {"reason":"FieldManagerConflict","message":"conflict with \"argocd\" using v1","field":".data.keys.toml"},
            {"reason":"FieldManagerConflict","message":"conflict with \"argocd\" using v1","field":".data.keys.toml"},
            {"reason":"Other","message":"\"hunter2\"","field":"x"}]}}"#;
        let status: Status = serde_json::from_str(json).expect("a status");
        assert_eq!(
            managers(&status),
            ["the field manager `argocd` (.data.keys.toml)"]
        );
        assert_eq!(managers(&Status::default()), ["another field manager"]);
    }
}
