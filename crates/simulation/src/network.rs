//! The simulated network: TCP connections with delay, loss and partitions.
//!
//! A lost segment comes one retransmission later, and everything behind it on its connection waits.
//! What is sent into a partition is delivered after it, as TCP does, even if its sender has closed
//! the connection meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use fastrand::Rng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use voxgate_limits_redis::simulation::{Dialer, Dialing, Stream};

/// A machine in the network.
pub type Host = usize;

/// The time until a lost segment is sent again (RFC 6298 §2.4 allows at least a second, Linux begins
/// with 200 milliseconds).
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// The longest pause between retransmissions that is simulated.
const LONGEST_RETRANSMISSION: Duration = Duration::from_secs(10);

/// How the network behaves.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The shortest and the longest delay in one direction, in whole milliseconds: the timers of the
    /// runtime are not finer.
    pub delay_millis: (u64, u64),
    /// How many of a million segments are lost.
    pub lost_per_million: u32,
}

/// The network. Clones are the same network.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    random: Rng,
    weather: Weather,
    listeners: BTreeMap<String, Listener>,
    /// Hosts of different groups do not reach each other. Without an entry, a host is in group 0.
    groups: BTreeMap<Host, u32>,
    divided: Instant,
    pipes: Vec<Weak<Mutex<Pipe>>>,
}

struct Listener {
    host: Host,
    accept: mpsc::UnboundedSender<Accepted>,
    is_open: bool,
}

/// One direction of a connection.
struct Pipe {
    from: Host,
    to: Host,
    chunks: VecDeque<Chunk>,
    /// No chunk arrives before an earlier one.
    last: Instant,
    is_closed: bool,
    is_reset: bool,
    reader: Option<Waker>,
}

struct Chunk {
    bytes: Bytes,
    /// `None` while it waits for the end of a partition.
    at: Option<Instant>,
}

/// The end of a connection that a server has.
pub struct Accepted {
    /// What the client sends.
    pub incoming: Receiver,
    /// What the server sends.
    pub outgoing: Sender,
}

/// The receiving end of a pipe.
pub struct Receiver {
    pipe: Arc<Mutex<Pipe>>,
    timer: Pin<Box<Sleep>>,
}

/// The sending end of a pipe. Dropping it closes the pipe.
pub struct Sender {
    network: Network,
    pipe: Arc<Mutex<Pipe>>,
}

impl Network {
    /// A network without hosts.
    #[must_use]
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Rng::with_seed(seed),
            weather,
            listeners: BTreeMap::new(),
            groups: BTreeMap::new(),
            divided: Instant::now(),
            pipes: Vec::new(),
        })))
    }

    /// Listens on a host under this name, `host:port`.
    #[must_use]
    pub fn listen(&self, host: Host, name: &str) -> mpsc::UnboundedReceiver<Accepted> {
        let (accept, accepted) = mpsc::unbounded_channel();
        let listener = Listener {
            host,
            accept,
            is_open: true,
        };
        lock(&self.0).listeners.insert(name.to_owned(), listener);
        accepted
    }

    /// Connects from this host.
    #[must_use]
    pub fn dialer(&self, from: Host) -> Dialer {
        let network = self.clone();
        Dialer::new(move |host, port| -> Dialing {
            Box::pin(network.clone().connect(from, format!("{host}:{port}")))
        })
    }

    /// Connects from this host to a server.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` if its process has ended. If it is not reached, there is no answer.
    pub async fn dial(&self, from: Host, host: &str, port: u16) -> io::Result<Stream> {
        self.clone().connect(from, format!("{host}:{port}")).await
    }

    /// Puts these hosts into a group of their own. They reach only each other.
    pub fn separate(&self, hosts: impl IntoIterator<Item = Host>) {
        let mut state = lock(&self.0);
        let group = state.groups.values().max().map_or(1, |group| group + 1);
        state
            .groups
            .extend(hosts.into_iter().map(|host| (host, group)));
        state.divided = Instant::now();
    }

    /// Ends all partitions. What was sent into them is sent again.
    pub fn heal(&self) {
        let mut state = lock(&self.0);
        state.groups.clear();
        let now = Instant::now();
        let longest = (now - state.divided).min(LONGEST_RETRANSMISSION);
        let pipes = std::mem::take(&mut state.pipes);
        for pipe in pipes.iter().filter_map(Weak::upgrade) {
            let mut pipe = lock(&pipe);
            if pipe.chunks.iter().all(|chunk| chunk.at.is_some()) {
                continue;
            }
            // Pauses between retransmissions double, so the next comes at most as late as the
            // partition was long.
            let at = now + longest.mul_f64(state.random.f64());
            let at = at.max(pipe.last);
            pipe.last = at;
            for chunk in pipe.chunks.iter_mut().filter(|chunk| chunk.at.is_none()) {
                chunk.at = Some(at);
            }
            wake(&mut pipe);
        }
        state.pipes = pipes;
    }

    /// Whether two hosts reach each other.
    #[must_use]
    pub fn reaches(&self, from: Host, to: Host) -> bool {
        lock(&self.0).reaches(from, to)
    }

    /// Ends all connections of a host, as the end of its process does, and refuses new ones.
    pub fn stop(&self, host: Host) {
        let mut state = lock(&self.0);
        for pipe in state.pipes.iter().filter_map(Weak::upgrade) {
            let mut pipe = lock(&pipe);
            if pipe.from == host || pipe.to == host {
                pipe.is_reset = true;
                wake(&mut pipe);
            }
        }
        state.open(host, false);
    }

    /// Accepts connections to this host again.
    pub fn start(&self, host: Host) {
        lock(&self.0).open(host, true);
    }

    async fn connect(self, from: Host, name: String) -> io::Result<Stream> {
        let there = lock(&self.0).delay();
        sleep(there).await;
        let Some((to, back)) = self.route(from, &name) else {
            // Nothing says that the host is gone.
            return std::future::pending().await;
        };
        sleep(back).await;
        let (request, answer) = (self.pipe(from, to), self.pipe(to, from));
        let accepted = Accepted {
            incoming: Receiver::new(&request),
            outgoing: self.sender(&answer),
        };
        let state = lock(&self.0);
        let listener = state.listeners.get(&name).filter(|it| it.is_open);
        let sent = listener.is_some_and(|it| it.accept.send(accepted).is_ok());
        drop(state);
        if !sent {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Box::new(ClientEnd {
            incoming: Receiver::new(&answer),
            received: Bytes::new(),
            outgoing: Some(self.sender(&request)),
        }))
    }

    /// The host with this name and the delay of the way back, if it is reached.
    fn route(&self, from: Host, name: &str) -> Option<(Host, Duration)> {
        let mut state = lock(&self.0);
        let to = state.listeners.get(name)?.host;
        state.reaches(from, to).then(|| (to, state.delay()))
    }

    fn pipe(&self, from: Host, to: Host) -> Arc<Mutex<Pipe>> {
        let pipe = Arc::new(Mutex::new(Pipe {
            from,
            to,
            chunks: VecDeque::new(),
            last: Instant::now(),
            is_closed: false,
            is_reset: false,
            reader: None,
        }));
        let mut state = lock(&self.0);
        state.pipes.retain(|pipe| pipe.strong_count() > 0);
        state.pipes.push(Arc::downgrade(&pipe));
        pipe
    }

    fn sender(&self, pipe: &Arc<Mutex<Pipe>>) -> Sender {
        Sender {
            network: self.clone(),
            pipe: Arc::clone(pipe),
        }
    }
}

