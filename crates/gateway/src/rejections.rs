//! What is turned away before it is a request: counted, and put on record within bounds.

use std::collections::HashMap;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};
use voxgate::audit::Rejected;
use voxgate::{AuditRecord, AuditSink};

use super::connection::network;
use super::metrics::RejectionCounts;

const SECOND: Duration = Duration::from_secs(1);
/// How many rejections of one client are on record in a second, beside one for those left out.
const RECORDS: u32 = 4;
/// How many clients have records of their own in a second. All others share one.
const CLIENTS: usize = 64;

/// Why something was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RejectReason {
    /// The TLS handshake failed, or was not complete in time.
    TlsHandshake,
    /// A request without TLS on a listener that speaks TLS.
    PlainHttp,
    /// Not HTTP: an HTTP/1.1 request that cannot be read, or an HTTP/2 stream that is no request.
    Malformed,
    /// The header of a request is larger than the limit.
    HeaderTooLarge,
    /// The connection began as HTTP/2 begins, and went on otherwise.
    BadPreface,
    /// The connection broke the rules of HTTP/2.
    ProtocolError,
    /// More streams at a time than HTTP/2 had announced.
    TooManyStreams,
    /// HTTP/2 frames without progress.
    Flood,
    /// The first request was not complete in time.
    HeaderTimeout,
    /// The client closed the connection in the middle of its first request's header.
    Incomplete,
    /// The client has too many connections that are in use.
    ConnectionLimit,
    /// The connection was not in use, and there was no room for others.
    Evicted,
    /// The connection began without the PROXY protocol header that its network must send, or with one
    /// although its network must not.
    ProxyProtocol,
    /// A connection to the listener for proxies, from an address that is not one of theirs.
    UntrustedProxy,
}

impl RejectReason {
    pub(crate) const ALL: [Self; 14] = [
        Self::TlsHandshake,
        Self::PlainHttp,
        Self::Malformed,
        Self::HeaderTooLarge,
        Self::BadPreface,
        Self::ProtocolError,
        Self::TooManyStreams,
        Self::Flood,
        Self::HeaderTimeout,
        Self::Incomplete,
        Self::ConnectionLimit,
        Self::Evicted,
        Self::ProxyProtocol,
        Self::UntrustedProxy,
    ];

    /// The name that stands in audit records and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::TlsHandshake => "tls_handshake",
            Self::PlainHttp => "plain_http",
            Self::Malformed => "malformed",
            Self::HeaderTooLarge => "header_too_large",
            Self::BadPreface => "bad_preface",
            Self::ProtocolError => "protocol_error",
            Self::TooManyStreams => "too_many_streams",
            Self::Flood => "flood",
            Self::HeaderTimeout => "header_timeout",
            Self::Incomplete => "incomplete",
            Self::ConnectionLimit => "connection_limit",
            Self::Evicted => "evicted",
            Self::ProxyProtocol => "proxy_protocol",
            Self::UntrustedProxy => "untrusted_proxy",
        }
    }
}

/// The rejections of the process. Each is counted. On record is a bounded number in each second, for
/// each client and for all together: at most `RECORDS` of a client, and then the last one, with the
/// number of those that were left out before it.
pub(crate) struct Rejections {
    sink: Arc<dyn AuditSink>,
    counts: RejectionCounts,
    recent: Mutex<Recent>,
}

/// The rejections since `begun`, for a second.
struct Recent {
    begun: Instant,
    clients: HashMap<IpAddr, ClientRejections>,
    /// Of all clients beyond `CLIENTS`.
    others: LeftOut,
}

#[derive(Default)]
struct ClientRejections {
    recorded: u32,
    left_out: LeftOut,
}

/// Rejections that are not on record yet: the last one, which will be, with the number of the others.
#[derive(Default)]
struct LeftOut(Option<Rejected>);

impl LeftOut {
    fn add(&mut self, mut rejected: Rejected) {
        if let Some(before) = &self.0 {
            rejected.omitted = before.omitted + 1;
        }
        self.0 = Some(rejected);
    }
}

impl Recent {
    fn new(now: Instant) -> Self {
        Self {
            begun: now,
            clients: HashMap::new(),
            others: LeftOut::default(),
        }
    }

    /// Begins a new second. Returns what is still to be recorded of the one before.
    fn renew(&mut self, now: Instant) -> impl Iterator<Item = Rejected> + use<> {
        let Self {
            clients, others, ..
        } = mem::replace(self, Self::new(now));
        let left_out = clients.into_values().map(|client| client.left_out);
        left_out.chain([others]).filter_map(|left_out| left_out.0)
    }

    /// Returns the rejection if it goes on record now.
    fn take(&mut self, rejected: Rejected) -> Option<Rejected> {
        let client = network(rejected.client.unwrap_or(rejected.peer.ip()));
        if self.clients.len() >= CLIENTS && !self.clients.contains_key(&client) {
            self.others.add(rejected);
            return None;
        }
        let client = self.clients.entry(client).or_default();
        if client.recorded >= RECORDS {
            client.left_out.add(rejected);
            return None;
        }
        client.recorded += 1;
        Some(rejected)
    }
}

impl Rejections {
    pub(crate) fn new(sink: Arc<dyn AuditSink>, counts: RejectionCounts) -> Self {
        Self {
            sink,
            counts,
            recent: Mutex::new(Recent::new(Instant::now())),
        }
    }

    /// Takes note of a rejection, on a connection on which so many bytes were received. `client` is the
    /// address that a load balancer named.
    pub(crate) fn note(
        &self,
        peer: SocketAddr,
        client: Option<IpAddr>,
        reason: RejectReason,
        bytes_received: u64,
    ) {
        self.counts.inc(reason);
        let rejected = Rejected {
            time: SystemTime::now(),
            peer,
            client,
            reason: reason.as_str(),
            bytes_received,
            omitted: 0,
        };
        self.record(Instant::now(), Some(rejected));
    }

