//! Whom copies trust.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The certificates of authorities.
pub(super) type Roots = Vec<CertificateDer<'static>>;

/// One for all connections.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Those of a file in PEM.
///
/// # Errors
///
/// When it cannot be read, or holds none.
pub(super) fn roots_of(path: &Path) -> io::Result<Roots> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let text = std::fs::read(path)?;
    let roots: Result<Roots, _> = CertificateDer::pem_slice_iter(&text).collect();
    let roots = roots.map_err(|_| invalid("it is no PEM".to_owned()))?;
    if roots.is_empty() {
        return Err(invalid("it holds no certificate".to_owned()));
    }
    store(&roots).map_err(|error| invalid(error.to_string()))?;
    Ok(roots)
}

/// Those of the system. One that cannot be read is left out.
pub(super) fn roots_of_the_system() -> Roots {
    rustls_native_certs::load_native_certs().certs
}

fn store(roots: &Roots) -> Result<RootCertStore, rustls::Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    Ok(store)
}

/// What a client trusts, in TLS 1.2 and 1.3.
///
/// # Errors
///
/// When the provider has nothing to offer for them.
pub(super) fn client(roots: &Roots) -> io::Result<Arc<ClientConfig>> {
    let mut store = RootCertStore::empty();
    // A system may hold certificates that are no use to us.
    let _ = store.add_parsable_certificates(roots.iter().cloned());
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
