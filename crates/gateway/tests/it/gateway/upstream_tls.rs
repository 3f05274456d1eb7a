//! TTS servers with TLS: what works over it, and what a caller and the operator see if a server cannot
//! be verified.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use futures_util::{SinkExt as _, StreamExt as _};
use http::Version;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::harness::{KEY, Program, client, client_h2, serve_raw};
use super::tunnels;

/// A self-signed certificate for 127.0.0.1 in a directory, and a server that has it.
struct TlsServer {
    directory: tempfile::TempDir,
    acceptor: TlsAcceptor,
}

impl TlsServer {
    fn new(protocols: &[&str]) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.crt"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![made.cert.der().clone()];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|own| own.as_bytes().to_vec())
            .collect();
        Self {
            directory,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }

    async fn serve(&self, router: Router) -> SocketAddr {
        let (acceptor, service) = (self.acceptor.clone(), TowerToHyperService::new(router));
        serve_raw(move |stream| {
            let (acceptor, service) = (acceptor.clone(), service.clone());
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let builder = Builder::new(TokioExecutor::new());
                    let io = TokioIo::new(stream);
                    let _ = builder.serve_connection_with_upgrades(io, service).await;
                }
            }
        })
        .await
    }

    /// Passes the connections on to a server without TLS.
    async fn in_front_of(&self, behind: SocketAddr) -> SocketAddr {
        let acceptor = self.acceptor.clone();
        serve_raw(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut plain = TcpStream::connect(behind).await.unwrap();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
                }
            }
        })
        .await
    }

    fn gateway(&self, address: SocketAddr) -> Program {
        Program::validating(address)
            .var("VOXGATE_UPSTREAM", format!("https://{address}"))
            .var(
                "VOXGATE_UPSTREAM_TLS_CA_FILE",
                self.directory.path().join("ca.crt"),
            )
    }
}

fn request(gateway: SocketAddr, path: &str, version: Version) -> http::request::Builder {
    http::Request::post(format!("http://{gateway}{path}"))
        .version(version)
        .header("authorization", format!("Bearer {KEY}"))
}

fn router() -> Router {
    let version =
        |request: axum::extract::Request| async move { format!("{:?}", request.version()) };
    let grpc = |request: axum::extract::Request| async move {
        let version = format!("{:?}", request.version());
        (
            [("content-type", "application/grpc"), ("grpc-status", "0")],
            version,
        )
    };
    Router::new()
        .route("/v1/rime-tts", post(version))
        .route("/health", get(|| async { "ok" }))
        .route(
            "/nvidia.riva.tts.RivaSpeechSynthesis/Synthesize",
            post(grpc),
        )
}

#[tokio::test]
async fn http_and_grpc_pass_over_tls_to_the_server() {
    for (protocols, expected) in [
        (&["h2", "http/1.1"][..], "HTTP/2.0"),
        (&["http/1.1"], "HTTP/1.1"),
    ] {
        let server = TlsServer::new(protocols);
        let address = server.serve(router()).await;
        let gateway = server
            .gateway(address)
            .var("VOXGATE_UPSTREAM_HEALTH", "GET /health")
            .start();
        for _ in 0..2 {
            let answer = client()
                .request(
                    request(gateway.address, "/v1/rime-tts", Version::HTTP_11)
                        .body(Full::<Bytes>::from("{}"))
                        .unwrap(),
                )
                .await
                .unwrap();
            assert_eq!(answer.status(), 200, "{protocols:?}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, expected);
        }
    }

    let server = TlsServer::new(&["h2"]);
    let address = server.serve(router()).await;
    let gateway = server
        .gateway(address)
        .var("VOXGATE_DIALECT", "bearer")
        .start();
    let path = "/nvidia.riva.tts.RivaSpeechSynthesis/Synthesize";
    let answer = client_h2()
        .request(
            request(gateway.address, path, Version::HTTP_2)
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::<Bytes>::from(&b"\0\0\0\0\0"[..]))
                .unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(answer.headers()["grpc-status"], "0");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "HTTP/2.0");
}

