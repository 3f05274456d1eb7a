//! Writes keys into a Secret by server-side apply
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>).

use std::collections::BTreeMap;
use std::{error, fmt};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::runtime;

use super::api::{Api, ApiError};
use super::parts;
use super::wire::{Status, StatusCause};

/// The field manager of what Voxgate writes.
const FIELD_MANAGER: &str = "voxgate";

/// One part of a Secret in the cluster, as it was read.
pub struct SecretPart {
    name: String,
    namespace: String,
    part: String,
    text: Option<String>,
    /// `None` if there is no Secret yet.
    identity: Option<Identity>,
    /// The labels that this field manager has set. Server-side apply removes what it does not repeat.
    labels: BTreeMap<String, String>,
}

impl fmt::Debug for SecretPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretPart")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

/// A Secret could not be read or written. It shows nothing of the Secret's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// Other field managers own the part: each with its name.
    Conflict(Vec<String>),
    /// The Secret was changed, deleted or made since it was read.
    Changed,
    /// The API server could not be asked, or refused, for this reason.
    Failed(String),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(managers) => write!(
                f,
                "nothing was written, because the keys belong to {}; change them there, or run the command \
                 without --apply and take the keys over with `kubectl apply --server-side \
                 --force-conflicts -f -`",
                managers.join(", ")
            ),
            Self::Changed => f.write_str(
                "nothing was written, because the Secret was changed at the same time; run the command again",
            ),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl error::Error for ApplyError {}

impl From<ApiError> for ApplyError {
    fn from(error: ApiError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs one request on a runtime of its own.
fn block_on<T>(request: impl Future<Output = Result<T, ApplyError>>) -> Result<T, ApplyError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ApplyError::Failed(error.to_string()))?;
    runtime.block_on(request)
}

/// What the account of the client lacks.
fn forbidden(error: &ApiError, verbs: &str, namespace: &str) -> ApplyError {
    ApplyError::Failed(format!(
        "{error}; this account needs {verbs} on `secrets` in the namespace `{namespace}`"
    ))
}

impl SecretPart {
    /// Reads a part of a Secret, which need not exist. The namespace is that of the kubeconfig's context,
    /// or of the pod, unless one is given. It blocks until the API server has answered, ten seconds at
    /// most.
    ///
    /// # Errors
    ///
    /// When there is no configuration of a client, and when the API server does not answer or refuses.
    pub fn read(name: &str, namespace: Option<&str>, part: &str) -> Result<Self, ApplyError> {
        block_on(async {
            let config = Api::config().await?;
            let namespace = namespace.unwrap_or(&config.default_namespace).to_owned();
            let found = Api::new(config)?.get_secret(&namespace, name).await;
            let found = found.map_err(|error| match error.is_forbidden() {
                true => forbidden(&error, "the verb `get`", &namespace),
                false => error.into(),
            })?;
            let place = format!("the Secret {namespace}/{name}");
            let text = match &found {
                Some(secret) if parts::are_fields(&secret["data"]) => {
                    return Err(ApplyError::Failed(format!(
                        "{place} has the fields of one key, which this command does not change; change them \
                         where the Secret comes from (`disabled` with the value `true` revokes the key), or \
                         delete the Secret"
                    )));
                }
                Some(secret) => decoded(&secret["data"][part]).map_err(|()| {
                    ApplyError::Failed(format!("{part} of {place} is not text; correct it first"))
                })?,
                None => None,
            };
            Ok(Self {
                name: name.to_owned(),
                namespace,
                part: part.to_owned(),
                text,
                labels: found.as_ref().map(own_labels).unwrap_or_default(),
                identity: found.as_ref().map(Identity::of),
            })
        })
    }

    /// The text of the part; `None` if it or its Secret does not exist.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The namespace and the name of the Secret.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Also sets these labels with the next [`apply`](Self::apply).
    #[must_use]
    pub fn with_labels(mut self, labels: BTreeMap<String, String>) -> Self {
        self.labels.extend(labels);
        self
    }

