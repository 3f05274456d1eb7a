//! The JSON of the API server, as far as it is read.
//!
//! No type here implements `Debug`, and no error of the parser is passed on: both would show the
//! content of Secrets.

use serde::Deserialize;
use serde_json::Value;

/// A Secret. Its data is checked when it is read for keys, so that one wrong Secret spoils no list.
#[derive(Clone, Deserialize)]
pub(crate) struct Secret {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) data: Value,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    pub(crate) creation_timestamp: Option<String>,
    /// Set when it was deleted, and something delays its removal.
    pub(crate) deletion_timestamp: Option<String>,
}

/// A page of a list.
#[derive(Deserialize)]
pub(crate) struct SecretList {
    pub(crate) metadata: ListMetadata,
    #[serde(default)]
    pub(crate) items: Option<Vec<Secret>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListMetadata {
    pub(crate) resource_version: String,
    #[serde(default, rename = "continue")]
    pub(crate) next: Option<String>,
}

/// One line of a watch.
pub(crate) enum WatchEvent {
    /// Added or modified.
    Set(Secret),
    Deleted(Secret),
    /// Nothing has changed up to this version.
    Bookmark(String),
    /// The watch ends with this status code.
    Error(u16),
}

#[derive(Deserialize)]
struct RawEvent {
    r#type: String,
    object: Value,
}

impl WatchEvent {
    /// Reads one line. `None` if it is not an event of a watch of Secrets.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let raw: RawEvent = serde_json::from_slice(line).ok()?;
        let secret = || serde_json::from_value::<Secret>(raw.object.clone()).ok();
        let named = || secret().filter(|secret| !secret.metadata.name.is_empty());
        match raw.r#type.as_str() {
            "ADDED" | "MODIFIED" => named().map(Self::Set),
            "DELETED" => named().map(Self::Deleted),
            "BOOKMARK" => {
                let version = raw.object["metadata"]["resourceVersion"].as_str()?;
                Some(Self::Bookmark(version.to_owned()))
            }
            "ERROR" => {
                let code = raw.object["code"].as_u64().unwrap_or_default();
                Some(Self::Error(u16::try_from(code).unwrap_or_default()))
            }
            _ => None,
        }
    }
}

/// What the API server says about a request that it refuses.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) reason: String,
    pub(crate) details: StatusDetails,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct StatusDetails {
    pub(crate) causes: Vec<StatusCause>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct StatusCause {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) field: String,
}