    fn record(&self, now: Instant, rejected: Option<Rejected>) {
        let (left_out, rejected) = {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            let is_over = now.duration_since(recent.begun) >= SECOND;
            let left_out = is_over.then(|| recent.renew(now));
            (left_out, rejected.and_then(|new| recent.take(new)))
        };
        for rejected in left_out.into_iter().flatten().chain(rejected) {
            self.sink.record(&AuditRecord::Rejected(rejected));
        }
    }

    /// Records what was left out as soon as its second is over, also when nothing follows.
    pub(crate) async fn follow(&self) {
        loop {
            sleep(SECOND).await;
            self.record(Instant::now(), None);
        }
    }

    /// Records what was left out. Called at the end, when nothing follows.
    pub(crate) fn finish(&self) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = recent.renew(Instant::now());
        drop(recent);
        for rejected in left_out {
            self.sink.record(&AuditRecord::Rejected(rejected));
        }
    }
}

/// The rejections of one connection, and how many bytes were received on it.
pub(crate) struct ConnectionRejections {
    rejections: Arc<Rejections>,
    peer: SocketAddr,
    /// The address that a load balancer named.
    client: OnceLock<IpAddr>,
    received: AtomicU64,
    bad_preface: AtomicBool,
    proxy_header: AtomicBool,
}

impl ConnectionRejections {
    pub(crate) fn new(rejections: Arc<Rejections>, peer: SocketAddr) -> Self {
        Self {
            rejections,
            peer,
            client: OnceLock::new(),
            received: AtomicU64::new(0),
            bad_preface: AtomicBool::new(false),
            proxy_header: AtomicBool::new(false),
        }
    }

    /// Sets the client that a load balancer named.
    pub(crate) fn set_client(&self, client: IpAddr) {
        let _ = self.client.set(client);
    }

    /// Counts bytes.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether any byte was received.
    pub(crate) fn has_received(&self) -> bool {
        self.received.load(Ordering::Relaxed) > 0
    }

    /// Notes that the first bytes are those of HTTP/2, and the next ones are not.
    pub(crate) fn bad_preface(&self) {
        self.bad_preface.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_bad_preface(&self) -> bool {
        self.bad_preface.load(Ordering::Relaxed)
    }

    /// Notes that the first bytes are a PROXY protocol header where none is allowed.
    pub(crate) fn proxy_header(&self) {
        self.proxy_header.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_proxy_header(&self) -> bool {
        self.proxy_header.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, reason: RejectReason) {
        let bytes = self.received.load(Ordering::Relaxed);
        let client = self.client.get().copied();
        self.rejections.note(self.peer, client, reason, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Records(Mutex<Vec<(SocketAddr, u64)>>);

    impl AuditSink for Records {
        fn record(&self, record: &AuditRecord<'_>) {
            let AuditRecord::Rejected(rejected) = record else {
                panic!("another record: {record:?}");
            };
            let mut records = self.0.lock().expect("no panic");
            records.push((rejected.peer, rejected.omitted));
        }
    }

    impl Records {
        fn take(&self) -> Vec<(SocketAddr, u64)> {
            mem::take(&mut self.0.lock().expect("no panic"))
        }

        /// How many rejections these records stand for.
        fn stand_for(&self) -> u64 {
            let records = self.0.lock().expect("no panic");
            records.iter().map(|(_, omitted)| 1 + omitted).sum()
        }
    }

    fn peer(client: u8, port: u16) -> SocketAddr {
        ([192, 0, 2, client], port).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_some_records_in_a_second_and_the_rest_is_counted() {
        let (records, counts) = (Arc::new(Records::default()), RejectionCounts::default());
        let rejections = Rejections::new(records.clone(), counts.clone());
        let note = |peer| rejections.note(peer, None, RejectReason::Malformed, 7);
        for port in 1..=10 {
            note(peer(1, port));
        }
        note(peer(2, 1));
        let own = [1, 2, 3, 4].map(|port| (peer(1, port), 0));
        assert_eq!(records.take(), [&own[..], &[(peer(2, 1), 0)]].concat());
        assert_eq!(counts.get(RejectReason::Malformed), 11);

        sleep(SECOND).await;
        note(peer(3, 1));
        // The last of those left out, with the number of the others.
        assert_eq!(records.take(), [(peer(1, 10), 5), (peer(3, 1), 0)]);
        sleep(SECOND).await;
        note(peer(1, 11));
        assert_eq!(records.take(), [(peer(1, 11), 0)]);
        rejections.finish();
        assert_eq!(records.take(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn many_clients_share_a_record() {
        let records = Arc::new(Records::default());
        let rejections = Rejections::new(records.clone(), RejectionCounts::default());
        for client in 0..200 {
            for port in 1..=3 {
                rejections.note(peer(client, port), None, RejectReason::Malformed, 7);
            }
        }
        assert_eq!(records.stand_for(), 64 * 3);
        rejections.finish();
        assert_eq!(records.stand_for(), 200 * 3);
        assert_eq!(records.take().len(), 64 * 3 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_left_out_is_recorded_also_if_nothing_follows() {
        let records = Arc::new(Records::default());
        let rejections = Rejections::new(records.clone(), RejectionCounts::default());
        for port in 1..=6 {
            rejections.note(peer(1, port), None, RejectReason::Incomplete, 7);
        }
        let follow = rejections.follow();
        let waited = tokio::time::timeout(2 * SECOND, follow).await;
        assert!(waited.is_err(), "it follows until the end");
        assert_eq!(records.stand_for(), 6);
        assert_eq!(records.take().last(), Some(&(peer(1, 6), 1)));
    }
}
