//! The configuration of TLS that new connections use.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::version::{TLS12, TLS13};
use voxgate_core::error::{ConfigError, Problem};

use super::certificate::{Certificate, CertificateFiles, CertificateInfo};
use super::client_auth::ClientAuth;
use super::follow::{self, Followed};
use super::resolver::ByServerName;

/// The oldest version of TLS that is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// TLS of a server. Clones share one state.
#[derive(Clone)]
pub struct ServerTls(Arc<Shared>);

pub(crate) struct Shared {
    files: Vec<CertificateFiles>,
    min_version: MinVersion,
    client_auth: Option<ClientAuth>,
    /// Session tickets outlive an exchange of certificates, so that clients can resume.
    tickets: Arc<dyn ProducesTickets>,
    in_force: ArcSwap<InForce>,
}

/// What new connections use.
struct InForce {
    config: Arc<ServerConfig>,
    certificates: Vec<CertificateInfo>,
}

/// The cryptography for all connections.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl ServerTls {
    /// Loads the certificates. The first one is for clients that name no host, or another one.
    ///
    /// HTTP/2 and HTTP/1.1 are offered by ALPN (RFC 7301), in this order.
    ///
    /// # Errors
    ///
    /// All problems of all files, each with the file's name, none with a part of a key.
    pub fn load(
        files: Vec<CertificateFiles>,
        min_version: MinVersion,
        client_auth: Option<ClientAuth>,
    ) -> Result<Self, ConfigError> {
        let tickets = ring::Ticketer::new().map_err(|_| {
            let message = "the system gave no randomness for session tickets; try again";
            ConfigError::from(Problem::new("TLS", message))
        })?;
        let in_force = InForce::load(&files, min_version, client_auth.as_ref(), &tickets)?;
        Ok(Self(Arc::new(Shared {
            files,
            min_version,
            client_auth,
            tickets,
            in_force: ArcSwap::from_pointee(in_force),
        })))
    }

    /// Follows the files until the last clone is dropped: looks at them every two seconds, and puts
    /// changed ones in force for new connections. Files that cannot be used are logged, and the last
    /// good ones stay in force.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn follow(&self) -> io::Result<()> {
        follow::start(&self.0)
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }

    /// The configuration for a new connection.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.in_force.load().config)
    }

    /// The certificates in force.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        self.0.in_force.load().certificates.clone()
    }
}

impl Followed for Shared {
    fn paths(&self) -> Vec<PathBuf> {
        let each = self.files.iter();
        let own =
            each.flat_map(|files| [files.certificate.clone(), files.key.clone(), files.ocsp()]);
        let of_clients = self.client_auth.iter().flat_map(ClientAuth::paths);
        own.chain(of_clients).collect()
    }

    fn reload(&self) -> Result<Vec<CertificateInfo>, ConfigError> {
        let client_auth = self.client_auth.as_ref();
        let new = InForce::load(&self.files, self.min_version, client_auth, &self.tickets)?;
        let certificates = new.certificates.clone();
        self.in_force.store(Arc::new(new));
        Ok(certificates)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerTls").field(&self.0.files).finish()
    }
}

impl InForce {
    fn load(
        files: &[CertificateFiles],
        min_version: MinVersion,
        client_auth: Option<&ClientAuth>,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Result<Self, ConfigError> {
        let provider = provider();
        let mut problems = Vec::new();
        let mut certificates = Vec::new();
        for files in files {
            match Certificate::load(files, &provider) {
                Ok(certificate) => certificates.push(certificate),
                Err(found) => problems.extend(found),
            }
        }
        let verifier = client_auth.map(|client_auth| client_auth.verifier(&provider));
        let verifier = verifier.transpose().unwrap_or_else(|found| {
            problems.extend(found);
            None
        });
        ConfigError::check(Some(()), problems)?;
        let infos = certificates.iter().map(|own| own.info.clone()).collect();
        let versions = match min_version {
            MinVersion::Tls12 => &[&TLS13, &TLS12][..],
            MinVersion::Tls13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder
            .with_protocol_versions(versions)
            .map_err(|error| ConfigError::from(Problem::new("TLS", error.to_string())))?;
        let resolver = Arc::new(ByServerName(certificates));
        let verifies = verifier.is_some();
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if verifies {
            // A resumed session is not verified again: a certificate that has expired or was revoked
            // since would count.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer = Arc::clone(tickets);
        }
        Ok(Self {
            config: Arc::new(config),
            certificates: infos,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn files(directory: &Path, certificate: &str, key: &str) -> CertificateFiles {
        CertificateFiles {
            certificate: directory.join(certificate),
            key: directory.join(key),
        }
    }

    #[test]
    fn every_problem_names_its_file_and_the_fix() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        let made = rcgen::generate_simple_self_signed(["tts.example".to_owned()]);
        let other = rcgen::generate_simple_self_signed(["tts.example".to_owned()]);
        let (made, other) = (made.expect("a certificate"), other.expect("a certificate"));
        let key = made.signing_key.serialize_pem();
        for (name, text) in [
            ("good.crt", made.cert.pem()),
            ("good.key", key.clone()),
            ("other.key", other.signing_key.serialize_pem()),
            ("empty", String::new()),
            ("text", "no PEM at all".to_owned()),
            ("encrypted.key", key.replace("PRIVATE", "ENCRYPTED PRIVATE")),
            ("mark.crt", format!("\u{feff}{}", made.cert.pem())),
        ] {
            std::fs::write(at.join(name), text).expect("a file");
        }
        std::fs::create_dir(at.join("directory")).expect("a directory");
        for (certificate, key, expected) in [
            ("good.crt", "good.key", &[][..]),
            ("mark.crt", "good.key", &[]),
            ("good.crt", "other.key", &["other.key: is not the key of"]),
            (
                "good.crt",
                "absent",
                &["absent: cannot be read: No such file"],
            ),
            ("directory", "good.key", &["directory: cannot be read"]),
            (
                "empty",
                "text",
                &[
                    "empty: contains no certificate",
                    "text: contains no private key",
                ],
            ),
            (
                "good.key",
                "good.crt",
                &["good.key: contains no certificate", "good.crt: contains no"],
            ),
            (
                "good.crt",
                "encrypted.key",
                &["encrypted.key: is encrypted"],
            ),
        ] {
            let loaded =
                ServerTls::load(vec![files(at, certificate, key)], MinVersion::Tls12, None);
            let problems: Vec<String> = match loaded {
                Ok(_) => Vec::new(),
                Err(error) => error.problems().iter().map(ToString::to_string).collect(),
            };
            assert_eq!(
                problems.len(),
                expected.len(),
                "{certificate} {key}: {problems:?}"
            );
            for (problem, expected) in problems.iter().zip(expected) {
                assert!(problem.contains(expected), "{problem}: {expected}");
                assert!(!problem.contains("BEGIN PRIVATE KEY-----\n"), "{problem}");
            }
        }
    }

    #[test]
    fn a_stapled_response_is_next_to_its_certificate() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = files(directory.path(), "tls.crt", "tls.key");
        let made = rcgen::generate_simple_self_signed(["tts.example".to_owned()]);
        let made = made.expect("a certificate");
        std::fs::write(&files.certificate, made.cert.pem()).expect("a file");
        std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("a file");
        let stapled = || {
            let certificate = Certificate::load(&files, &provider());
            certificate
                .map_err(|_| "problems")
                .expect("a certificate")
                .key
                .ocsp
                .clone()
        };
        assert_eq!(stapled(), None);
        std::fs::write(files.ocsp(), b"response").expect("a file");
        assert_eq!(stapled().as_deref(), Some(&b"response"[..]));
    }
}
