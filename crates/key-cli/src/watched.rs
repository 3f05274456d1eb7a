//! The Secrets that a gateway watches, for commands that read keys. Builds without the feature
//! `kubernetes` say that they cannot.

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate::keys::KeysFile;
use voxgate::{Dialect, Key, Problem};

use super::failure::KeyCommandError;
use super::manifest::Manifest;

const SECRET: &str = "VOXGATE_KEYS_KUBERNETES_SECRET";
const SELECTOR: &str = "VOXGATE_KEYS_KUBERNETES_SELECTOR";
const NAMESPACE: &str = "VOXGATE_KEYS_KUBERNETES_NAMESPACE";

/// Keys as they were read.
pub(super) struct LoadedKeys {
    pub(super) keys: Vec<Key>,
    /// The name of the Secret of each key, if they are of Secrets.
    pub(super) secrets: Option<Vec<String>>,
    pub(super) notices: Vec<Problem>,
    /// Secrets whose keys were left out.
    pub(super) problems: Vec<Problem>,
}

impl From<KeysFile> for LoadedKeys {
    fn from(file: KeysFile) -> Self {
        Self {
            keys: file.keys().to_vec(),
            secrets: None,
            notices: file.notices().to_vec(),
            problems: Vec::new(),
        }
    }
}

/// Which Secrets have the keys.
pub(super) struct WatchedKeys {
    /// The flag or the variable that says so.
    place: &'static str,
    secrets: Secrets,
    #[cfg_attr(
        not(feature = "kubernetes"),
        expect(dead_code, reason = "nothing is listed")
    )]
    namespace: Option<String>,
}

enum Secrets {
    Named(String),
    Labelled(String),
}

impl WatchedKeys {
    /// Those of the flags, otherwise those of the settings of the gateway.
    pub(super) fn given(
        matches: &ArgMatches,
        environment: &Environment,
    ) -> Result<Option<Self>, Problem> {
        let flag = |name| {
            let given = matches.try_get_one::<String>(name).ok().flatten();
            given.cloned()
        };
        let set = |name| environment.get(name).map(|text| text.trim().to_owned());
        let found = [
            ("--kubernetes-secret", flag("kubernetes-secret"), true),
            ("--kubernetes-selector", flag("kubernetes-selector"), false),
            (SECRET, set(SECRET), true),
            (SELECTOR, set(SELECTOR), false),
        ];
        let mut found = found
            .into_iter()
            .filter_map(|(place, text, is_name)| Some((place, text?, is_name)));
        let Some((place, text, is_name)) = found.next() else {
            return Ok(None);
        };
        let namespace = flag("namespace").or_else(|| set(NAMESPACE));
        let name = if is_name { &text } else { "any" };
        if let Err(problem) = Manifest::new(name, namespace.as_deref()) {
            let is_name = problem.place() == "--kubernetes-secret";
            let place = if is_name { place } else { problem.place() };
            return Err(Problem::new(place, problem.message()));
        }
        Ok(Some(Self {
            place,
            secrets: match is_name {
                true => Secrets::Named(text),
                false => Secrets::Labelled(text),
            },
            namespace,
        }))
    }

    /// Which Secrets these are, for people.
    pub(super) fn describe(&self) -> String {
        match &self.secrets {
            Secrets::Named(name) => format!("the Secret {name}"),
            Secrets::Labelled(labels) => format!("the Secrets with the label {labels}"),
        }
    }

    /// The name to give as `--kubernetes-secret`.
    pub(super) fn name(&self) -> &str {
        match &self.secrets {
            Secrets::Named(name) => name,
            Secrets::Labelled(_) => "NAME",
        }
    }

    /// Lists the Secrets in the cluster.
    #[cfg(feature = "kubernetes")]
    pub(super) fn load(&self, dialect: Dialect) -> Result<LoadedKeys, KeyCommandError> {
        use voxgate_kubernetes::{ListedKeys, WatchSettings, WatchedSecrets};

        let secrets = match &self.secrets {
            Secrets::Named(name) => WatchedSecrets::Named(name.clone()),
            Secrets::Labelled(labels) => WatchedSecrets::Labelled(labels.clone()),
        };
        let listed = ListedKeys::read(&WatchSettings {
            secrets,
            namespace: self.namespace.clone(),
            dialect,
            fallback: None,
        });
        let listed = listed.map_err(|why| {
            let message = format!("cannot list {}: {why}", self.describe());
            KeyCommandError::failed(self.place, message)
        })?;
        if listed.secrets == 0 {
            let message = format!(
                "{} does not exist; correct the name or the label, or give --namespace",
                self.describe()
            );
            return Err(KeyCommandError::failed(self.place, message));
        }
        let (secrets, keys) = listed.keys.into_iter().unzip();
        Ok(LoadedKeys {
            keys,
            secrets: Some(secrets),
            notices: listed.notices,
            problems: listed.problems,
        })
    }

    #[cfg(not(feature = "kubernetes"))]
    pub(super) fn load(&self, _: Dialect) -> Result<LoadedKeys, KeyCommandError> {
        let message = format!(
            "{} cannot be read, because this build lacks the feature `kubernetes`; use a build with it, or \
             write its keys.toml to a file and give --file",
            self.describe()
        );
        Err(KeyCommandError::wrong(self.place, message))
    }
}
