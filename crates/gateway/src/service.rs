//! The service that answers the requests of one client connection: one stack of layers.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::TryFutureExt;
use http::{Request, Response};
use http_body::Body;
use tower::util::MapFutureLayer;
use tower::{BoxError, Service, ServiceBuilder};
use tower_http::add_extension::AddExtensionLayer;
use voxgate::{ClientCertificate, Dialect, SpeechAuthLayer};
use voxgate_browsers::BrowserLayer;
use voxgate_client_address::ClientAddressLayer;
use voxgate_request_tracing::TraceContextLayer;
use voxgate_usage::UsageLayer;

use super::connection::Activity;
use super::credential_header::CredentialHeader;
use super::first_message::{FirstMessageLayer, FirstMessages};
use super::minting::Verifier;
use super::proxy::{CatchPanicLayer, ClientConnection, ForwardedBody, RequestBody};

/// The connection whose requests a stack answers.
pub(crate) struct Connection {
    /// Tells who sent each request.
    pub(crate) clients: ClientAddressLayer,
    /// The certificate that the client has proved to have.
    pub(crate) certificate: Option<ClientCertificate>,
    /// What pages of other origins may do.
    pub(crate) browsers: BrowserLayer,
    /// Which traces of callers are continued.
    pub(crate) traces: TraceContextLayer,
    pub(crate) activity: Activity,
}

/// Wraps `proxy` in everything that a request passes, from the outside in.
///
/// The authentication layer gives each request its id, and writes the audit record of its decision
/// and of its end. The panic handler is inside that layer, so that the answer to a panic is on
/// record like any other. A panic outside of the proxy ends the client's connection and no other.
///
/// There is no `TimeoutLayer`: the upstream timeout counts only the time in which the upstream has
/// the request and does not go on, not the time that the client takes to send it.
/// [`proxy`](super::proxy) applies it. There is no `SetSensitiveRequestHeadersLayer`: nothing prints
/// a request's headers, the proxy removes the credential from them, and marking the eight headers
/// that can hold one takes 7 to 20% of the time of the authentication layer.
pub(crate) fn stack<S, B>(
    auth: SpeechAuthLayer<Verifier>,
    proxy: S,
    connection: Connection,
    first_messages: Option<FirstMessages>,
    credential_header: Option<(Dialect, CredentialHeader)>,
    usage: UsageLayer,
) -> impl Service<
    Request<RequestBody>,
    Response = Response<impl Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static>,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static
