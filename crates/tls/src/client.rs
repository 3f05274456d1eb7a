//! TLS of a client: whom it trusts, and the certificate that it presents.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use voxgate_core::error::{ConfigError, Problem};

use super::certificate::{Certificate, CertificateFiles, CertificateInfo, chain, problem};
use super::client_auth::revocation_lists;
use super::follow::{self, Followed};
use super::server::provider;

/// The files that decide whom a client trusts, and who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificate authorities of the servers, in PEM. `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The lists of revoked certificates of these authorities (RFC 5280 §5), in PEM.
    pub crl: Option<PathBuf>,
    /// The certificate that is presented to servers that ask for one.
    pub certificate: Option<CertificateFiles>,
}

/// The protocols that a connection offers by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `http/1.1`.
    Http1,
    /// `h2`.
    Http2,
    /// `h2` and `http/1.1`; the server chooses.
    Either,
}

/// TLS of a client. Clones share one state.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientShared>);

struct ClientShared {
    files: ClientFiles,
    server_name: Option<ServerName<'static>>,
    in_force: ArcSwap<ClientInForce>,
}

/// What new connections use.
struct ClientInForce {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    either: Arc<ClientConfig>,
    certificate: Option<CertificateInfo>,
}

impl ClientTls {
    /// Loads the files. `server_name` is asked for (SNI) and verified in place of the host that a
    /// connection is made to.
    ///
    /// # Errors
    ///
    /// All problems of all files, each with the file's name, none with a part of a key.
    pub fn load(
        files: ClientFiles,
        server_name: Option<ServerName<'static>>,
    ) -> Result<Self, ConfigError> {
        let in_force = ArcSwap::from_pointee(ClientInForce::load(&files)?);
        Ok(Self(Arc::new(ClientShared {
            files,
            server_name,
            in_force,
        })))
    }

    /// Follows the files until the last clone is dropped: looks at them every two seconds, and puts
    /// changed ones in force for new connections. Files that cannot be used are logged, and the last
    /// good ones stay in force. The certificate authorities of the system are read when another file
    /// changes, and at the next start.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn follow(&self) -> io::Result<()> {
        follow::start(&self.0)
    }

    /// The configuration for a new connection.
    #[must_use]
    pub fn config(&self, alpn: Alpn) -> Arc<ClientConfig> {
        let in_force = self.0.in_force.load();
        Arc::clone(match alpn {
            Alpn::Http1 => &in_force.http1,
            Alpn::Http2 => &in_force.http2,
            Alpn::Either => &in_force.either,
        })
    }

    /// The name that every server must have a certificate for, if it is not the host of its URL.
    #[must_use]
    pub fn server_name(&self) -> Option<&ServerName<'static>> {
        self.0.server_name.as_ref()
    }

    /// The certificate that is presented, if there is one.
    #[must_use]
    pub fn certificate(&self) -> Option<CertificateInfo> {
        self.0.in_force.load().certificate.clone()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientTls").field(&self.0.files).finish()
    }
}

impl Followed for ClientShared {
    fn paths(&self) -> Vec<PathBuf> {
        let authorities = [&self.files.ca, &self.files.crl];
        let own = self.files.certificate.iter();
        let own = own.flat_map(|files| [files.certificate.clone(), files.key.clone()]);
        authorities
            .into_iter()
            .flatten()
            .cloned()
            .chain(own)
            .collect()
    }

    fn reload(&self) -> Result<Vec<CertificateInfo>, ConfigError> {
        let new = ClientInForce::load(&self.files)?;
        let certificate = new.certificate.clone();
        self.in_force.store(Arc::new(new));
        Ok(certificate.into_iter().collect())
    }
}

