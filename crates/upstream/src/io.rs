//! The socket of a connection to a server, and what the pool knows about it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::frames::{Notice, NoticeReader, WITHHELD};
use crate::server::Server;
use crate::transport::{HttpVersion, Transport, tls_cause};

/// What the bytes of a connection have shown so far.
#[derive(Debug, Default)]
pub(crate) struct ConnectionState {
    /// Bytes have arrived since the last request was sent.
    has_read: AtomicBool,
    /// How many streams the server allows. HTTP/2 only.
    max_streams: AtomicU32,
    /// The server's first `SETTINGS` have arrived. HTTP/2 only.
    is_settled: AtomicBool,
    /// The server takes no new streams. HTTP/2 only.
    is_going_away: AtomicBool,
    is_closed: AtomicBool,
    /// Why TLS ended the connection: a server refuses a client certificate after the handshake.
    tls_failure: OnceLock<String>,
    changed: Notify,
}

impl ConnectionState {
    /// A request is about to be sent.
    pub(crate) fn forget_read(&self) {
        self.has_read.store(false, Ordering::Relaxed);
    }

    pub(crate) fn has_read(&self) -> bool {
        self.has_read.load(Ordering::Relaxed)
    }

    /// How many more streams than `open` the server allows.
    pub(crate) fn allows_streams(&self) -> usize {
        match self.is_going_away.load(Ordering::Acquire) {
            true => 0,
            false => self.max_streams.load(Ordering::Acquire) as usize,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Whether the connection can never take another stream.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_closed() || self.is_going_away.load(Ordering::Acquire)
    }

    /// Waits for the server's first `SETTINGS`.
    ///
    /// # Errors
    ///
    /// When the server closes the connection before.
    pub(crate) async fn settled(&self) -> io::Result<()> {
        loop {
            let changed = self.changed.notified();
            if self.is_settled.load(Ordering::Acquire) {
                return Ok(());
            }
            if self.is_closed() {
                let message = "the server does not speak HTTP/2, or closed the connection";
                let message = self.tls_failure.get().map_or(message, String::as_str);
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, message));
            }
            changed.await;
        }
    }

    fn notice(&self, notice: Notice) {
        match notice {
            Notice::Settings(streams) => {
                let is_first = !self.is_settled.load(Ordering::Relaxed);
                // No limit is no limit at the beginning, and no change later (RFC 9113 §6.5.2).
                if let Some(streams) = streams.or(is_first.then_some(u32::MAX)) {
                    self.max_streams.store(streams, Ordering::Release);
                }
                self.is_settled.store(true, Ordering::Release);
            }
            Notice::GoAway => self.is_going_away.store(true, Ordering::Release),
        }
        self.changed.notify_one();
    }
}

/// Bytes of HTTP/2 that were read. The first are judged, and are passed on next; the others begin a frame
/// that can be judged when more of it has arrived.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    judged: usize,
}

impl Held {
    /// Passes on as much as fits. Whether that was anything.
    fn pass_on(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let part = self.judged.min(buf.remaining());
        buf.put_slice(&self.bytes[..part]);
        self.bytes.drain(..part);
        self.judged -= part;
        part > 0
    }
}

/// A connection to a server. It returns its permit when it is closed.
pub(crate) struct ServerStream {
    stream: Transport,
    state: Arc<ConnectionState>,
    /// Of HTTP/2.
    notices: Option<NoticeReader>,
    /// What has been read, and is not passed on yet. HTTP/2 only.
    held: Held,
    /// Why nothing can be written any more, until everything was read.
    write_error: Option<io::Error>,
    server: Arc<Server>,
    _permit: OwnedSemaphorePermit,
}

impl ServerStream {
    pub(crate) fn new(
        stream: Transport,
        server: Arc<Server>,
        version: HttpVersion,
        permit: OwnedSemaphorePermit,
    ) -> (Self, Arc<ConnectionState>) {
        server.counters.connections.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(ConnectionState::default());
        let stream = Self {
            stream,
            state: Arc::clone(&state),
            notices: (version == HttpVersion::Http2).then(NoticeReader::default),
            held: Held::default(),
            write_error: None,
            server,
            _permit: permit,
        };
        (stream, state)
    }

    /// Reads from the socket into a buffer that has room. Nothing is the end.
    fn read_more(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        // `Pending` does not say that everything was read: what has arrived may not be known yet.
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if buf.filled().len() > before {
            self.state.has_read.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        if let Err(error) = &read
            && let Some(cause) = tls_cause(error)
        {
            let _ = self.state.tls_failure.set(voxgate_tls::describe(cause));
        }
        let is_last = self.held.bytes.is_empty() || read.is_err();
        match self.write_error.take_if(|_| is_last) {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Ready(read),
        }
    }

    /// How many bytes at the end cannot be judged yet.
    fn judge_read(&mut self, read: &mut [u8]) -> usize {
        match &mut self.notices {
            Some(notices) => notices.read(read, |notice| self.state.notice(notice)),
            None => 0,
        }
    }

    /// Keeps the error of a write until everything was read. A server may close its connection at once
    /// after its last answer. hyper would give an answer up that has arrived, because the rest of the
    /// upload cannot be written (HTTP/1.1, RFC 9112 §9.5), or a window update that the server needs no
    /// longer (HTTP/2).
    fn after_reading(
        &mut self,
        polled: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Err(error)) if is_end(&error) => {
                self.write_error.get_or_insert(error);
                Poll::Ready(Ok(length))
            }
            other => other,
        }
    }
}

/// Whether the connection has ended with this error.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::TimedOut
    )
}

impl Drop for ServerStream {
    fn drop(&mut self) {
        let connections = &self.server.counters.connections;
        connections.fetch_sub(1, Ordering::Relaxed);
        self.state.is_closed.store(true, Ordering::Release);
        self.state.changed.notify_one();
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.held.pass_on(buf) || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            if this.held.bytes.is_empty() {
                ready!(this.read_more(cx, buf))?;
                let read = &mut buf.filled_mut()[before..];
                if read.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let withheld = this.judge_read(read);
                let passed = buf.filled().len() - withheld;
                this.held.bytes.extend_from_slice(&buf.filled()[passed..]);
                buf.set_filled(passed);
                if passed > before {
                    return Poll::Ready(Ok(()));
                }
            } else {
                // No more than the frame needs to be judged, so that little is copied.
                let mut more = [0; WITHHELD + 1];
                let room = more.len() - this.held.bytes.len();
                let mut more = ReadBuf::new(&mut more[..room]);
                ready!(this.read_more(cx, &mut more))?;
                let mut bytes = std::mem::take(&mut this.held.bytes);
                bytes.extend_from_slice(more.filled());
                let withheld = match more.filled().is_empty() {
                    // The end, amid a frame.
                    true => 0,
                    false => this.judge_read(&mut bytes),
                };
                this.held.judged = bytes.len() - withheld;
                this.held.bytes = bytes;
            }
        }
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.after_reading(polled, buf.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        let length = bufs.iter().map(|buf| buf.len()).sum();
        self.after_reading(polled, length)
    }
}
