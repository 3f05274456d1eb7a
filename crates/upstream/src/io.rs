//! The socket of a connection to a server, and what the pool knows about it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::frames::{Notice, NoticeReader};
use crate::server::Server;

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

/// A connection to a server. It returns its permit when it is closed.
pub(crate) struct ServerStream {
    stream: TcpStream,
    state: Arc<ConnectionState>,
    /// Of HTTP/2.
    notices: Option<NoticeReader>,
    /// Why nothing can be written any more, until everything was read. HTTP/2 only.
    write_error: Option<io::Error>,
    server: Arc<Server>,
    _permit: OwnedSemaphorePermit,
}

impl ServerStream {
    pub(crate) fn new(
        stream: TcpStream,
        server: Arc<Server>,
        is_http2: bool,
        permit: OwnedSemaphorePermit,
    ) -> (Self, Arc<ConnectionState>) {
        server.counters.connections.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(ConnectionState::default());
        let stream = Self {
            stream,
            state: Arc::clone(&state),
            notices: is_http2.then(NoticeReader::default),
            write_error: None,
            server,
            _permit: permit,
        };
        (stream, state)
    }

    /// Keeps the error of a write until everything was read. A server may close its connection at once
    /// after its last answer, and h2 would break that off, unread, because of a window update that the
    /// server needs no longer.
    fn after_reading(
        &mut self,
        polled: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Err(error)) if self.notices.is_some() && is_end(&error) => {
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
        let (before, has_room) = (buf.filled().len(), buf.remaining() > 0);
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        let read = &mut buf.filled_mut()[before..];
        if read.is_empty() {
            // Everything was read, now that the end shows. `Pending` says nothing: what has arrived may
            // not be known yet.
            if polled.is_ready()
                && let Some(error) = this.write_error.take_if(|_| has_room)
            {
                return Poll::Ready(Err(error));
            }
        } else {
            this.state.has_read.store(true, Ordering::Relaxed);
            if let Some(notices) = &mut this.notices {
                notices.read(read, |notice| this.state.notice(notice));
            }
        }
        polled
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
