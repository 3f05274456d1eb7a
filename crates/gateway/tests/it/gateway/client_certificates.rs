//! Certificates of clients: who is let in, and as which key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use voxgate::Digest;

use super::forwarding::mirror;
use super::harness::{KEY, Program, Started};

const IVR: &str = "spiffe://example.org/ns/voice/sa/ivr";

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate with its key.
struct Identity(CertificateDer<'static>, KeyPair);

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(authority: &Authority, uri: &str, serial: u64, last_year: i32) -> Identity {
    let mut params = CertificateParams::default();
    let uri = Ia5String::try_from(uri).unwrap();
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(last_year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    Identity(certificate.der().clone(), key)
}

/// A directory with the gateway's certificate, the authority of clients, a list of revoked
/// certificates (serial number 7) and keys.
struct Files(tempfile::TempDir);

impl Files {
    fn new(authority: &Authority) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let own = rcgen::generate_simple_self_signed(["tts.example".to_owned()]).unwrap();
        files.write("tls.crt", &own.cert.pem());
        files.write("tls.key", &own.signing_key.serialize_pem());
        files.write("clients.crt", &authority.pem());
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(7_u64),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        files.write(
            "clients.crl",
            &list.signed_by(authority).unwrap().pem().unwrap(),
        );
        files.keys("");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The key of the certificate, with these further fields, and one of a secret.
    fn keys(&self, more: &str) {
        let digest = Digest::of(KEY.as_bytes()).to_hex();
        self.write(
            "keys.new",
            &format!(
                "[[key]]\nid = \"ivr\"\ncertificate = \"{IVR}\"\n{more}\n\
                 [[key]]\nid = \"web\"\nsha256 = \"{digest}\"\n"
            ),
        );
        std::fs::rename(self.path("keys.new"), self.path("keys.toml")).unwrap();
    }

    async fn start(&self, auth: &str) -> Started {
        Program::gateway(mirror().await)
            .var("VOXGATE_KEYS_FILE", self.path("keys.toml"))
            .var("VOXGATE_TLS_CERT_FILE", self.path("tls.crt"))
            .var("VOXGATE_TLS_KEY_FILE", self.path("tls.key"))
            .var("VOXGATE_TLS_CLIENT_CA_FILE", self.path("clients.crt"))
            .var("VOXGATE_TLS_CLIENT_CRL_FILE", self.path("clients.crl"))
            .var("VOXGATE_TLS_CLIENT_AUTH", auth)
            .var("VOXGATE_LIMIT_AUTH_FAILURES", "0")
            .start()
    }

    /// Sends a request with this certificate; `None` if TLS does not let the client in.
    async fn ask(
        &self,
        gateway: &Started,
        identity: Option<&Identity>,
        headers: &str,
    ) -> Option<String> {
        let config = client(&self.path("tls.crt"), identity);
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let name = ServerName::try_from("tts.example").unwrap();
        let mut stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .ok()?;
        let request = format!(
            "GET /v1/x HTTP/1.1\r\nHost: tts.example\r\n{headers}Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        // In TLS 1.3, a client learns that it is not let in when it reads.
        let read = stream.read_to_end(&mut answer).await;
        read.ok().filter(|_| !answer.is_empty())?;
        Some(String::from_utf8(answer).unwrap())
    }
}

fn client(trusted: &Path, identity: Option<&Identity>) -> Arc<ClientConfig> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(trusted).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(Identity(certificate, key)) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder
                .with_client_auth_cert(vec![certificate.clone()], key)
                .unwrap()
        }
    })
}

/// The decision about the request with this answer.
fn decision(gateway: &Started, answer: &str) -> Value {
    let id = answer
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "));
    let id = id.unwrap_or_else(|| panic!("no request id: {answer}"));
    gateway.wait_for_record("decision", |record| {
        record["event"] == "decision" && record["request_id"] == id
    })
}

#[tokio::test]
async fn a_certificate_is_the_credential_of_its_key() {
    let authority = authority();
    let files = Files::new(&authority);
    let gateway = files.start("optional").await;
    let ivr = issue(&authority, IVR, 1, 2100);
    let answer = files.ask(&gateway, Some(&ivr), "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let accepted = decision(&gateway, &answer);
    assert_eq!(
        (&accepted["auth_method"], &accepted["key_id"]),
        (&"certificate".into(), &"ivr".into())
    );
    assert!(answer.contains(r#""x-voxgate-key-id":["ivr"]"#), "{answer}");

    // A credential in the request decides, if there is one.
    let bearer = format!("Authorization: Bearer {KEY}\r\n");
    let answer = files.ask(&gateway, Some(&ivr), &bearer).await.unwrap();
    assert_eq!(decision(&gateway, &answer)["key_id"], "web");
    let wrong = "Authorization: Bearer wrong-key-of-a-guesser\r\n";
    let answer = files.ask(&gateway, Some(&ivr), wrong).await.unwrap();
    assert_eq!(decision(&gateway, &answer)["reason"], "unknown_credential");
    // Without a certificate, a client needs a key. A name or a header is no certificate.
    let answer = files.ask(&gateway, None, &bearer).await.unwrap();
    assert_eq!(decision(&gateway, &answer)["auth_method"], "api_key");
    for headers in [
        String::new(),
        format!("Authorization: Bearer {IVR}\r\n"),
        format!("X-Forwarded-Client-Cert: URI={IVR}\r\n"),
        format!("Client-Cert: {IVR}\r\n"),
    ] {
        let answer = files.ask(&gateway, None, &headers).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{headers}: {answer}");
    }
    // A certificate of the authority that is no key's.
    let other = issue(&authority, "spiffe://example.org/other", 2, 2100);
    let answer = files.ask(&gateway, Some(&other), "").await.unwrap();
    assert_eq!(decision(&gateway, &answer)["reason"], "unknown_credential");

    // It is revoked like any other key.
    files.keys("disabled = true");
    gateway.wait_for_record("change of keys", |record| record["event"] == "keys");
    let answer = files.ask(&gateway, Some(&ivr), "").await.unwrap();
    let refused = decision(&gateway, &answer);
    assert_eq!(
        (&refused["reason"], &refused["key_id"]),
        (&"disabled_credential".into(), &"ivr".into())
    );
}

#[tokio::test]
async fn certificates_that_are_not_good_let_no_client_in() {
    let authority_of_clients = authority();
    let files = Files::new(&authority_of_clients);
    let good = issue(&authority_of_clients, IVR, 1, 2100);
    for (auth, without) in [("required", false), ("optional", true)] {
        let gateway = files.start(auth).await;
        assert!(files.ask(&gateway, Some(&good), "").await.is_some());
        let answered = files.ask(&gateway, None, "").await.is_some();
        assert_eq!(answered, without, "{auth}");
        for (what, bad) in [
            ("expired", issue(&authority_of_clients, IVR, 1, 2021)),
            ("of another authority", issue(&authority(), IVR, 1, 2100)),
            ("revoked", issue(&authority_of_clients, IVR, 7, 2100)),
        ] {
            let answer = files.ask(&gateway, Some(&bad), "").await;
            assert_eq!(answer, None, "{what}, {auth}");
        }
        gateway.wait_for_record("rejection", |record| record["reason"] == "tls_handshake");
    }
}
