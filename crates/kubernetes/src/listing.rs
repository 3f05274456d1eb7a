//! The keys of Secrets, read once, for commands.

use std::fmt;

use tokio::runtime;
use voxgate::Problem;
use voxgate::keys::Key;

use super::collection::SecretCollection;
use super::connection::{connect, missing_right};
use super::key_watch::WatchSettings;

/// The keys of the Secrets that a gateway with the same settings would watch.
#[derive(Clone)]
pub struct ListedKeys {
    /// Each key with the name of its Secret, ordered by these names.
    pub keys: Vec<(String, Key)>,
    /// How many Secrets there are.
    pub secrets: usize,
    /// What is wrong with Secrets. Their keys are left out. A gateway that knew a good version of such
    /// a Secret keeps its keys in force.
    pub problems: Vec<Problem>,
    /// Warnings about keys.
    pub notices: Vec<Problem>,
}

impl ListedKeys {
    /// Lists the Secrets once. It blocks until the API server has answered, twenty seconds at most for
    /// a hundred Secrets.
    ///
    /// # Errors
    ///
    /// What the API server or the configuration of the client lacks, as a message for people. It shows
    /// nothing of a Secret.
    pub fn read(settings: &WatchSettings) -> Result<Self, String> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start a task: {error}"))?;
        runtime.block_on(async {
            let (api, selection) = connect(settings).await.map_err(|error| error.to_string())?;
            let listed = api.list(&selection).await;
            let (secrets, _) = listed.map_err(|error| match error.is_forbidden() {
                true => {
                    let advice = missing_right(&settings.secrets, "list", &selection.namespace);
                    format!("{error}{advice}")
                }
                false => error.to_string(),
            })?;
            let mut collection = SecretCollection::new(&selection.namespace, settings.dialect);
            collection.replace(secrets);
            let settled = collection.settle();
            let keys = collection.keys();
            Ok(Self {
                keys: keys
                    .map(|(secret, key)| (secret.to_owned(), key.clone()))
                    .collect(),
                secrets: collection.len(),
                problems: settled.problems,
                notices: settled.notices,
            })
        })
    }
}

impl fmt::Debug for ListedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListedKeys")
            .field("secrets", &self.secrets)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}
