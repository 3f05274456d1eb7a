//! The connection for the Secrets with keys, and what their reader may lack.

use super::api::{Api, ApiError, Selection};
use super::key_watch::{WatchSettings, WatchedSecrets};

/// Reads the configuration of the client. It connects with the first request.
pub(crate) async fn connect(settings: &WatchSettings) -> Result<(Api, Selection), ApiError> {
    let config = Api::config().await?;
    let namespace = settings.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let selector = match &settings.secrets {
        WatchedSecrets::Named(name) => ("fieldSelector", format!("metadata.name={name}")),
        WatchedSecrets::Labelled(labels) => ("labelSelector", labels.clone()),
    };
    let selection = Selection {
        namespace,
        selector,
    };
    Ok((Api::new(config)?, selection))
}

/// Which right the Role of the reader lacks.
pub(crate) fn missing_right(secrets: &WatchedSecrets, verb: &str, namespace: &str) -> String {
    let resource = match secrets {
        WatchedSecrets::Named(name) => format!("`secrets` with resourceNames [`{name}`]"),
        WatchedSecrets::Labelled(_) => "`secrets`".to_owned(),
    };
    format!(
        "; give the ServiceAccount of the gateway a Role with the verb `{verb}` on {resource} in the \
         namespace `{namespace}`, and a RoleBinding"
    )
}
