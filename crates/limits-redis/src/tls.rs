//! The TLS configuration of the connection.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use voxgate::Problem;

/// A client that trusts the certificate authorities of a file, or those of the system.
pub(crate) fn client(
    ca_file: Option<&Path>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<ClientConfig>> {
    let roots = match ca_file {
        Some(path) => match from_file(path) {
            Ok(roots) => roots,
            Err(message) => {
                problems.push(Problem::new("ca_file", message));
                return None;
            }
        },
        None => from_system(),
    };
    // Name the provider, because rustls does not choose one if a program has several.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions();
    match config {
        Ok(config) => Some(Arc::new(
            config.with_root_certificates(roots).with_no_client_auth(),
        )),
        Err(error) => {
            problems.push(Problem::new("url", format!("cannot use TLS: {error}")));
            None
        }
    }
}

fn from_file(path: &Path) -> Result<RootCertStore, String> {
    let show = path.display();
    let text = std::fs::read(path).map_err(|error| {
        format!("cannot read {show}: {error}; check the path and its permissions")
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate =
            certificate.map_err(|_| format!("{show} is not PEM; use a CA bundle in PEM"))?;
        let added = roots.add(certificate);
        added.map_err(|error| {
            format!("{show} has an invalid certificate: {error}; remove or replace it")
        })?;
    }
    if roots.is_empty() {
        return Err(format!("{show} has no certificate; use a CA bundle in PEM"));
    }
    Ok(roots)
}

/// Loads the system's certificates. Skips those that cannot be read.
fn from_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