impl State {
    fn reaches(&self, from: Host, to: Host) -> bool {
        let group = |host| self.groups.get(&host).copied().unwrap_or_default();
        group(from) == group(to)
    }

    fn open(&mut self, host: Host, is_open: bool) {
        for listener in self.listeners.values_mut().filter(|it| it.host == host) {
            listener.is_open = is_open;
        }
    }

    fn delay(&mut self) -> Duration {
        let (least, most) = self.weather.delay_millis;
        let delay = Duration::from_millis(self.random.u64(least..=most));
        match self.random.u32(0..1_000_000) < self.weather.lost_per_million {
            true => delay + RETRANSMISSION,
            false => delay,
        }
    }
}

impl Sender {
    /// Sends at this time, which may be in the future.
    pub fn send(&self, bytes: Bytes, at: Instant) {
        let mut state = lock(&self.network.0);
        let mut pipe = lock(&self.pipe);
        if pipe.is_reset {
            return;
        }
        let is_stalled = pipe.chunks.back().is_some_and(|chunk| chunk.at.is_none());
        let at = match is_stalled || !state.reaches(pipe.from, pipe.to) {
            true => None,
            false => {
                let at = (at + state.delay()).max(pipe.last);
                pipe.last = at;
                Some(at)
            }
        };
        pipe.chunks.push_back(Chunk { bytes, at });
        wake(&mut pipe);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut pipe = lock(&self.pipe);
        pipe.is_closed = true;
        wake(&mut pipe);
    }
}

impl Receiver {
    fn new(pipe: &Arc<Mutex<Pipe>>) -> Self {
        Self {
            pipe: Arc::clone(pipe),
            timer: Box::pin(sleep_until(Instant::now())),
        }
    }

    /// Waits for bytes. `None` if the connection has ended.
    pub async fn receive(&mut self) -> Option<Bytes> {
        poll_fn(|context| self.poll(context)).await.ok().flatten()
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            let mut pipe = lock(&self.pipe);
            if pipe.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let at = match pipe.chunks.front() {
                Some(chunk) => chunk.at,
                None if pipe.is_closed => return Poll::Ready(Ok(None)),
                None => None,
            };
            match at {
                Some(at) if at <= Instant::now() => {
                    let chunk = pipe.chunks.pop_front();
                    return Poll::Ready(Ok(chunk.map(|chunk| chunk.bytes)));
                }
                Some(at) => {
                    // A reset does not wait for the next chunk.
                    pipe.reader = Some(context.waker().clone());
                    drop(pipe);
                    if self.timer.deadline() != at {
                        self.timer.as_mut().reset(at);
                    }
                    ready!(self.timer.as_mut().poll(context));
                }
                None => {
                    pipe.reader = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

/// The end of a connection that a gateway has.
struct ClientEnd {
    incoming: Receiver,
    received: Bytes,
    outgoing: Option<Sender>,
}

impl AsyncRead for ClientEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.received.is_empty() {
            self.received = ready!(self.incoming.poll(context))?.unwrap_or_default();
        }
        let length = buffer.remaining().min(self.received.len());
        buffer.put_slice(&self.received[..length]);
        self.received.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &self.outgoing {
            Some(outgoing) => outgoing.send(Bytes::copy_from_slice(bytes), Instant::now()),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing = None;
        Poll::Ready(Ok(()))
    }
}

fn wake(pipe: &mut Pipe) {
    if let Some(reader) = pipe.reader.take() {
        reader.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
