//! Chooses the certificate of a connection.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// The first certificate that is valid for the name that the client asks for. If none is, or the
/// client names none, the first certificate of all, as nginx does: the client then says what is
/// wrong with it.
pub(crate) struct ByServerName(pub(crate) Vec<Certificate>);

impl ByServerName {
    fn for_name(&self, name: Option<&str>) -> Option<&Certificate> {
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| self.0.iter().find(|own| own.is_for(&name)));
        named.or(self.0.first())
    }
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificate = self.for_name(hello.server_name())?;
        Some(Arc::clone(&certificate.key))
    }
}

impl std::fmt::Debug for ByServerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files = self.0.iter().map(|certificate| &certificate.info.file);
        f.debug_list().entries(files).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate::CertificateFiles;
    use super::super::server::provider;
    use super::*;

    #[test]
    fn the_certificate_is_chosen_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let load = |names: &[&str]| {
            let files = CertificateFiles {
                certificate: directory.path().join("certificate"),
                key: directory.path().join("key"),
            };
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
            std::fs::write(&files.certificate, made.cert.pem()).expect("a file");
            std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("a file");
            Certificate::load(&files, &provider()).map_err(|_| "problems")
        };
        let resolver = ByServerName(vec![
            load(&["tts.example"]).expect("a certificate"),
            load(&["*.voice.example", "voice.example"]).expect("a certificate"),
        ]);
        for (name, expected) in [
            (Some("tts.example"), "tts.example"),
            (Some("TTS.example"), "tts.example"),
            (Some("voice.example"), "*.voice.example"),
            (Some("eu.voice.example"), "*.voice.example"),
            (Some("a.eu.voice.example"), "tts.example"),
            (Some("other.example"), "tts.example"),
            (Some("not a name"), "tts.example"),
            (None, "tts.example"),
        ] {
            let found = resolver.for_name(name).expect("a certificate");
            assert_eq!(found.info.names[0], expected, "{name:?}");
        }
    }
}
