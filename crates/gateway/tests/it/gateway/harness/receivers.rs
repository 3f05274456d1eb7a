//! Receivers of audit sinks: syslog servers, and a collector.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::program::record;

/// A message of RFC 5424, whose text is an audit record.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) priority: u8,
    pub(crate) id: String,
    pub(crate) record: Value,
}

impl Message {
    /// Reads what RFC 5424 §6 allows, as far as there is no structured data.
    fn parse(message: &str) -> Self {
        let (header, rest) = message.split_at(message.find(" - {").expect("no data") + 2);
        let text = rest.strip_prefix(' ').expect("a space before the text");
        let rest = header.strip_prefix('<').expect("a priority");
        let (priority, rest) = rest.split_once('>').unwrap();
        assert!(
            priority.len() <= 3 && !priority.starts_with('0'),
            "{message}"
        );
        let fields: Vec<&str> = rest.split(' ').collect();
        let [version, time, host, application, process, id, "-"] = fields[..] else {
            panic!("not a header: {header}");
        };
        assert_eq!((version, application), ("1", "voxgate"));
        // RFC 3339 with up to six digits of a second (RFC 5424 §6.2.3).
        assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
        assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
        let name = |text: &str, most| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        assert!(
            name(host, 255) && name(process, 128) && name(id, 32),
            "{message}"
        );
        let record = record(text);
        assert_eq!(record["event"], id);
        assert_eq!(record["ts"], time);
        Self {
            priority: priority.parse().unwrap(),
            id: id.to_owned(),
            record,
        }
    }
}

/// What a syslog server has received so far.
#[derive(Clone, Default)]
pub(crate) struct Syslog {
    messages: Arc<Mutex<Vec<Message>>>,
    closed: Arc<AtomicUsize>,
}

impl Syslog {
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }

    /// How many connections it has closed.
    pub(crate) fn closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn records(&self) -> Vec<Value> {
        self.messages().into_iter().map(|it| it.record).collect()
    }

    fn take(&self, message: &[u8]) {
        let message = Message::parse(std::str::from_utf8(message).unwrap());
        self.messages.lock().unwrap().push(message);
    }

    /// Reads datagrams from now on.
    pub(crate) fn read_datagrams(&self, socket: UnixDatagram) {
        let this = self.clone();
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(length) = socket.recv(&mut buffer) {
                this.take(&buffer[..length]);
            }
        });
    }

    /// Serves a local stream, whose messages end with a newline.
    pub(crate) fn serve_lines(&self, path: &Path) {
        let (this, listener) = (self.clone(), UnixListener::bind(path).unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                for line in BufReader::new(stream.unwrap()).lines() {
                    this.take(line.unwrap().as_bytes());
                }
            }
        });
    }

    /// Reads messages that are counted (RFC 6587 §3.4.1) until the end of the stream, or until
    /// there were so many.
    pub(crate) fn read_counted(&self, stream: impl Read, most: usize) {
        let mut stream = BufReader::new(stream);
        for _ in 0..most {
            let mut length = Vec::new();
            // Whoever is killed says no goodbye.
            if stream.read_until(b' ', &mut length).is_err() || length.pop() != Some(b' ') {
                return;
            }
            let length = String::from_utf8(length).unwrap();
            assert!(!length.starts_with('0'), "{length}");
            let mut message = vec![0; length.parse().unwrap()];
            if stream.read_exact(&mut message).is_err() {
                return;
            }
            self.take(&message);
        }
    }

    /// Serves connections one after the other; each is closed after so many messages.
    pub(crate) fn serve_counted(&self, listener: std::net::TcpListener, most: usize) {
        let this = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                this.read_counted(stream.unwrap(), most);
                this.closed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// The same by TLS, and to the end.
    pub(crate) fn serve_tls(&self, listener: std::net::TcpListener, certificate: &Certificate) {
        let (this, config) = (self.clone(), certificate.config());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                this.read_counted(StreamOwned::new(connection, stream.unwrap()), usize::MAX);
            }
        });
    }
}

/// A certificate of `localhost`, signed by itself.
pub(crate) struct Certificate(rcgen::CertifiedKey<rcgen::KeyPair>);

impl Certificate {
    pub(crate) fn new() -> Self {
        let names = ["localhost".to_owned()];
        Self(rcgen::generate_simple_self_signed(names).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.cert.pem()
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let key = PrivatePkcs8KeyDer::from(self.0.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.0.cert.der().clone()], PrivateKeyDer::from(key));
        Arc::new(config.unwrap())
    }
}

/// A request that a collector was sent.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Batch {
    pub(crate) fn records(&self) -> Vec<Value> {
        self.body.lines().map(record).collect()
    }
}

/// A status, and a `Retry-After`.
type Answer = (u16, Option<&'static str>);

/// A collector that answers as it is told, and 204 when nobody tells it.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    batches: Arc<Mutex<Vec<(Batch, u16)>>>,
}

impl Collector {
    pub(crate) fn new(answers: &[Answer]) -> Self {
        let this = Self::default();
        this.answers.lock().unwrap().extend(answers);
        this
    }

    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/ingest", post(take))
            .with_state(self.clone())
    }

    /// All it was sent, with how it answered.
    pub(crate) fn batches(&self) -> Vec<(Batch, u16)> {
        self.batches.lock().unwrap().clone()
    }

    /// The records of what it took.
    pub(crate) fn records(&self) -> Vec<Value> {
        let taken = |(batch, status): (Batch, u16)| (status == 204).then(|| batch.records());
        self.batches()
            .into_iter()
            .filter_map(taken)
            .flatten()
            .collect()
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: String) -> Response {
    let answer = collector.answers.lock().unwrap().pop_front();
    let (status, retry_after) = answer.unwrap_or((204, None));
    let batch = Batch { headers, body };
    collector.batches.lock().unwrap().push((batch, status));
    let mut response = StatusCode::from_u16(status).unwrap().into_response();
    if let Some(seconds) = retry_after {
        let value = seconds.parse().unwrap();
        response.headers_mut().insert("retry-after", value);
    }
    response
}
