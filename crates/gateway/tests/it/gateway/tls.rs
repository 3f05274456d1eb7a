//! TLS of the data listener: HTTP/1.1, HTTP/2 and WebSockets over it, certificates by name and
//! exchanged, and clients that do not fit.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_util::sync::CancellationToken;

use super::harness::{KEY, Program, Started, send_raw, serve, wait_until};
use super::tunnels;

/// Certificates in a directory, as the gateway mounts them.
struct Certificates {
    directory: tempfile::TempDir,
}

impl Certificates {
    fn new(names: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificates = Self { directory };
        for name in names {
            certificates.issue(name, name);
        }
        certificates
    }

    fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.{kind}"))
    }

    /// Issues a certificate for `host` into the files of `name`.
    fn issue(&self, name: &str, host: &str) {
        self.install(name, &made_for(host));
    }

    /// Replaces the files of `name`, each by a rename.
    fn install(&self, name: &str, made: &Made) {
        let key = made.signing_key.serialize_pem();
        for (kind, text) in [("crt", made.cert.pem()), ("key", key)] {
            let new = self.path(name, "new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, self.path(name, kind)).unwrap();
        }
    }

    fn list(&self, names: &[&str], kind: &str) -> String {
        let paths = names.iter().map(|name| self.path(name, kind));
        let paths: Vec<String> = paths.map(|path| path.display().to_string()).collect();
        paths.join(",")
    }

    fn gateway(&self, names: &[&str], upstream: SocketAddr) -> Program {
        Program::validating(upstream)
            .var("VOXGATE_TLS_CERT_FILE", self.list(names, "crt"))
            .var("VOXGATE_TLS_KEY_FILE", self.list(names, "key"))
    }

    /// A client that trusts the certificate that is in the file now.
    fn client(&self, name: &str) -> Client {
        Client::trusting(&self.path(name, "crt"))
    }
}

type Made = rcgen::CertifiedKey<rcgen::KeyPair>;

fn made_for(host: &str) -> Made {
    rcgen::generate_simple_self_signed([host.to_owned()]).unwrap()
}

#[derive(Clone)]
struct Client {
    roots: RootCertStore,
    versions: Vec<&'static SupportedProtocolVersion>,
    protocols: Vec<Vec<u8>>,
}

impl Client {
    fn trusting(certificate: &Path) -> Self {
        use rustls::pki_types::pem::PemObject as _;
        let certificate = rustls::pki_types::CertificateDer::from_pem_file(certificate).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        Self {
            roots,
            versions: vec![&TLS13, &TLS12],
            protocols: Vec::new(),
        }
    }

    async fn connect(
        &self,
        gateway: &Started,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_to(gateway.address, name).await
    }

    async fn connect_to(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&self.versions).unwrap();
        let builder = builder.with_root_certificates(self.roots.clone());
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = self.protocols.clone();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        connector.connect(name, stream).await
    }
}

fn request(version: http::Version) -> http::Request<Empty<Bytes>> {
    let uri = match version {
        http::Version::HTTP_2 => "https://tts.example/v1/say",
        _ => "/v1/say",
    };
    http::Request::get(uri)
        .version(version)
        .header("host", "tts.example")
        .header("authorization", format!("Bearer {KEY}"))
        .body(Empty::new())
        .unwrap()
}

async fn scheme_server() -> SocketAddr {
    let scheme = |headers: HeaderMap| async move {
        headers["x-forwarded-proto"].to_str().unwrap().to_owned()
    };
    serve(Router::new().route("/v1/say", get(scheme))).await
}

#[tokio::test]
async fn requests_and_tunnels_pass_over_tls() {
    let certificates = Certificates::new(&["tts.example"]);
    let gateway = certificates
        .gateway(&["tts.example"], scheme_server().await)
        .start();
    for versions in [vec![&TLS12], vec![&TLS13]] {
        for (protocol, version) in [
            ("", http::Version::HTTP_11),
            ("http/1.1", http::Version::HTTP_11),
            ("h2", http::Version::HTTP_2),
        ] {
            let mut client = certificates.client("tts.example");
            client.versions.clone_from(&versions);
            client.protocols = match protocol {
                "" => Vec::new(),
                protocol => vec![protocol.as_bytes().to_vec()],
            };
            let stream = client.connect(&gateway, "tts.example").await.unwrap();
            let chosen = stream.get_ref().1.alpn_protocol().unwrap_or_default();
            assert_eq!(chosen, protocol.as_bytes());
            let stream = TokioIo::new(stream);
            let answer = if version == http::Version::HTTP_2 {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream)
                    .await
                    .unwrap();
                tokio::spawn(connection);
                sender.send_request(request(version)).await.unwrap()
            } else {
                let (mut sender, connection) = http1::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request(version)).await.unwrap()
            };
            assert_eq!(answer.status(), 200, "{protocol}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "https", "{protocol}");
        }
    }

    let gateway = certificates
        .gateway(&["tts.example"], tunnels::echo().await)
        .start();
    let client = certificates.client("tts.example");
    let stream = client.connect(&gateway, "tts.example").await.unwrap();
    let mut request = "wss://tts.example/ws3".into_client_request().unwrap();
    let value = format!("Bearer {KEY}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    let (mut socket, _) = client_async(request, stream).await.unwrap();
    use futures_util::SinkExt as _;
    use tokio_tungstenite::tungstenite::Message;
    socket.send(Message::text("hello")).await.unwrap();
    let heard = socket.next().await.unwrap().unwrap();
    assert_eq!(heard, Message::text("hello"));
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
}

