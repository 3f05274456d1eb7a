//! What a command reads, and what becomes of its change.

use std::path::PathBuf;

use clap::ArgMatches;
use voxgate::env::Environment;
use voxgate::{Dialect, KeysFile, UnknownDialect};

use super::failure::Failure;
use super::manifest::Manifest;
use super::store;
use crate::settings;

const FILE: &str = "VOXGATE_KEYS_FILE";
const DIALECT: &str = "VOXGATE_DIALECT";

/// Which keys file is meant.
pub(super) struct Source {
    path: Option<PathBuf>,
    /// What people call it when it is there: its path.
    pub(super) name: String,
    /// What they call it otherwise. A path in a variable may be a key, set in the wrong one.
    place: String,
    /// In which a new key is issued, and a plain one read.
    pub(super) dialect: Dialect,
    /// In which the gateway reads the file, as far as is known here.
    pub(super) gateways: Dialect,
}

impl Source {
    pub(super) fn given(matches: &ArgMatches) -> Result<Self, Failure> {
        let environment = Environment::new(settings::environment(Vec::new()), &settings::names());
        if !environment.problems().is_empty() {
            return Err(Failure::Wrong(environment.problems().to_vec()));
        }
        let given = matches.get_one::<String>("dialect").map(String::as_str);
        let set = environment.get(DIALECT);
        let named = |name: Option<&str>, place| {
            let name = name.unwrap_or(settings::default_of(DIALECT));
            let wrong = |error: UnknownDialect| Failure::wrong(place, error.to_string());
            name.parse().map_err(wrong)
        };
        let dialect = named(given.or(set), given.map_or(DIALECT, |_| "--dialect"))?;
        let gateways = named(set, DIALECT)?;
        let flag = matches.get_one::<PathBuf>("file").cloned();
        let variable = || environment.get(FILE).map(PathBuf::from);
        let shown = |path: &PathBuf| path.display().to_string();
        let place = flag.as_ref().map_or(FILE.to_owned(), shown);
        let path = flag.or_else(variable);
        Ok(Self {
            name: path.as_ref().map_or(String::new(), shown),
            place,
            path,
            dialect,
            gateways: if set.is_some() { gateways } else { dialect },
        })
    }

    fn path(&self) -> Result<&PathBuf, Failure> {
        let message = format!("give the keys file, or set {FILE}");
        self.path
            .as_ref()
            .ok_or_else(|| Failure::wrong("--file", message))
    }

    /// The keys of the file.
    pub(super) fn load(&self) -> Result<KeysFile, Failure> {
        let text = store::read(self.path()?, &self.place)?;
        Ok(KeysFile::parse(&text, &self.name, self.gateways)?)
    }

    /// The text, if there is a file.
    fn text(&self) -> Result<Option<String>, Failure> {
        match &self.path {
            Some(path) if path.exists() => store::read(path, &self.place).map(Some),
            _ => Ok(None),
        }
    }
}

/// Where a change goes.
pub(super) enum Target {
    File,
    Manifest(Manifest),
}

impl Target {
    pub(super) fn given(matches: &ArgMatches) -> Result<Self, Failure> {
        let text = |name| matches.get_one::<String>(name).map(String::as_str);
        Ok(match text("kubernetes-secret") {
            Some(name) => Self::Manifest(Manifest::new(name, text("namespace"))?),
            None => Self::File,
        })
    }

    /// The content to start from, and who keeps it from being changed meanwhile.
    pub(super) fn open(
        &self,
        source: &Source,
        absent: Absent,
    ) -> Result<(String, Option<store::Store>), Failure> {
        let (text, store) = match self {
            Self::File => {
                let store = store::Store::lock(source.path()?, &source.place)?;
                (store.read()?, Some(store))
            }
            Self::Manifest(_) => (source.text()?, None),
        };
        match (text, absent) {
            (Some(text), _) => Ok((text, store)),
            (None, Absent::IsEmpty) => Ok((String::new(), store)),
            (None, Absent::IsWrong) => {
                let place = match &source.path {
                    Some(_) => source.place.as_str(),
                    None => "--file",
                };
                let message = "is not there; give the keys file that has the key";
                Err(Failure::wrong(place, message))
            }
        }
    }
}

/// What it means that there is no file.
#[derive(Clone, Copy)]
pub(super) enum Absent {
    IsEmpty,
    IsWrong,
}
