//! Servers with TLS: good ones are spoken to in the protocol that they choose, and bad ones are refused
//! for a reason that the error names.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;
use voxgate_tls::{CertificateFiles, ClientFiles, ClientTls};
use voxgate_upstream::{HealthCheck, SendErrorKind, Server, Settings};

use super::harness::{PATIENCE, Sender, serve_raw, settings, until};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for a name with its key. It is valid in these years.
struct Identity(CertificateDer<'static>, KeyPair, String);

fn issue(authority: &Authority, name: &str, serial: u64, years: (i32, i32)) -> Identity {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    Identity(certificate.der().clone(), key, certificate.pem())
}

const NOW: (i32, i32) = (2020, 2100);

/// A list that revokes serial number 7.
fn revocations(authority: &Authority, until: i32) -> String {
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(7_u64),
        revocation_time: date_time_ymd(2021, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2021, 1, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(authority).unwrap().pem().unwrap()
}

/// A server that answers with the version of HTTP of the request, and the number of its connections.
async fn serve(
    identity: &Identity,
    protocols: &[&str],
    clients: Option<&Authority>,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::try_from(identity.1.serialize_der()).unwrap();
    let mut config = builder
        .with_single_cert(vec![identity.0.clone()], key)
        .unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|own| own.as_bytes().to_vec())
        .collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let address = serve_raw(move |stream, _| {
        let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            count.fetch_add(1, Ordering::Relaxed);
            let service = hyper::service::service_fn(|request: Request<_>| async move {
                let version = format!("{:?}", request.version());
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(version)))
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            let _ = hyper_util::server::conn::auto::Builder::new(executor)
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    (address, accepted)
}

/// The files of a client.
struct Files(tempfile::TempDir, ClientFiles);

impl Files {
    fn trusting(authority: &Authority) -> Self {
        let mut files = Self(tempfile::tempdir().unwrap(), ClientFiles::default());
        files.1.ca = Some(files.write("ca.crt", &authority.pem()));
        files
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn with_crl(mut self, list: &str) -> Self {
        self.1.crl = Some(self.write("ca.crl", list));
        self
    }

    fn with_identity(mut self, identity: &Identity) -> Self {
        self.1.certificate = Some(CertificateFiles {
            certificate: self.write("tls.crt", &identity.2),
            key: self.write("tls.key", &identity.1.serialize_pem()),
        });
        self
    }

    fn tls(&self, name: Option<&str>) -> ClientTls {
        let name = name.map(|name| ServerName::try_from(name.to_owned()).unwrap());
        ClientTls::load(self.1.clone(), name).unwrap()
    }

    fn sender(&self, address: SocketAddr, name: Option<&str>, settings: Settings) -> Sender {
        let authority = address.to_string().parse().unwrap();
        let server = Server::over_tls(authority, self.tls(name)).unwrap();
        Sender::to(settings, vec![server])
    }
}

async fn version(sender: &Sender, request: Request<super::harness::Body>, http2: bool) -> String {
    let answer = sender.send_with(request, http2).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

fn get() -> Request<super::harness::Body> {
    Request::get("/").body(Full::default()).unwrap()
}

#[tokio::test]
async fn the_server_chooses_the_protocol_by_alpn() {
    let authority = authority("ours");
    let identity = issue(&authority, "127.0.0.1", 1, NOW);
    let files = Files::trusting(&authority);
    for (protocols, expected) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let (address, accepted) = serve(&identity, protocols, None).await;
        let sender = files.sender(address, None, settings());
        for _ in 0..3 {
            let spoken = version(&sender, get(), false).await;
            assert_eq!(spoken, format!("{expected:?}"), "{protocols:?}");
        }
        // The connection that told what the server speaks is used on.
        assert_eq!(accepted.load(Ordering::Relaxed), 1, "{protocols:?}");

        // An upgrade is one of HTTP/1.1, also where other requests use HTTP/2.
        let mut upgrade = get();
        let websocket = http::HeaderValue::from_static("websocket");
        upgrade.headers_mut().insert("upgrade", websocket);
        assert_eq!(version(&sender, upgrade, false).await, "HTTP/1.1");

        // gRPC needs HTTP/2.
        if expected == Version::HTTP_2 {
            assert_eq!(version(&sender, get(), true).await, "HTTP/2.0");
        } else {
            let error = sender.send_with(get(), true).await.unwrap_err();
            assert_eq!(error.kind(), SendErrorKind::Unreachable);
            assert!(error.to_string().contains("ALPN"), "{error}");
        }
    }
}

/// A server that changes what it speaks, such as after an update, is spoken to as it asks.
#[tokio::test]
async fn a_server_may_change_its_mind() {
    let authority = authority("ours");
    let identity = issue(&authority, "127.0.0.1", 1, NOW);
    let files = Files::trusting(&authority);
    let (two, _) = serve(&identity, &["h2"], None).await;
    let (one, _) = serve(&identity, &["http/1.1"], None).await;
    // One name with two addresses that speak different protocols: the memory of the one is wrong for
    // the other.
    let tls = files.tls(None);
    let server = |address: SocketAddr| {
        Server::over_tls(address.to_string().parse().unwrap(), tls.clone()).unwrap()
    };
    let sender = Sender::to(settings(), vec![server(two), server(one)]);
    let mut seen = std::collections::BTreeSet::new();
    let all = async {
        while seen.len() < 2 {
            seen.insert(version(&sender, get(), false).await);
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    assert_eq!(sender.sum(|own| own.connect_failures), 0);
}

#[tokio::test]
async fn a_bad_certificate_is_refused_for_a_reason() {
    let (ours, other) = (authority("ours"), authority("other"));
    let good = issue(&ours, "127.0.0.1", 1, NOW);
    let self_signed = {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        Identity(made.cert.der().clone(), made.signing_key, made.cert.pem())
    };
    let only_for_clients = {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &ours).unwrap();
        Identity(made.der().clone(), key, made.pem())
    };
    let list = revocations(&ours, 2100);
    for (what, identity, crl, name, expected) in [
        ("good", &good, None, None, None),
        ("not revoked", &good, Some(&list), None, None),
        (
            "expired",
            &issue(&ours, "127.0.0.1", 2, (2019, 2020)),
            None,
            None,
            Some("expired at 2020-01-01"),
        ),
        (
            "not yet valid",
            &issue(&ours, "127.0.0.1", 3, (2099, 2100)),
            None,
            None,
            Some("not valid before 2099-01-01"),
        ),
        (
            "wrong name",
            &issue(&ours, "other.example", 4, NOW),
            None,
            None,
            Some("not valid for 127.0.0.1, but for"),
        ),
        (
            "the name that is configured",
            &issue(&ours, "tts.example", 5, NOW),
            None,
            Some("tts.example"),
            None,
        ),
        (
            "another name than is configured",
            &good,
            None,
            Some("tts.example"),
            Some("not valid for tts.example"),
        ),
        (
            "unknown authority",
            &issue(&other, "127.0.0.1", 1, NOW),
            None,
            None,
            Some("not signed by a trusted certificate authority"),
        ),
        (
            "self-signed",
            &self_signed,
            None,
            None,
            Some("not signed by a trusted certificate authority"),
        ),
        (
            "only for clients",
            &only_for_clients,
            None,
            None,
            Some("is refused"),
        ),
        (
            "revoked",
            &issue(&ours, "127.0.0.1", 7, NOW),
            Some(&list),
            None,
            Some("is revoked"),
        ),
        (
            "a list that is out of date",
            &good,
            Some(&revocations(&ours, 2022)),
            None,
            Some("out of date"),
        ),
        (
            "a list of another authority",
            &good,
            Some(&revocations(&other, 2100)),
            None,
            Some("revocation"),
        ),
    ] {
        let files = Files::trusting(&ours);
        let files = match crl {
            Some(list) => files.with_crl(list),
            None => files,
        };
        let (address, accepted) = serve(identity, &["h2", "http/1.1"], None).await;
        let sender = files.sender(address, name, settings());
        let answer = sender.get("/").await;
        match (answer, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(expected)) => {
                assert_eq!(error.kind(), SendErrorKind::Unreachable, "{what}");
                assert!(error.to_string().contains(expected), "{what}: {error}");
                assert_eq!(accepted.load(Ordering::Relaxed), 0, "{what}");
            }
            (Ok(_), Some(_)) => panic!("{what}: accepted"),
            (Err(error), None) => panic!("{what}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_client_presents_its_certificate() {
    let (ours, theirs) = (authority("ours"), authority("other"));
    let identity = issue(&ours, "127.0.0.1", 1, NOW);
    let own = issue(&theirs, "gateway.example", 1, NOW);
    let stranger = issue(&ours, "gateway.example", 1, NOW);
    for protocols in [&["http/1.1"][..], &["h2"]] {
        let (address, _) = serve(&identity, protocols, Some(&theirs)).await;
        let files = Files::trusting(&ours).with_identity(&own);
        let sender = files.sender(address, None, settings());
        sender.get("/").await.unwrap();

        let files = Files::trusting(&ours);
        let sender = files.sender(address, None, settings());
        let error = sender.get("/").await.unwrap_err();
        assert_eq!(error.kind(), SendErrorKind::Unreachable);
        assert!(
            error.to_string().contains("requires a client certificate"),
            "{protocols:?}: {error}"
        );
        let files = Files::trusting(&ours).with_identity(&stranger);
        let sender = files.sender(address, None, settings());
        let error = sender.get("/").await.unwrap_err();
        assert!(
            error.to_string().contains("refuses the client certificate"),
            "{protocols:?}: {error}"
        );
    }
}

/// A server without TLS on the port of an https URL, and one that is away amid the handshake.
#[tokio::test]
async fn what_is_no_tls_is_an_error_that_says_so() {
    let authority = authority("ours");
    let files = Files::trusting(&authority);
    let plain = serve_raw(|mut stream, _| async move {
        use tokio::io::AsyncWriteExt as _;
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        let _ = stream.write_all(answer).await;
    })
    .await;
    let error = files.sender(plain, None, settings()).get("/").await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("does not speak TLS"), "{error}");
    let gone = serve_raw(|stream, _| async move { drop(stream) }).await;
    let error = files.sender(gone, None, settings()).get("/").await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("TLS handshake failed"), "{error}");
}

#[tokio::test]
async fn health_checks_use_tls_and_verify_the_server() {
    let (ours, other) = (authority("ours"), authority("other"));
    let mut checked = settings();
    checked.health = Some("GET /health".parse::<HealthCheck>().unwrap());
    for protocols in [&["http/1.1"][..], &["h2"]] {
        for (authority, is_good) in [(&ours, true), (&other, false)] {
            let identity = issue(authority, "127.0.0.1", 1, NOW);
            let (address, accepted) = serve(&identity, protocols, None).await;
            let files = Files::trusting(&ours);
            let sender = files.sender(address, None, checked.clone());
            let upstream = Arc::clone(&sender.upstream);
            let maintained = tokio::spawn(async move { upstream.maintain().await });
            if is_good {
                until("a check", || accepted.load(Ordering::Relaxed) > 0).await;
                assert_eq!(sender.sum(|own| own.failed_checks), 0);
            } else {
                until("a failed check", || sender.sum(|own| own.failed_checks) > 0).await;
            }
            maintained.abort();
        }
    }
}

/// A server whose certificate is renewed gets requests again, without a request that tries.
#[tokio::test]
async fn a_server_that_cannot_be_verified_is_out_until_it_can() {
    let (ours, other) = (authority("ours"), authority("other"));
    let identity = issue(&other, "127.0.0.1", 1, NOW);
    let (address, _) = serve(&identity, &["http/1.1"], None).await;
    let files = Files::trusting(&ours);
    let tls = files.tls(None);
    tls.follow().unwrap();
    let server = Server::over_tls(address.to_string().parse().unwrap(), tls).unwrap();
    let sender = Sender::to(settings(), vec![server]);
    for _ in 0..3 {
        sender.get("/").await.unwrap_err();
    }
    let error = sender.get("/").await.unwrap_err();
    assert_eq!(error.kind(), SendErrorKind::AllOut);
    // The operator names the right authority: the file is followed.
    files.write("ca.crt", &other.pem());
    until("the address is in use", || {
        sender.upstream.status()[0].addresses_out == 0
    })
    .await;
    sender.get("/").await.unwrap();
}

/// A server at a Unix socket, in both protocols.
#[tokio::test]
async fn a_server_may_listen_on_a_unix_socket() {
    use voxgate_upstream::Protocol;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tts.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|request: Request<_>| async move {
                let host = request.headers().get("host").cloned();
                let host = host.map(|host| host.to_str().unwrap().to_owned());
                let host = host.or_else(|| Some(request.uri().authority()?.to_string()));
                let text = format!("{:?} {}", request.version(), host.unwrap());
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
            });
            tokio::spawn(async move {
                let executor = hyper_util::rt::TokioExecutor::new();
                let _ = hyper_util::server::conn::auto::Builder::new(executor)
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    for (protocol, expected) in [
        (Protocol::Http1, "HTTP/1.1 localhost"),
        (Protocol::Http2, "HTTP/2.0 localhost"),
    ] {
        let server = Server::at_socket(&path, protocol).unwrap();
        let sender = Sender::to(settings(), vec![server]);
        assert_eq!(version(&sender, get(), false).await, expected);
        let name = format!("unix:{}", path.display());
        assert_eq!(sender.upstream.status()[0].server, name);
        assert!(!sender.upstream.is_named("localhost"));
    }
    let absent = Server::at_socket(&directory.path().join("absent"), Protocol::Http1).unwrap();
    let sender = Sender::to(settings(), vec![absent]);
    let error = sender.get("/").await.unwrap_err();
    assert_eq!(error.kind(), SendErrorKind::Unreachable);
}
