//! Certificates for servers with TLS.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// Certificates of one authority for `localhost`.
pub(super) struct Certificates(TempDir);

impl Certificates {
    pub(super) fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let key_pair = || KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new([]).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = key_pair();
        let root = authority
            .self_signed(&authority_key)
            .expect("a certificate");
        let issuer = Issuer::new(authority, authority_key);
        let server_key = key_pair();
        // OpenSSL takes a certificate with the name of its authority for one that signed itself.
        let mut of_server = CertificateParams::new(["localhost".to_owned()]).expect("parameters");
        let name = &mut of_server.distinguished_name;
        name.push(DnType::CommonName, "localhost");
        let certificate = of_server.signed_by(&server_key, &issuer);
        let certificate = certificate.expect("a certificate");
        for (name, text) in [
            ("ca.pem", root.pem()),
            ("server.pem", certificate.pem()),
            ("server.key", server_key.serialize_pem()),
        ] {
            fs::write(directory.path().join(name), text).expect("written");
        }
        Self(directory)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The options of a server.
    pub(super) fn options(&self) -> Vec<String> {
        let files = [
            ("--tls-cert-file", "server.pem"),
            ("--tls-key-file", "server.key"),
            ("--tls-ca-cert-file", "ca.pem"),
        ];
        let files =
            files.map(|(name, file)| [name.to_owned(), self.path(file).display().to_string()]);
        let others = ["--tls-auth-clients", "no", "--tls-replication", "yes"];
        let others = others.map(str::to_owned);
        files.into_iter().flatten().chain(others).collect()
    }
}
