//! The request of a probe.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use voxgate::{Dialect, Secret};
use voxgate_tls::{Alpn, ClientTls};

use super::expected::Answer;
use crate::worker;

/// The pause between two attempts while the connection fails.
const PAUSE: Duration = Duration::from_millis(250);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// One request, and how long it may take.
pub(super) struct Probe {
    pub(super) method: Method,
    pub(super) url: Uri,
    /// TLS; `None` for an `http://` URL.
    pub(super) tls: Option<ClientTls>,
    /// The socket to connect to in place of the URL's host.
    pub(super) socket: Option<PathBuf>,
    pub(super) key: Option<(Secret, Dialect)>,
    pub(super) wait: Duration,
    pub(super) timeout: Duration,
}

/// Why there is no answer.
enum Failure {
    /// Try again: a gateway that is starting does not listen yet.
    NotConnected(String),
    Other(String),
}

/// What bytes are exchanged through.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Probe {
    /// Sends the request and returns the answer. Redirects are not followed: another host must neither
    /// answer nor get the key.
    ///
    /// # Errors
    ///
    /// A description of why there is no answer.
    pub(super) fn answer(&self) -> Result<Answer, String> {
        let runtime = worker::runtime().map_err(|error| error.to_string())?;
        let answer = runtime.block_on(self.ask());
        // It does not wait for a name that is still being resolved.
        runtime.shutdown_background();
        answer
    }

    async fn ask(&self) -> Result<Answer, String> {
        let begun = Instant::now();
        loop {
            let attempt = timeout(self.timeout, self.attempt()).await;
            match attempt {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Failure::NotConnected(why))) if begun.elapsed() + PAUSE > self.wait => {
                    return Err(why);
                }
                Ok(Err(Failure::NotConnected(_))) => sleep(PAUSE).await,
                Ok(Err(Failure::Other(why))) => return Err(why),
                Err(_) => return Err("no answer before the timeout".to_owned()),
            }
        }
    }

    async fn attempt(&self) -> Result<Answer, Failure> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no connection within 5 s");
        let connected = timeout(CONNECT_WITHIN, self.connect()).await;
        let connected = connected.unwrap_or_else(|_| Err(late()));
        let stream = connected.map_err(|error| Failure::NotConnected(error.to_string()))?;
        let broken = |error: hyper::Error| match error.is_parse() {
            true => Failure::Other(error.to_string()),
            false => Failure::NotConnected(error.to_string()),
        };
        let begun = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = begun.map_err(broken)?;
        let request = self.request();
        let request = request.map_err(|error| Failure::Other(error.to_string()))?;
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(broken);
        connection.abort();
        Ok(Answer::of(&answer?))
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        if let Some(path) = &self.socket {
            return self.secure(UnixStream::connect(path).await?).await;
        }
        let default = if self.tls.is_some() { 443 } else { 80 };
        let port = self.url.port_u16().unwrap_or(default);
        let address = (self.host(), port);
        self.secure(TcpStream::connect(address).await?).await
    }

    async fn secure(&self, stream: impl Stream + 'static) -> io::Result<Box<dyn Stream>> {
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = match tls.server_name() {
            Some(name) => name.clone(),
            None => ServerName::try_from(self.host().to_owned()).map_err(io::Error::other)?,
        };
        let connector = TlsConnector::from(tls.config(Alpn::Http1));
        let connected = connector.connect(name, stream).await;
        let connected = connected.map_err(|error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
            let described = cause.map(voxgate_tls::describe);
            io::Error::other(described.unwrap_or_else(|| error.to_string()))
        })?;
        Ok(Box::new(connected))
    }

    /// The URL's host. The brackets of an IPv6 address are part of the URL alone.
    fn host(&self) -> &str {
        let host = self.url.host().unwrap_or_default();
        let inner = host.strip_prefix('[');
        inner
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, http::Error> {
        let target = self.url.path_and_query().map_or("/", |path| path.as_str());
        let host = self.url.authority().map_or("", |host| host.as_str());
        let mut request = Request::builder()
            .method(&self.method)
            .uri(target)
            .header(HOST, host)
            .header(USER_AGENT, concat!("voxgate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())?;
        if self.method == Method::POST {
            // RFC 9110 §8.6. Without it, an empty body would be sent in chunks.
            let headers = request.headers_mut();
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some((key, dialect)) = &self.key {
            // To its upstream, a gateway is a client of the vendor.
            dialect.add_deployment_key(key, request.headers_mut());
        }
        Ok(request)
    }
}

/// Shows the request without its query, which may contain a key.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self
            .url
            .authority()
            .map_or("", |authority| authority.as_str());
        let scheme = self.url.scheme_str().unwrap_or("http");
        write!(f, "{} {scheme}://{host}{}", self.method, self.url.path())?;
        match &self.key {
            Some((_, dialect)) => write!(f, " with a key ({dialect})"),
            None => f.write_str(" without a key"),
        }
    }
}
