//! The source and the target of a change.

use std::path::PathBuf;

use clap::ArgMatches;
use voxgate::dialect::UnknownDialect;
use voxgate::env::{Environment, Settings, unmet_restrictions};
use voxgate::keys::KeysFile;
use voxgate::{Dialect, Policy, Principal, Problem};

use super::applied::AppliedSecret;
use super::cluster;
use super::failure::KeyCommandError;
use super::listed::ListedKeys;
use super::manifest::Manifest;
use super::store::{self, FileState, Store};
use super::watched::{LoadedKeys, WatchedKeys};

const FILE: &str = "VOXGATE_KEYS_FILE";
const DIALECT: &str = "VOXGATE_DIALECT";
const NO_CONTENT: &str = "\
needs the current content of the Secret, or its keys would be lost: pipe \
                `kubectl get secret NAME -o json` into --from-secret -, or give its source \
                with --file; `key new` and `key import` start a new Secret with --empty";

/// The keys file and the settings around it.
pub(super) struct Source {
    pub(super) path: Option<PathBuf>,
    /// The Secrets that a gateway with these settings watches. The flag `--file` comes first.
    pub(super) watched: Option<WatchedKeys>,
    /// The name of the file in messages about its content: its path.
    pub(super) name: String,
    /// The name in other messages. A path from a variable is not shown, because it may be a key,
    /// set in the wrong variable.
    place: String,
    /// The dialect for new keys and for plain keys in the input.
    pub(super) dialect: Dialect,
    /// The dialect in which the gateway reads the file, as far as it is known here.
    pub(super) gateways: Dialect,
    /// The keys that the gateway gets from the environment.
    pub(super) listed: ListedKeys,
    policy: Policy,
}

impl Source {
    pub(super) fn given(
        matches: &ArgMatches,
        environment: &Environment,
    ) -> Result<Self, KeyCommandError> {
        if !environment.problems().is_empty() {
            return Err(KeyCommandError::Wrong(environment.problems().to_vec()));
        }
        let given = matches.get_one::<String>("dialect").map(String::as_str);
        let set = environment.get(DIALECT);
        let named = |name: Option<&str>, place| {
            let wrong = |error: UnknownDialect| KeyCommandError::wrong(place, error.to_string());
            name.map_or(Ok(Dialect::Rime), str::parse).map_err(wrong)
        };
        let dialect = named(given.or(set), given.map_or(DIALECT, |_| "--dialect"))?;
        let gateways = named(set, DIALECT)?;
        let flag = matches.get_one::<PathBuf>("file").cloned();
        let watched = match flag {
            Some(_) => None,
            None => WatchedKeys::given(matches, environment)?,
        };
        let variable = || environment.get(FILE).map(PathBuf::from);
        let shown = |path: &PathBuf| path.display().to_string();
        let place = flag.as_ref().map_or(FILE.to_owned(), shown);
        let path = flag.or_else(variable);
        let gateways = if set.is_some() { gateways } else { dialect };
        Ok(Self {
            listed: ListedKeys::of(environment, gateways),
            policy: Settings::policy_from(environment).unwrap_or_else(|_| gateways.policy()),
            name: path.as_ref().map_or(String::new(), shown),
            place,
            path,
            watched,
            dialect,
            gateways,
        })
    }

    fn path(&self) -> Result<&PathBuf, KeyCommandError> {
        let message = format!("give the keys file, or set {FILE}");
        self.path
            .as_ref()
            .ok_or_else(|| KeyCommandError::wrong("--file", message))
    }

    /// Warnings about restrictions of a key that no request can meet, as far as the policy can be
    /// read here.
    pub(super) fn unmet(&self, key: &Principal) -> Vec<String> {
        let unmet = unmet_restrictions([key], &self.policy);
        unmet
            .iter()
            .map(|notice| format!("warning: {notice}"))
            .collect()
    }

