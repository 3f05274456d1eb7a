//! The keys in `VOXGATE_API_KEYS`. If a key is also in the keys file, the keys file decides.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use voxgate::env::{Environment, path_to_show, read_text};
use voxgate::{Dialect, Digest, Key, KeyRing, RawCredential, Verify as _, VerifyOutcome};

const LIST: &str = "VOXGATE_API_KEYS";
const FILE: &str = "VOXGATE_API_KEYS_FILE";

/// The ids of the keys, and the forms in which clients present them.
#[derive(Default)]
pub(super) struct ListedKeys {
    forms: Vec<(String, Vec<Vec<u8>>)>,
    /// A note about the list, for the user.
    pub(super) note: Option<String>,
}

impl ListedKeys {
    pub(super) fn of(environment: &Environment, dialect: Dialect) -> Self {
        let mut listed = Self::default();
        if let Some(text) = environment.get(LIST) {
            listed.add(text.split(','), dialect);
        } else if let Some(path) = environment.get(FILE) {
            match read_text(Path::new(path)) {
                Ok(text) => listed.add(text.lines(), dialect),
                Err(error) => listed.note = Some(unread(path, &error)),
            }
        }
        listed
    }

    fn add<'a>(&mut self, keys: impl Iterator<Item = &'a str>, dialect: Dialect) {
        for (index, key) in keys.map(str::trim).enumerate() {
            if !key.is_empty() {
                let forms = dialect.readings(key.as_bytes());
                self.forms.push((format!("env-{}", index + 1), forms));
            }
        }
    }

    /// The ids, by the digest of each form.
    pub(super) fn by_digest(&self) -> HashMap<String, &str> {
        let forms = self.forms.iter();
        let digests = forms.flat_map(|(id, forms)| {
            let digests = forms.iter().map(|form| Digest::of(form).to_hex());
            digests.map(|digest| (digest, id.as_str()))
        });
        digests.collect()
    }

    /// Warnings about keys that are in this list and in the file.
    pub(super) fn warnings(&self, keys: &[Key]) -> Vec<String> {
        let mut warnings: Vec<String> = self.note.clone().into_iter().collect();
        if self.forms.is_empty() {
            return warnings;
        }
        let Ok(ring) = KeyRing::new(keys.iter().cloned()) else {
            return warnings;
        };
        for (id, forms) in &self.forms {
            let known = forms
                .iter()
                .find_map(|form| match ring.verify(RawCredential::new(form)) {
                    VerifyOutcome::Ready(Ok(principal)) => Some(principal),
                    VerifyOutcome::Ready(Err(denial)) => denial.principal().cloned(),
                    VerifyOutcome::Pending(_) => None,
                });
            if let Some(principal) = known {
                warnings.push(format!(
                    "warning: key `{}` has the same secret as `{id}` in {LIST}; the keys file \
                decides; remove it from that list",
                    principal.id()
                ));
            }
        }
        warnings
    }
}

fn unread(path: &str, error: &io::Error) -> String {
    let path = path_to_show(Path::new(path)).map_or(String::new(), |path| format!(" ({path})"));
    format!("note: {FILE}{path} cannot be read ({error}), so its keys were not compared")
}