#[tokio::test]
async fn a_websocket_passes_over_tls_to_the_server() {
    // The server prefers HTTP/2, in which a WebSocket cannot be upgraded.
    let server = TlsServer::new(&["h2", "http/1.1"]);
    let address = server.in_front_of(tunnels::echo().await).await;
    let gateway = server.gateway(address).start();
    let mut request = format!("ws://{}/ws3", gateway.address)
        .into_client_request()
        .unwrap();
    let value = format!("Bearer {KEY}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    let (mut socket, _) = connect_async(request).await.unwrap();
    for text in ["hello".to_owned(), "x".repeat(300_000)] {
        socket.send(Message::text(text.clone())).await.unwrap();
        let heard = socket.next().await.unwrap().unwrap();
        assert_eq!(heard, Message::text(text));
    }
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
}

#[tokio::test]
async fn a_server_that_cannot_be_verified_is_a_502_and_a_line_that_says_why() {
    let server = TlsServer::new(&["http/1.1"]);
    let other = TlsServer::new(&["http/1.1"]);
    let address = server.serve(router()).await;
    let gateway = other.gateway(address).start();
    let answer = client()
        .request(
            request(gateway.address, "/v1/rime-tts", Version::HTTP_11)
                .body(Full::<Bytes>::from("{}"))
                .unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(answer.status(), 502);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(!body.is_empty() && !body.contains("certificate"), "{body}");
    gateway.wait_for_log("not signed by a trusted certificate authority; configure the CA");
    gateway.wait_for_record("the outcome", |record| {
        record["event"] == "complete" && record.to_string().contains("upstream_unreachable")
    });
}

#[test]
fn wrong_settings_name_the_setting_and_the_file() {
    let server = TlsServer::new(&["http/1.1"]);
    let ca = server.directory.path().join("ca.crt").display().to_string();
    let ca = ca.as_str();
    let https = "https://tts.example";
    for (upstream, vars, expected) in [
        (
            "http://127.0.0.1:9",
            &[("CA_FILE", ca)][..],
            "VOXGATE_UPSTREAM_TLS_CA_FILE: has no effect, because no URL",
        ),
        (https, &[("CA_FILE", "/absent")], "/absent: cannot be read"),
        (
            https,
            &[("CA_FILE", ca), ("CERT_FILE", ca)],
            "VOXGATE_UPSTREAM_TLS_KEY_FILE: is not set, but VOXGATE_UPSTREAM_TLS_CERT_FILE is",
        ),
        (
            https,
            &[("CA_FILE", ca), ("KEY_FILE", ca)],
            "VOXGATE_UPSTREAM_TLS_CERT_FILE: is not set",
        ),
        (
            https,
            &[("CA_FILE", ca), ("SERVER_NAME", "a b")],
            "VOXGATE_UPSTREAM_TLS_SERVER_NAME: must be a DNS name or an IP address",
        ),
        (
            https,
            &[("CA_FILE", ca), ("CRL_FILE", ca)],
            "ca.crt: contains no revocation list",
        ),
    ] {
        let mut program = Program::new(&["check"])
            .var("VOXGATE_UPSTREAM", upstream)
            .var("VOXGATE_API_KEYS", KEY);
        for (name, value) in vars {
            program = program.var(&format!("VOXGATE_UPSTREAM_TLS_{name}"), value);
        }
        let (code, _, error) = program.run();
        assert_eq!(code, Some(64), "{expected}: {error}");
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let (code, out, error) = Program::new(&["check"])
        .var("VOXGATE_UPSTREAM", https)
        .var("VOXGATE_API_KEYS", KEY)
        .var("VOXGATE_UPSTREAM_TLS_CA_FILE", ca)
        .run();
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("forward to https://tts.example"), "{out}");
}
