//! Certificates of clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use voxgate_core::error::Problem;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::certificate::{chain, problem, read};

/// Which certificates clients present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// The certificate authorities that sign them, in PEM.
    pub ca: PathBuf,
    /// The lists of revoked certificates of these authorities (RFC 5280 §5), in PEM.
    pub crl: Option<PathBuf>,
    /// Whether a client without a certificate is turned away. If not, it needs another credential.
    pub required: bool,
}

impl ClientAuth {
    /// What verifies certificates: they must be valid now, made for clients, signed by one of the
    /// authorities, and not revoked.
    pub(crate) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, Vec<Problem>> {
        let wrong = |path: &Path, message: &str| vec![problem(path, message)];
        let mut roots = RootCertStore::empty();
        for certificate in chain(&self.ca).map_err(|problem| vec![problem])? {
            roots.add(certificate).map_err(|_| {
                wrong(
                    &self.ca,
                    "has a certificate that cannot be read; name CA certificates",
                )
            })?;
        }
        let provider = Arc::clone(provider);
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match &self.crl {
            // A list that is out of date may lack the newest revocations.
            Some(crl) => builder
                .with_crls(revocation_lists(crl)?)
                .only_check_end_entity_revocation()
                .enforce_revocation_expiration(),
            None => builder,
        };
        let builder = match self.required {
            true => builder,
            false => builder.allow_unauthenticated(),
        };
        builder.build().map_err(|_| {
            let path = self.crl.as_ref().unwrap_or(&self.ca);
            wrong(
                path,
                "cannot be used to verify certificates of clients; check its signature \
                         algorithm",
            )
        })
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        [Some(&self.ca), self.crl.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
    }
}

pub(crate) fn revocation_lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Vec<Problem>> {
    let text = read(path).map_err(|problem| vec![problem])?;
    let lists = CertificateRevocationListDer::pem_slice_iter(text.as_bytes());
    match lists.collect::<Result<Vec<_>, _>>() {
        Ok(lists) if !lists.is_empty() => Ok(lists),
        _ => {
            let message =
                "contains no revocation list in PEM; it must have -----BEGIN X509 CRL-----";
            Err(vec![problem(path, message)])
        }
    }
}

/// A certificate that a client has proved to have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientIdentity {
    /// The URIs of the subject alternative name, such as a SPIFFE ID, and its DNS names in lower case.
    pub names: Vec<String>,
    /// The last moment at which the certificate is valid.
    pub not_after: SystemTime,
}

impl ClientIdentity {
    /// Reads a certificate that TLS has verified. `None` if it cannot be read.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
        let certificate = parsed.tbs_certificate;
        let not_after = certificate.validity.not_after.to_system_time();
        let names = match certificate.get::<SubjectAltName>() {
            Ok(Some((_, names))) => names.0,
            Ok(None) => Vec::new(),
            Err(_) => return None,
        };
        let names = names.into_iter().filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => {
                let uri = uri.to_string();
                uri.contains("://").then_some(uri)
            }
            // A name with a colon could be taken for a URI.
            GeneralName::DnsName(name) => {
                let name = name.to_string().to_ascii_lowercase();
                (!name.contains([':', '/', '*'])).then_some(name)
            }
            _ => None,
        });
        Some(Self {
            names: names.collect(),
            not_after,
        })
    }
}
