//! A certificate with its key, as files have them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use voxgate_core::error::Problem;
use voxgate_core::files;
use webpki::EndEntityCert;
use x509_cert::der::Decode as _;

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by the intermediate ones, in PEM. If a file of this name with
    /// `.ocsp` at its end is there, it is an OCSP response in DER, and is stapled (RFC 6066 §8).
    pub certificate: PathBuf,
    /// The private key in PEM: PKCS #8, PKCS #1 or SEC 1, without a passphrase.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// The file of the OCSP response.
    pub(crate) fn ocsp(&self) -> PathBuf {
        let mut name = self.certificate.clone().into_os_string();
        name.push(".ocsp");
        name.into()
    }
}

/// What is known about a certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateInfo {
    /// The file that it is from.
    pub file: PathBuf,
    /// The DNS names that it is valid for.
    pub names: Vec<String>,
    /// The first moment at which it is not valid any more.
    pub not_after: SystemTime,
}

/// A certificate that can be presented.
pub(crate) struct Certificate {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) info: CertificateInfo,
}

impl Certificate {
    /// Loads a certificate and its key.
    ///
    /// # Errors
    ///
    /// All problems of the files. None of them contains a part of the key.
    pub(crate) fn load(
        files: &CertificateFiles,
        provider: &CryptoProvider,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let chain = chain(&files.certificate).map_err(|problem| problems.push(problem));
        let key = private_key(&files.key).map_err(|problem| problems.push(problem));
        let ocsp = match std::fs::read(files.ocsp()) {
            Ok(response) => Some(response).filter(|response| !response.is_empty()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                problems.push(problem(&files.ocsp(), format!("cannot be read: {error}")));
                None
            }
        };
        let (Ok(chain), Ok(key)) = (chain, key) else {
            return Err(problems);
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let wrong = |path: &Path, message: String| vec![problem(path, message)];
        let signing = provider.key_provider.load_private_key(key).map_err(|_| {
            let message = "is a key that TLS cannot use; make an ECDSA P-256, Ed25519 or RSA key of \
                           at least 2048 bits";
            wrong(&files.key, message.to_owned())
        })?;
        let info = info(files, &chain[0]).map_err(|problem| vec![problem])?;
        let mut key = CertifiedKey::new(chain, signing);
        key.keys_match().map_err(|_| {
            let other = files.certificate.display();
            wrong(
                &files.key,
                format!("is not the key of the first certificate in {other}; name its key"),
            )
        })?;
        key.ocsp = ocsp;
        Ok(Self {
            key: Arc::new(key),
            info,
        })
    }

    /// Whether it is valid for this name.
    pub(crate) fn is_for(&self, name: &ServerName<'_>) -> bool {
        let certificate = self.key.cert.first().map(EndEntityCert::try_from);
        let Some(Ok(certificate)) = certificate else {
            return false;
        };
        certificate.verify_is_valid_for_subject_name(name).is_ok()
    }
}

pub(crate) fn problem(path: &Path, message: impl Into<String>) -> Problem {
    Problem::new(path.display().to_string(), message)
}

pub(crate) fn read(path: &Path) -> Result<String, Problem> {
    files::read_text(path).map_err(|error| problem(path, format!("cannot be read: {error}")))
}

pub(crate) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let text = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.map_err(|_| problem(path, "is not PEM; convert the certificate to PEM"))?;
    if chain.is_empty() {
        let message = "contains no certificate; it must begin with -----BEGIN CERTIFICATE-----";
        return Err(problem(path, message));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    let text = read(path)?;
    if text.contains("ENCRYPTED") {
        let message = "is encrypted with a passphrase; store it without one, readable only by the \
                       gateway's user";
        return Err(problem(path, message));
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        let message = "contains no private key in PEM; it must have -----BEGIN PRIVATE KEY-----";
        problem(path, message)
    })
}

fn info(files: &CertificateFiles, der: &CertificateDer<'_>) -> Result<CertificateInfo, Problem> {
    let unusable = || {
        let message = "is a certificate that cannot be read; TLS needs X.509 version 3 with a \
                       subject alternative name";
        problem(&files.certificate, message)
    };
    let end_entity = EndEntityCert::try_from(der).map_err(|_| unusable())?;
    let names = end_entity.valid_dns_names().map(str::to_owned).collect();
    let parsed = x509_cert::Certificate::from_der(der).map_err(|_| unusable())?;
    let not_after = parsed.tbs_certificate.validity.not_after.to_system_time();
    Ok(CertificateInfo {
        file: files.certificate.clone(),
        names,
        not_after,
    })
}