where
    S: Service<Request<ForwardedBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let Connection {
        clients,
        certificate,
        browsers,
        traces,
        activity,
    } = connection;
    let first_message = FirstMessageLayer::new(first_messages, activity.clone());
    ServiceBuilder::new()
        // The connection is in use until the answer has been sent, unless it is a refusal.
        .layer(MapFutureLayer::new(move |answer| {
            let busy = activity.begin();
            TryFutureExt::map_ok(answer, |response| busy.last(response))
        }))
        // The client's address, for the audit record, for limits and for `X-Forwarded-For`.
        .layer(clients)
        // The request's place in a trace, for the audit record, the log and the upstream.
        .layer(traces)
        // Preflights, the fields by which pages may read answers, and the origins of WebSockets.
        .layer(browsers)
        // The connections to HTTP/2 upstreams that this client connection shares with no other.
        .layer(AddExtensionLayer::new(ClientConnection::default()))
        // The client's certificate; and a credential in the operator's own header moves to that of the
        // dialect.
        .map_request(move |mut request: Request<RequestBody>| {
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            if let Some((dialect, header)) = &credential_header {
                header.adopt(*dialect, &mut request);
            }
            request
        })
        // Accepts a WebSocket whose credential is in its first message, and waits for that.
        .layer(first_message)
        // Request id, credential, scope, limits and audit records; and inside of it, the voices and the
        // length of the text in bodies.
        .layer(auth)
        // Requests and audio, and their quotas.
        .layer(usage)
        // A panic of the proxy is a 500 in the form of the caller's dialect.
        .layer(CatchPanicLayer)
        .service(proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use http::StatusCode;
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Incoming;
    use hyper::client::conn::{http1, http2};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;
    use tower::service_fn;
    use voxgate::audit::Ended;
    use voxgate::{AuditRecord, AuditSink, AuthLayer, DenialKind, SpeechOptions};

    use crate::connection::{ClientAddresses, ClientListener, ConnectionLimiter, Server, accept};
    use crate::minting::keys_alone;
    use crate::rejections::Rejections;

    /// How each request ended, as the audit record says it.
    #[derive(Clone, Default)]
    struct Ends(Arc<Mutex<Vec<End>>>);

    type End = (Option<StatusCode>, Option<DenialKind>, Ended);

    impl AuditSink for Ends {
        fn record(&self, record: &AuditRecord<'_>) {
            if let AuditRecord::Completion(end) = record {
                let end = (end.status, end.failure, end.ended);
                self.0.lock().expect("no panic").push(end);
            }
        }
    }

    const PANICKED: End = (
        Some(StatusCode::INTERNAL_SERVER_ERROR),
        Some(DenialKind::InternalError),
        Ended::UpstreamAbort,
    );
    const SERVED: End = (Some(StatusCode::OK), None, Ended::Ok);

    /// Serves a proxy that panics, at once for `/call` and later for `/future`. It answers `/slow`
    /// when it is told to, and everything else at once.
    async fn serve(ends: &Ends, answer_slow: &Arc<Notify>) -> SocketAddr {
        let answer_slow = Arc::clone(answer_slow);
        let proxy = service_fn(move |request: Request<ForwardedBody>| {
            let path = request.uri().path().to_owned();
            assert!(path != "/call", "before there is a future");
            let answer_slow = Arc::clone(&answer_slow);
            async move {
                match path.as_str() {
                    "/future" => {
                        tokio::task::yield_now().await;
                        panic!("in the future");
                    }
                    "/slow" => answer_slow.notified().await,
                    _ => {}
                }
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("audio")))
            }
        });
        let auth = keys_alone(AuthLayer::preconfigured()).with_dialect(Dialect::ElevenLabs);
        let server = Server {
            auth: auth
                .with_audit_sink(ends.clone())
                .with_speech(SpeechOptions::default()),
            proxy,
            usage: crate::usage::in_memory(),
            header_timeout: Duration::from_secs(60),
            tls: None,
            clients: ClientAddresses::default(),
            browsers: BrowserLayer::default(),
            traces: TraceContextLayer::default(),
            idle_timeout: Duration::from_secs(60),
            write_stall: Duration::from_secs(60),
            rejections: Arc::new(Rejections::new(Arc::new(ends.clone()), Default::default())),
            first_messages: None,
            credential_header: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let limiter = ConnectionLimiter::new(8, 8);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tokio::spawn(accept(
            ClientListener::Tcp(listener),
            server,
            limiter,
            stop,
            tasks,
        ));
        address
    }

    async fn connect(address: SocketAddr) -> TokioIo<TcpStream> {
        TokioIo::new(TcpStream::connect(address).await.expect("a connection"))
    }

    fn get(path: &str) -> Request<Full<Bytes>> {
        let request = Request::get(format!("http://voxgate{path}")).header("host", "voxgate");
        request.body(Full::default()).expect("a request")
    }

    /// The status and the body of an answer. A refusal names the request.
    async fn read(answer: hyper::Result<Response<Incoming>>) -> (u16, String) {
        let answer = answer.expect("an answer");
        let status = answer.status().as_u16();
        assert!(status == 200 || answer.headers().contains_key("x-request-id"));
        let body = answer.into_body().collect().await.expect("a body");
        let body = String::from_utf8(body.to_bytes().to_vec()).expect("text");
        (status, body)
    }

    /// What an ElevenLabs client reads.
    fn internal_error() -> (u16, String) {
        let body =
            r#"{"detail":{"status":"internal_server_error","message":"The gateway failed."}}"#;
        (500, body.to_owned())
    }

    #[tokio::test]
    async fn a_panic_of_the_proxy_is_a_500_in_the_dialect_and_the_connection_lives_on() {
        let ends = Ends::default();
        let address = serve(&ends, &Arc::default()).await;
        let (mut client, connection) = http1::handshake(connect(address).await)
            .await
            .expect("HTTP/1.1");
        tokio::spawn(connection);
        for (path, expected) in [
            ("/call", internal_error()),
            ("/future", internal_error()),
            ("/", (200, "audio".to_owned())),
        ] {
            let answer = client.send_request(get(path)).await;
            assert_eq!(read(answer).await, expected, "{path}");
        }
        let ends = ends.0.lock().expect("no panic");
        assert_eq!(*ends, [PANICKED, PANICKED, SERVED]);
    }

    #[tokio::test]
    async fn a_panic_of_the_proxy_leaves_other_requests_of_the_connection_alone() {
        let (ends, answer_slow) = (Ends::default(), Arc::new(Notify::new()));
        let address = serve(&ends, &answer_slow).await;
        let (mut client, connection) =
            http2::handshake(TokioExecutor::new(), connect(address).await)
                .await
                .expect("HTTP/2");
        tokio::spawn(connection);
        let slow = tokio::spawn(client.send_request(get("/slow")));
        let panicked = client.send_request(get("/future")).await;
        assert_eq!(read(panicked).await, internal_error());
        answer_slow.notify_one();
        let slow = slow.await.expect("no panic");
        assert_eq!(read(slow).await, (200, "audio".to_owned()));
        let ends = ends.0.lock().expect("no panic");
        assert_eq!(*ends, [PANICKED, SERVED]);
    }
}