impl ClientInForce {
    fn load(files: &ClientFiles) -> Result<Self, ConfigError> {
        let provider = provider();
        let mut problems = Vec::new();
        let verifier = verifier(files, &provider);
        let verifier = verifier.map_err(|found| problems.extend(found)).ok();
        let own = files.certificate.as_ref();
        let own = own.map(|files| Certificate::load(files, &provider));
        let own = own.transpose().unwrap_or_else(|found| {
            problems.extend(found);
            None
        });
        let verifier = ConfigError::check(verifier, problems)?;
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::from(Problem::new("TLS", error.to_string())))?;
        let builder = builder.with_webpki_verifier(verifier);
        let mut config = match &own {
            Some(own) => {
                let key = SingleCertAndKey::from(Arc::clone(&own.key));
                builder.with_client_cert_resolver(Arc::new(key))
            }
            None => builder.with_no_client_auth(),
        };
        // A resumed session is not verified again: a certificate that has expired since would count.
        config.resumption = Resumption::disabled();
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Self {
            http1: offering(&[b"http/1.1"]),
            http2: offering(&[b"h2"]),
            either: offering(&[b"h2", b"http/1.1"]),
            certificate: own.map(|own| own.info),
        })
    }
}

/// What verifies the certificates of servers: they must be valid now and for the name, made for
/// servers, signed by one of the authorities, and not revoked.
fn verifier(
    files: &ClientFiles,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Vec<Problem>> {
    let roots = Arc::new(roots(files).map_err(|problem| vec![problem])?);
    let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = match &files.crl {
        // A list that is out of date may lack the newest revocations.
        Some(crl) => builder
            .with_crls(revocation_lists(crl)?)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration(),
        None => builder,
    };
    builder.build().map_err(|_| {
        let path = files.crl.as_ref().or(files.ca.as_ref());
        let path = path.map_or_else(|| PathBuf::from("TLS"), PathBuf::clone);
        let message = "cannot be used to verify certificates of servers; check its signature \
                       algorithm";
        vec![problem(&path, message)]
    })
}

fn roots(files: &ClientFiles) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &files.ca else {
        // A system can have certificates that rustls does not accept.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return match roots.is_empty() {
            true => Err(Problem::new(
                "TLS",
                "the system has no CA certificates to verify servers; install the package \
                 `ca-certificates`, or name a file of CA certificates",
            )),
            false => Ok(roots),
        };
    };
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|_| {
            problem(
                path,
                "has a certificate that cannot be read; name CA certificates",
            )
        })?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_names_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let made = rcgen::generate_simple_self_signed(["tts.example".to_owned()]);
        let made = made.expect("a certificate");
        let key = made.signing_key.serialize_pem();
        std::fs::write(path("tls.crt"), made.cert.pem()).expect("a file");
        std::fs::write(path("tls.key"), &key).expect("a file");
        std::fs::write(path("empty"), "").expect("a file");
        let own = |certificate: &str, key: &str| CertificateFiles {
            certificate: path(certificate),
            key: path(key),
        };
        for (ca, crl, own, expected) in [
            ("tls.crt", None, Some(own("tls.crt", "tls.key")), &[][..]),
            ("absent", None, None, &["absent: cannot be read"]),
            ("empty", None, None, &["empty: contains no certificate"]),
            (
                "tls.crt",
                Some("tls.crt"),
                None,
                &["tls.crt: contains no revocation list"],
            ),
            (
                "empty",
                None,
                Some(own("tls.crt", "empty")),
                &[
                    "empty: contains no certificate",
                    "empty: contains no private key",
                ],
            ),
        ] {
            let files = ClientFiles {
                ca: Some(path(ca)),
                crl: crl.map(path),
                certificate: own,
            };
            let problems: Vec<String> = match ClientTls::load(files, None) {
                Ok(tls) => {
                    assert_eq!(tls.config(Alpn::Http2).alpn_protocols, [b"h2"]);
                    Vec::new()
                }
                Err(error) => error.problems().iter().map(ToString::to_string).collect(),
            };
            assert_eq!(problems.len(), expected.len(), "{problems:?}");
            for (problem, expected) in problems.iter().zip(expected) {
                assert!(problem.contains(expected), "{problem}: {expected}");
            }
        }
    }
}