    /// The keys of the Secrets or of the file.
    pub(super) fn load(&self) -> Result<LoadedKeys, KeyCommandError> {
        if let Some(watched) = &self.watched {
            return watched.load(self.gateways);
        }
        let text = store::read(self.path()?, &self.place)?;
        Ok(KeysFile::parse(&text, &self.name, self.gateways)?.into())
    }
}

/// Where a change is written.
pub(super) enum Target {
    File(Store),
    /// A manifest of a Secret, with the current content from the file or the cluster.
    Manifest(Manifest, String),
    /// A Secret in the cluster.
    Applied(AppliedSecret),
}

impl Target {
    /// Opens the target. A file stays locked until this is dropped.
    pub(super) fn open(matches: &ArgMatches, source: &mut Source) -> Result<Self, KeyCommandError> {
        let text = |name| matches.get_one::<String>(name).map(String::as_str);
        let Some(name) = text("kubernetes-secret") else {
            // `--now` also reaches a gateway that has begun with the keys file.
            if let Some(watched) = &source.watched
                && (source.path.is_none() || !flag(matches, "now"))
            {
                let message = format!(
                    "the keys are those of {}; give --kubernetes-secret {} and --apply, or --file for a keys \
                     file",
                    watched.describe(),
                    watched.name()
                );
                return Err(KeyCommandError::wrong("--kubernetes-secret", message));
            }
            let is_locked = !flag(matches, "without-lock");
            let store = Store::open(source.path()?, &source.place, is_locked)?;
            return Ok(Self::File(store));
        };
        let labels = matches.try_get_many::<String>("secret-label");
        let labels = labels.ok().flatten().into_iter().flatten();
        let manifest = Manifest::new(name, text("namespace"))?.labelled(labels)?;
        if flag(matches, "apply") {
            let secret = AppliedSecret::read(&manifest)?;
            source.name = format!("keys.toml of the Secret {}", secret.place());
            source.path = None;
            return Ok(Self::Applied(secret));
        }
        if let Some(path) = matches.get_one::<PathBuf>("from-secret") {
            let secret = cluster::read(path)?;
            source.name = format!("keys.toml of the Secret {name}");
            source.path = None;
            return Ok(Self::Manifest(manifest.following(&secret)?, secret.text));
        }
        if flag(matches, "empty") {
            source.path = None;
            return Ok(Self::Manifest(manifest, String::new()));
        }
        // If a missing file counted as empty, the manifest would delete all other keys.
        let Some(path) = &source.path else {
            return Err(KeyCommandError::wrong("--kubernetes-secret", NO_CONTENT));
        };
        match store::read(path, &source.place) {
            Ok(text) => Ok(Self::Manifest(manifest, text)),
            Err(KeyCommandError::Wrong(mut problems)) => {
                problems.push(Problem::new("--kubernetes-secret", NO_CONTENT));
                Err(KeyCommandError::Wrong(problems))
            }
            Err(failure) => Err(failure),
        }
    }

    /// The current content.
    pub(super) fn read(
        &self,
        source: &Source,
        absent: MissingFile,
    ) -> Result<FileState, KeyCommandError> {
        let read = match self {
            Self::File(store) => store.read()?,
            Self::Manifest(_, text) => FileState::of(text.clone()),
            Self::Applied(secret) => secret.state(),
        };
        match (&read.text, absent) {
            (None, MissingFile::IsWrong) if matches!(self, Self::Applied(_)) => {
                let message =
                    "does not exist; give the Secret that has the key (`voxgate key list`)";
                Err(KeyCommandError::wrong(&source.name, message))
            }
            (None, MissingFile::IsWrong) => {
                let message = "does not exist; give the keys file that has the key";
                Err(KeyCommandError::wrong(&source.place, message))
            }
            _ => Ok(read),
        }
    }
}

/// Whether a flag is given. Not every command has it.
fn flag(matches: &ArgMatches, name: &str) -> bool {
    let given = matches.try_get_one::<bool>(name);
    given.is_ok_and(|given| given.copied().unwrap_or_default())
}

/// How a command treats a missing file.
#[derive(Clone, Copy)]
pub(super) enum MissingFile {
    CountsAsEmpty,
    IsWrong,
}