#[tokio::test]
async fn each_host_has_its_certificate() {
    let names = ["tts.example", "voice.example"];
    let certificates = Certificates::new(&names);
    let gateway = certificates.gateway(&names, scheme_server().await).start();
    for name in names {
        let client = certificates.client(name);
        client.connect(&gateway, name).await.unwrap();
    }
    // A client that trusts the one certificate does not get it under the other name.
    let client = certificates.client("tts.example");
    client.connect(&gateway, "voice.example").await.unwrap_err();
}

/// Opens connections in HTTP/1.1 and HTTP/2, and sends a request on each, until told to stop. Returns how
/// many, and fails if one of them fails.
async fn load(client: Client, address: SocketAddr, stop: CancellationToken) -> usize {
    let mut answered = 0;
    while !stop.is_cancelled() {
        let version = match answered % 2 {
            0 => http::Version::HTTP_11,
            _ => http::Version::HTTP_2,
        };
        let mut client = client.clone();
        if version == http::Version::HTTP_2 {
            client.protocols = vec![b"h2".to_vec()];
        }
        let stream = client.connect_to(address, "tts.example").await.unwrap();
        let stream = TokioIo::new(stream);
        let answer = if version == http::Version::HTTP_2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream)
                .await
                .unwrap();
            tokio::spawn(connection);
            sender.send_request(request(version)).await.unwrap()
        } else {
            let (mut sender, connection) = http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request(version)).await.unwrap()
        };
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
        answered += 1;
    }
    answered
}

/// New connections get the new certificate; a connection that is open serves on. No request fails, not
/// even under load.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_exchanged_while_requests_run() {
    let certificates = Certificates::new(&["tts.example"]);
    let gateway = certificates
        .gateway(&["tts.example"], scheme_server().await)
        .start();
    let old = certificates.client("tts.example");
    let stream = old.connect(&gateway, "tts.example").await.unwrap();
    let (mut open, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let next = made_for("tts.example");
    let mut both = certificates.client("tts.example");
    both.roots.add(next.cert.der().clone()).unwrap();
    let stop = CancellationToken::new();
    let loads: Vec<_> = (0..4)
        .map(|_| tokio::spawn(load(both.clone(), gateway.address, stop.clone())))
        .collect();
    certificates.install("tts.example", &next);
    let new = certificates.client("tts.example");
    let mut exchanged = false;
    while !exchanged {
        let answer = open.send_request(request(http::Version::HTTP_11)).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
        // A client that trusts both always gets a connection.
        let before = old.connect(&gateway, "tts.example").await.is_ok();
        exchanged = new.connect(&gateway, "tts.example").await.is_ok();
        assert!(before || exchanged);
    }
    gateway.wait_for_log("new connections use it");
    stop.cancel();
    for load in loads {
        assert!(load.await.unwrap() > 0);
    }
    let answer = open.send_request(request(http::Version::HTTP_11)).await;
    assert_eq!(answer.unwrap().status(), 200);

    // Files that cannot be used leave the last good ones in force.
    std::fs::write(certificates.path("tts.example", "key"), "nothing").unwrap();
    gateway.wait_for_log("the last good ones stay in force");
    new.connect(&gateway, "tts.example").await.unwrap();
}

