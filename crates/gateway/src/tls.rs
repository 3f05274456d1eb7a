//! TLS of outgoing connections: the CA certificates and the client configuration.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// CA certificates.
pub(crate) type Roots = Vec<CertificateDer<'static>>;

/// The cryptography for all connections.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Loads the CA certificates of `ca_file`, or those of the system. The system may have none.
///
/// # Errors
///
/// If the file cannot be read, is not PEM, or contains no usable certificate.
pub(crate) fn load_roots(ca_file: Option<&Path>) -> io::Result<Roots> {
    match ca_file {
        Some(path) => roots_from_file(path),
        None => Ok(system_roots()),
    }
}

/// The CA certificates in a PEM file.
fn roots_from_file(path: &Path) -> io::Result<Roots> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let text = std::fs::read(path)?;
    let roots: Result<Roots, _> = CertificateDer::pem_slice_iter(&text).collect();
    let roots = roots.map_err(|_| invalid("the file is not PEM".to_owned()))?;
    if roots.is_empty() {
        return Err(invalid("the file contains no certificate".to_owned()));
    }
    store(&roots).map_err(|error| invalid(error.to_string()))?;
    Ok(roots)
}

/// The CA certificates of the system. Certificates that cannot be read are skipped.
fn system_roots() -> Roots {
    rustls_native_certs::load_native_certs().certs
}

fn store(roots: &Roots) -> Result<RootCertStore, rustls::Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    Ok(store)
}

/// The configuration of a client that trusts these CA certificates, for TLS 1.2 and 1.3.
///
/// # Errors
///
/// If the cryptography provider supports neither version.
pub(crate) fn client(roots: &Roots) -> io::Result<Arc<ClientConfig>> {
    let mut store = RootCertStore::empty();
    // A system can have certificates that rustls does not accept.
    let _ = store.add_parsable_certificates(roots.iter().cloned());
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
