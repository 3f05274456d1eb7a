//! Which settings have changed since the last start. Beside the audit log, a file has a digest of each
//! setting, so that the start record can name what is different.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use voxgate::Digest;

use super::settings;

const FILE: &str = ".settings-of-last-start";

/// A digest of each setting that is set. Of a secret, only that it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingDigests(BTreeMap<String, String>);

impl SettingDigests {
    pub(crate) fn of(vars: &[(OsString, OsString)]) -> Self {
        let digests = settings().filter_map(|setting| {
            let (_, value) = vars.iter().rfind(|(name, _)| name == setting.variable)?;
            let digest = match setting.secret {
                true => "set".to_owned(),
                false => Digest::of(value.as_encoded_bytes()).to_hex()[..12].to_owned(),
            };
            Some((setting.variable.to_owned(), digest))
        });
        Self(digests.collect())
    }

    /// The names of the settings that differ from those of the last start with this audit directory,
    /// separated by spaces. `None` if there was none, or if it cannot be read. Remembers these
    /// settings for the next start.
    pub(crate) fn changed_since_last_start(&self, directory: &Path) -> Option<String> {
        let path = directory.join(FILE);
        let before = fs::read_to_string(&path)
            .ok()
            .and_then(|text| Self::parse(&text));
        if before.as_ref() != Some(self)
            && let Err(error) = self.write(&path)
        {
            tracing::warn!(%error, "cannot remember the settings of this start");
        }
        let before = before?;
        let names: BTreeSet<&String> = before.0.keys().chain(self.0.keys()).collect();
        let changed = names
            .into_iter()
            .filter(|name| before.0.get(*name) != self.0.get(*name));
        Some(changed.map(String::as_str).collect::<Vec<_>>().join(" "))
    }

    fn parse(text: &str) -> Option<Self> {
        let pair = |line: &str| {
            let (name, digest) = line.split_once('=')?;
            Some((name.to_owned(), digest.to_owned()))
        };
        text.lines().map(pair).collect::<Option<_>>().map(Self)
    }

    /// Replaces the file at once.
    fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_file_name(format!("{FILE}.{}", std::process::id()));
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        for (name, digest) in &self.0 {
            writeln!(file, "{name}={digest}")?;
        }
        fs::rename(&new, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(vars: &[(&str, &str)]) -> SettingDigests {
        let vars: Vec<(OsString, OsString)> = vars
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        SettingDigests::of(&vars)
    }

    #[test]
    fn the_names_of_changed_settings_are_known_at_the_next_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = digests(&[
            ("VOXGATE_LISTEN", "hunter2"),
            ("VOXGATE_API_KEYS", "hunter2"),
        ]);
        assert_eq!(first.changed_since_last_start(directory.path()), None);
        assert_eq!(
            first.changed_since_last_start(directory.path()).as_deref(),
            Some("")
        );
        let second = digests(&[
            ("VOXGATE_LISTEN", "hunter3"),
            ("VOXGATE_API_KEYS", "hunter4"),
            ("VOXGATE_LOG", "warn"),
        ]);
        let changed = second.changed_since_last_start(directory.path());
        assert_eq!(changed.as_deref(), Some("VOXGATE_LISTEN VOXGATE_LOG"));
        let changed = digests(&[]).changed_since_last_start(directory.path());
        assert_eq!(
            changed.as_deref(),
            Some("VOXGATE_API_KEYS VOXGATE_LISTEN VOXGATE_LOG")
        );
        let kept = fs::read_dir(directory.path()).expect("readable").count();
        assert_eq!(kept, 1);
        second.changed_since_last_start(directory.path());
        let text = fs::read_to_string(directory.path().join(FILE)).expect("readable");
        assert!(!text.contains("hunter"), "{text}");
    }
}