#[tokio::test]
async fn clients_that_do_not_fit_are_told_and_recorded() {
    let certificates = Certificates::new(&["tts.example"]);
    let gateway = certificates
        .gateway(&["tts.example"], scheme_server().await)
        .var("VOXGATE_TLS_MIN_VERSION", "1.3")
        .var("VOXGATE_HEADER_READ_TIMEOUT_SECONDS", "1")
        .start();
    let rejected = |reason: &'static str| {
        gateway.wait_for_record(reason, |record| {
            record["event"] == "rejected" && record["reason"] == reason
        })
    };
    let reply = send_raw(gateway.address, "GET / HTTP/1.1\r\nHost: tts\r\n\r\n").await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("https://"), "{}", reply.body);
    rejected("plain_http");

    // An old version, an unknown certificate, bytes that are no TLS, and a handshake that stops.
    let mut client = certificates.client("tts.example");
    client.versions = vec![&TLS12];
    client.connect(&gateway, "tts.example").await.unwrap_err();
    rejected("tls_handshake");
    for first in [&b"\x16\x03\x01\x00\x05hello"[..], b"\0", b"\x16\x03\x01"] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(first).await.unwrap();
        // The gateway closes the connection, in time and by itself.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!String::from_utf8_lossy(&rest).contains("HTTP"));
    }
    let refused = wait_until("all handshakes", || {
        let records = gateway.records();
        let refused = records
            .iter()
            .filter(|record| record["reason"] == "tls_handshake");
        Some(refused.count()).filter(|count| *count >= 4)
    });
    assert_eq!(refused.await, 4);

    // A client that connects and says nothing is closed, and is no rejection.
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

/// The probe verifies both listeners. Each has its own certificate.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_speaks_tls_and_the_probe_verifies_it() {
    let names = ["tts.example", "admin.example"];
    let certificates = Certificates::new(&names);
    let gateway = certificates
        .gateway(&["tts.example"], scheme_server().await)
        .var(
            "VOXGATE_ADMIN_TLS_CERT_FILE",
            certificates.list(&["admin.example"], "crt"),
        )
        .var(
            "VOXGATE_ADMIN_TLS_KEY_FILE",
            certificates.list(&["admin.example"], "key"),
        )
        .start();
    let [data, admin] = [gateway.address, gateway.admin];
    for (url, expect, certificate, name, code, said) in [
        (
            format!("https://{admin}/readyz"),
            "200",
            "admin.example",
            "admin.example",
            0,
            "200 OK",
        ),
        (
            format!("https://{admin}/metrics"),
            "200",
            "admin.example",
            "admin.example",
            0,
            "200 OK",
        ),
        (
            format!("https://{data}/"),
            "401",
            "tts.example",
            "tts.example",
            0,
            "401",
        ),
        (
            format!("https://{admin}/readyz"),
            "200",
            "tts.example",
            "tts.example",
            1,
            "not signed by a trusted",
        ),
        (
            format!("https://{admin}/readyz"),
            "200",
            "admin.example",
            "other.example",
            1,
            "not valid for other.example",
        ),
        (
            format!("https://{data}/"),
            "401",
            "tts.example",
            "",
            1,
            "not valid for 127.0.0.1",
        ),
    ] {
        let ca = certificates.list(&[certificate], "crt");
        let mut arguments = vec!["probe", "--wait", "0", "--url", &url, "--expect", expect];
        arguments.extend(["--ca-file", &ca]);
        if !name.is_empty() {
            arguments.extend(["--server-name", name]);
        }
        let program = Program::new(&arguments);
        let ran = tokio::task::spawn_blocking(move || program.run()).await;
        let (ran, out, error) = ran.unwrap();
        assert_eq!(ran, Some(code), "{arguments:?}: {out}{error}");
        assert!(out.contains(said) && out.contains(&url), "{said}: {out}");
    }
    // Without TLS, the admin listener does not answer, and serves on.
    let mut plain = TcpStream::connect(gateway.admin).await.unwrap();
    plain
        .write_all(b"GET /livez HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest).await;
    assert!(!String::from_utf8_lossy(&rest).contains("ok"));
    let metrics = certificates.client("admin.example");
    let stream = metrics
        .connect_to(gateway.admin, "admin.example")
        .await
        .unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/metrics").header("host", "admin.example");
    let answer = sender
        .send_request(request.body(Empty::<Bytes>::new()).unwrap())
        .await;
    let text = answer
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    for name in names {
        let expiry = format!("{name}.crt\"}} ");
        assert!(text.contains(&expiry), "{expiry}");
    }
}

