//! Puts changed certificates in force.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use voxgate_core::error::ConfigError;
use voxgate_core::files::Fingerprint;

use super::certificate::CertificateInfo;

/// How often the files are looked at.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// How long before its end a certificate is reported.
const EXPIRES_SOON: Duration = Duration::from_secs(7 * 24 * 3600);

/// A configuration that files decide about.
pub(crate) trait Followed: Send + Sync + 'static {
    /// Every file that the configuration depends on.
    fn paths(&self) -> Vec<PathBuf>;

    /// Puts the files in force as they are now.
    ///
    /// # Errors
    ///
    /// All problems of the files. What is in force stays so.
    fn reload(&self) -> Result<Vec<CertificateInfo>, ConfigError>;
}

/// Starts the thread, which ends when `shared` is dropped.
pub(crate) fn start<F: Followed>(shared: &Arc<F>) -> io::Result<()> {
    let watcher = Watcher {
        in_force: Fingerprint::now(&shared.paths()),
        last_look: None,
        refused: None,
        shared: Arc::downgrade(shared),
    };
    let thread = thread::Builder::new().name("voxgate-tls".to_owned());
    thread.spawn(move || watcher.run()).map(drop)
}

struct Watcher<F> {
    shared: Weak<F>,
    /// What the configuration in force is from.
    in_force: Fingerprint,
    last_look: Option<Fingerprint>,
    /// What could not be used.
    refused: Option<Fingerprint>,
}

impl<F: Followed> Watcher<F> {
    fn run(mut self) {
        loop {
            thread::sleep(POLL_EVERY);
            let Some(shared) = self.shared.upgrade() else {
                return;
            };
            self.look(&shared);
        }
    }

    /// Looks at the files. A change must look the same twice, because a certificate may be there
    /// before its key. Files that did not fit together are tried again at every look.
    fn look(&mut self, shared: &F) {
        let now = Fingerprint::now(&shared.paths());
        let settled = self.last_look.replace(now) == Some(now);
        if now == self.in_force {
            self.refused = None;
            return;
        }
        if !settled {
            return;
        }
        match shared.reload() {
            Ok(certificates) => {
                (self.in_force, self.refused) = (now, None);
                if certificates.is_empty() {
                    tracing::info!("TLS files loaded; new connections use them");
                }
                for certificate in certificates {
                    let file = certificate.file.display();
                    let names = certificate.names.join(", ");
                    tracing::info!(%file, names, "certificate loaded; new connections use it");
                    let left = certificate.not_after.duration_since(SystemTime::now());
                    if left.unwrap_or_default() < EXPIRES_SOON {
                        tracing::warn!(%file, "the certificate expires within a week; renew it");
                    }
                }
            }
            Err(error) if self.refused != Some(now) => {
                for problem in error.problems() {
                    tracing::error!("{problem}");
                }
                tracing::error!(
                    "the certificates were not exchanged; the last good ones stay in force"
                );
                self.refused = Some(now);
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CertificateFiles, MinVersion, ServerTls};
    use super::*;

    fn write(files: &CertificateFiles, name: &str) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        std::fs::write(&files.certificate, made.cert.pem()).expect("a file");
        std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("a file");
    }

    #[test]
    fn changed_files_count_when_they_fit_together() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = CertificateFiles {
            certificate: directory.path().join("tls.crt"),
            key: directory.path().join("tls.key"),
        };
        write(&files, "one.example");
        let tls =
            ServerTls::load(vec![files.clone()], MinVersion::Tls12, None).expect("certificates");
        let shared = tls.shared();
        let mut watcher = Watcher {
            in_force: Fingerprint::now(&shared.paths()),
            last_look: None,
            refused: None,
            shared: Arc::downgrade(&shared),
        };
        let mut names_after = |looks: usize| {
            for _ in 0..looks {
                watcher.look(&shared);
            }
            tls.certificates()[0].names.clone()
        };
        assert_eq!(names_after(2), ["one.example"]);
        let key = std::fs::read(&files.key).expect("a file");
        write(&files, "two.example");
        let new_key = std::fs::read(&files.key).expect("a file");
        // The certificate is there before its key.
        std::fs::write(&files.key, key).expect("a file");
        assert_eq!(names_after(3), ["one.example"]);
        std::fs::write(&files.key, new_key).expect("a file");
        assert_eq!(names_after(1), ["one.example"], "it may still be written");
        assert_eq!(names_after(1), ["two.example"]);
        std::fs::remove_file(&files.key).expect("a file");
        assert_eq!(names_after(3), ["two.example"]);
    }
}
