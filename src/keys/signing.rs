//! The secrets of keys that sign requests.
//!
//! A keys file holds digests, with which a signature cannot be checked. A key that signs names a
//! file with its secret, which is read with the keys file and must be the secret of that digest.

use std::fmt;
use std::path::{Path, PathBuf};

use voxgate_core::error::Problem;
use voxgate_core::files::{access_by_others, read_text};

use crate::dialect::Dialect;
use crate::secret::{Digest, Secret};

use super::key::Key;

/// What checks the signatures of one key.
#[derive(Clone)]
pub struct SigningSecret {
    /// `id:secret`.
    whole: Secret,
    /// Where the secret begins.
    secret: usize,
    pub(super) digest: Digest,
}

impl SigningSecret {
    /// The id that a signature names: the part of an Inworld key before its colon.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.whole.expose()[..self.secret - 1]
    }

    /// The secret that a signature is made with. Never log it.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.whole.expose()[self.secret..]
    }

    /// The digest under which a ring knows the key.
    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Reads the secret of `key` from its file.
    fn read(path: &Path, key: &Key) -> Result<Self, String> {
        let text = read_text(path).map_err(|error| {
            format!(
                "signing_secret_file: cannot read {} ({error}); mount the Secret that holds it, or \
                 remove the field",
                path.display()
            )
        })?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let whole = Secret::new(text).map_err(|error| {
            format!(
                "signing_secret_file: the content of {} {error}",
                path.display()
            )
        })?;
        let whole = Dialect::Inworld.decoded(whole);
        let digest = whole.digest();
        let colon = whole.expose().find(':').filter(|colon| *colon > 0);
        let Some(colon) = colon.filter(|colon| colon + 1 < whole.expose().len()) else {
            return Err(format!(
                "signing_secret_file: {} must hold `id:secret`, or its base64, as Inworld shows the \
                 key",
                path.display()
            ));
        };
        if !key.digests().any(|known| known.matches(&digest)) {
            return Err(format!(
                "signing_secret_file: {} holds the secret of another key; its SHA-256 must be the \
                 sha256 of this key",
                path.display()
            ));
        }
        Ok(Self {
            whole,
            secret: colon + 1,
            digest,
        })
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(..)")
    }
}

/// Where the secret of a key that signs is, and the secret once it was read.
#[derive(Clone, Debug)]
pub(super) struct SigningFile {
    pub(super) path: PathBuf,
    pub(super) secret: Option<Box<SigningSecret>>,
}

/// Reads the secrets of all keys that sign. Each key that has none then is a problem.
pub(crate) fn read_secrets(
    keys: &mut [Key],
    file: &str,
    problems: &mut Vec<Problem>,
    notices: &mut Vec<Problem>,
) {
    for key in keys {
        let Some(path) = key.signing.as_ref().map(|signing| signing.path.clone()) else {
            continue;
        };
        let place = match key.line {
            Some(line) => format!("{file}:{line}"),
            None => file.to_owned(),
        };
        if let Some(access) = access_by_others(&path) {
            let message = format!(
                "signing_secret_file: {} can be {access} by every user of the machine; remove \
                 those permissions",
                path.display()
            );
            notices.push(Problem::new(place.clone(), message));
        }
        match SigningSecret::read(&path, key) {
            Ok(secret) => {
                key.signing = Some(SigningFile {
                    path,
                    secret: Some(Box::new(secret)),
                });
            }
            Err(message) => problems.push(Problem::new(place, message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeysFile;

    fn keys(sha256: &str, path: &Path) -> KeysFile {
        let text = format!(
            "[[key]]\nid = \"ivr\"\nsha256 = \"{sha256}\"\nsigning_secret_file = {:?}\n",
            path.display().to_string()
        );
        KeysFile::parse(&text, "keys.toml", Dialect::Inworld).expect("a good file")
    }

    fn read(content: &str, digest_of: &str) -> (Vec<Problem>, Option<(String, String)>) {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("secret");
        std::fs::write(&path, content).expect("written");
        let sha256 = Digest::of(digest_of.as_bytes()).to_hex();
        let (mut keys, _) = keys(&sha256, &path).into_parts();
        let (mut problems, mut notices) = (Vec::new(), Vec::new());
        read_secrets(&mut keys, "keys.toml", &mut problems, &mut notices);
        let signing = keys[0]
            .signing
            .as_ref()
            .and_then(|signing| signing.secret.as_ref());
        let parts = signing.map(|secret| (secret.id().to_owned(), secret.secret().to_owned()));
        (problems, parts)
    }

    #[test]
    fn the_file_holds_the_secret_of_its_key() {
        let parts = Some(("abc".to_owned(), "test-secret".to_owned()));
        for content in [
            "abc:test-secret",
            "abc:test-secret\r\n",
            "YWJjOnRlc3Qtc2VjcmV0\n",
        ] {
            let (problems, found) = read(content, "abc:test-secret");
            assert!(problems.is_empty(), "{problems:?}");
            assert_eq!(found, parts);
        }
        for (content, expected) in [
            ("abc:other-secret", "holds the secret of another key"),
            ("test-secret", "must hold `id:secret`"),
            ("", "signing_secret_file: the content of"),
        ] {
            let (problems, found) = read(content, "abc:test-secret");
            assert!(found.is_none());
            let shown = problems[0].to_string();
            assert!(shown.starts_with("keys.toml:1"), "{shown}");
            assert!(shown.contains(expected), "{shown}");
            assert!(!shown.contains("test-secret"), "{shown}");
        }
    }

    #[test]
    fn a_missing_file_is_a_problem_where_keys_are_served() {
        let sha256 = Digest::of(b"abc:test-secret").to_hex();
        let (mut keys, _) = keys(&sha256, Path::new("/nonexistent/secret")).into_parts();
        let (mut problems, mut notices) = (Vec::new(), Vec::new());
        read_secrets(&mut keys, "keys.toml", &mut problems, &mut notices);
        let shown = problems[0].to_string();
        assert!(shown.contains("cannot read /nonexistent/secret"), "{shown}");
        assert!(shown.contains("mount the Secret"), "{shown}");
        assert_eq!(
            format!(
                "{:?}",
                keys[0].signing.as_ref().and_then(|s| s.secret.as_ref())
            ),
            "None"
        );
    }
}