#[test]
fn wrong_settings_name_the_setting_and_the_file() {
    let certificates = Certificates::new(&["a.example", "b.example"]);
    let [a, b] = ["a.example", "b.example"];
    let cert = |names: &[&str]| certificates.list(names, "crt");
    let key = |names: &[&str]| certificates.list(names, "key");
    for (vars, expected) in [
        (
            vec![("CERT_FILE", cert(&[a]))],
            "VOXGATE_TLS_KEY_FILE: is not set",
        ),
        (
            vec![("KEY_FILE", key(&[a]))],
            "VOXGATE_TLS_CERT_FILE: is not set",
        ),
        (
            vec![("CERT_FILE", cert(&[a])), ("KEY_FILE", key(&[a, b]))],
            "VOXGATE_TLS_KEY_FILE: names 2 keys for 1 certificates",
        ),
        (
            vec![("MIN_VERSION", "1.3".to_owned())],
            "has no effect without VOXGATE_TLS_CERT_FILE",
        ),
        (
            vec![("CERT_FILE", cert(&[a, b])), ("KEY_FILE", key(&[a]))],
            "names 1 keys for 2 certificates",
        ),
        (
            vec![("CERT_FILE", cert(&[a, b])), ("KEY_FILE", key(&[b, a]))],
            "a.example.key: is not the key of the first certificate in",
        ),
        (
            vec![
                ("CERT_FILE", cert(&[a])),
                ("KEY_FILE", key(&[a])),
                ("MIN_VERSION", "1.1".to_owned()),
            ],
            "VOXGATE_TLS_MIN_VERSION: must be `1.2` or `1.3`",
        ),
        (
            vec![
                ("CERT_FILE", cert(&[a])),
                ("KEY_FILE", "/absent".to_owned()),
            ],
            "/absent: cannot be read",
        ),
    ] {
        let mut program = Program::new(&["check"])
            .var("VOXGATE_UPSTREAM", "http://127.0.0.1:9")
            .var("VOXGATE_API_KEYS", KEY);
        for (name, value) in vars {
            program = program.var(&format!("VOXGATE_TLS_{name}"), value);
        }
        let (code, _, error) = program.run();
        assert_eq!(code, Some(64), "{expected}: {error}");
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let (code, out, error) = Program::new(&["check"])
        .var("VOXGATE_UPSTREAM", "http://127.0.0.1:9")
        .var("VOXGATE_API_KEYS", KEY)
        .var("VOXGATE_TLS_CERT_FILE", cert(&[a]))
        .var("VOXGATE_TLS_KEY_FILE", key(&[a]))
        .run();
    assert_eq!(code, Some(0), "{error}");
    assert!(
        out.contains("It speaks TLS with the certificate of a.example"),
        "{out}"
    );
}

/// What an auditor looks at with OpenSSL: versions, ALPN, the certificate by name, and stapling.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_sees_what_is_documented() {
    let names = ["tts.example", "voice.example"];
    let certificates = Certificates::new(&names);
    // Not a real response: what is stapled is what the file has.
    let place = |name: &str| certificates.directory.path().join(name);
    std::fs::write(place("tts.example.crt.ocsp"), b"stapled").unwrap();
    let gateway = certificates.gateway(&names, scheme_server().await).start();
    let at = gateway.address.to_string();
    let s_client = |more: &[&str]| {
        let mut command = std::process::Command::new("openssl");
        command.args(["s_client", "-connect", &at]).args(more);
        command.stdin(std::process::Stdio::null());
        let output = command.output().expect("openssl");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    for (arguments, expected) in [
        (&["-tls1_3"][..], "New, TLSv1.3, Cipher is"),
        (&["-tls1_2"], "New, TLSv1.2, Cipher is"),
        (&["-alpn", "h2,http/1.1"], "ALPN protocol: h2"),
        (&["-alpn", "http/1.1"], "ALPN protocol: http/1.1"),
        (&["-servername", "voice.example"], "DNS:voice.example"),
        (&["-servername", "tts.example"], "DNS:tts.example"),
        (&["-servername", "other.example"], "DNS:tts.example"),
        (&["-noservername"], "DNS:tts.example"),
    ] {
        let (is_connected, text) = s_client(arguments);
        assert!(is_connected, "{arguments:?}: {text}");
        let text = match expected.strip_prefix("DNS:") {
            Some(_) => subject_alternative_name(&text),
            None => text,
        };
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
    // `SECLEVEL=0` has OpenSSL itself offer what the gateway refuses.
    for arguments in [
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"],
        &["-alpn", "spdy/3"],
    ] {
        let (is_connected, text) = s_client(arguments);
        assert!(
            !is_connected && text.contains("alert"),
            "{arguments:?}: {text}"
        );
    }
    let (_, text) = s_client(&["-status", "-servername", "tts.example", "-msg"]);
    assert!(
        text.contains("CertificateStatus") || text.contains("OCSP response"),
        "{text}"
    );
    let (_, text) = s_client(&["-status", "-servername", "voice.example"]);
    assert!(text.contains("OCSP response: no response sent"), "{text}");
}

/// The names of the certificate that OpenSSL printed.
fn subject_alternative_name(text: &str) -> String {
    use std::io::Write as _;
    let mut child = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-ext", "subjectAltName"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("openssl");
    let mut input = child.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