    /// Writes the part, unless the Secret was changed, deleted or made since it was read. A Secret that
    /// does not exist is made: empty at first, because server-side apply would overwrite one that was
    /// made in the meantime. It blocks as [`read`](Self::read) does, for each of its requests.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read), and when another field manager owns the part.
    pub fn apply(&self, text: &str) -> Result<(), ApplyError> {
        block_on(async {
            let api = Api::new(Api::config().await?)?;
            let query = format!("fieldManager={FIELD_MANAGER}");
            let identity = match &self.identity {
                Some(identity) => identity.clone(),
                None => {
                    let object = json!({
                        "apiVersion": "v1",
                        "kind": "Secret",
                        "metadata": { "name": self.name, "namespace": self.namespace },
                    });
                    let made = api.create(&self.namespace, &query, object.to_string());
                    Identity::of(&made.await.map_err(|failure| self.refusal(failure))?)
                }
            };
            let mut metadata = json!({
                "name": self.name,
                "namespace": self.namespace,
                "resourceVersion": identity.version,
                // Without it, a Secret that was deleted in the meantime would be made again.
                "uid": identity.uid,
            });
            if !self.labels.is_empty() {
                metadata["labels"] = json!(self.labels);
            }
            let object = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": metadata,
                // The field manager would not own `stringData`, which is written only.
                "data": { &self.part: STANDARD.encode(text) },
            });
            let applied = api.apply(&self.namespace, &self.name, &query, object.to_string());
            let applied = applied.await.map(drop);
            applied.map_err(|failure| self.refusal(failure))
        })
    }

    fn refusal(&self, (error, status): (ApiError, Status)) -> ApplyError {
        match error {
            ApiError::Refused(409, _) => conflict(&status),
            error if error.is_forbidden() => {
                forbidden(&error, "the verbs `create` and `patch`", &self.namespace)
            }
            error => error.into(),
        }
    }
}

/// Which Secret was read, and in which version.
#[derive(Clone)]
struct Identity {
    uid: String,
    version: String,
}

impl Identity {
    fn of(secret: &Value) -> Self {
        let text = |name: &str| {
            let text = secret["metadata"][name].as_str();
            text.unwrap_or_default().to_owned()
        };
        Self {
            uid: text("uid"),
            version: text("resourceVersion"),
        }
    }
}

/// The labels of a Secret that Voxgate has applied
/// (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>).
fn own_labels(secret: &Value) -> BTreeMap<String, String> {
    let metadata = &secret["metadata"];
    let managers = metadata["managedFields"].as_array();
    let own = managers
        .into_iter()
        .flatten()
        .filter(|entry| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply");
    let labels = own.filter_map(|entry| entry["fieldsV1"]["f:metadata"]["f:labels"].as_object());
    let names = labels.flat_map(|labels| labels.keys().filter_map(|name| name.strip_prefix("f:")));
    names
        .filter_map(|name| {
            let value = metadata["labels"][name].as_str()?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// The text of a part, if there is one.
fn decoded(part: &Value) -> Result<Option<String>, ()> {
    let Some(text) = part.as_str() else {
        return Ok(None);
    };
    let bytes = STANDARD.decode(text).map_err(|_| ())?;
    String::from_utf8(bytes).map(Some).map_err(|_| ())
}

/// Why the API server reports a conflict. Of the messages, such as `conflict with
/// "kubectl-client-side-apply" using v1`, only the names of field managers are taken.
pub(crate) fn conflict(status: &Status) -> ApplyError {
    let conflicts = status.details.causes.iter();
    let conflicts = conflicts.filter(|cause| cause.reason == "FieldManagerConflict");
    let mut managers: Vec<String> = conflicts.map(manager).collect();
    managers.sort_unstable();
    managers.dedup();
    match managers.is_empty() {
        true => ApplyError::Changed,
        false => ApplyError::Conflict(managers),
    }
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
        let expected = "the field manager `argocd` (.data.keys.toml)".to_owned();
        assert_eq!(conflict(&status), ApplyError::Conflict(vec![expected]));
        assert_eq!(conflict(&Status::default()), ApplyError::Changed);
    }
}
