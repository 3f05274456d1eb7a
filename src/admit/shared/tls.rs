//! Whom we trust to be Redis.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::error::Problem;

/// Trusts the authorities of a file, or those of the system.
pub(super) fn client(
    ca_file: Option<&Path>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<ClientConfig>> {
    let roots = match ca_file {
        Some(path) => match of_file(path) {
            Ok(roots) => roots,
            Err(message) => {
                problems.push(Problem::new("ca_file", message));
                return None;
            }
        },
        None => of_system(),
    };
    // The provider is named: a program may have several, and rustls would not choose.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions();
    match config {
        Ok(config) => Some(Arc::new(
            config.with_root_certificates(roots).with_no_client_auth(),
        )),
        Err(error) => {
            problems.push(Problem::new("url", format!("cannot have TLS: {error}")));
            None
        }
    }
}

fn of_file(path: &Path) -> Result<RootCertStore, String> {
    let show = path.display();
    let text = std::fs::read(path).map_err(|error| format!("{show} cannot be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|_| format!("{show} is no PEM"))?;
        let added = roots.add(certificate);
        added.map_err(|error| format!("{show} holds a certificate of no use: {error}"))?;
    }
    if roots.is_empty() {
        return Err(format!("{show} holds no certificate"));
    }
    Ok(roots)
}

/// A certificate of the system that cannot be read is left out.
fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
