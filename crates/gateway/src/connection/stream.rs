//! A client's socket, with time limits that the HTTP implementations do not have.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use voxgate_client_address::proxy_protocol;

use super::activity::Activity;
use super::half_close::ClientEnd;
use super::http2::{Flood, Http2Frames};
use super::limiter::ConnectionPermit;
use super::socket::Socket;
use crate::rejections::{ConnectionRejections, RejectReason};
use crate::write_limit::WriteLimit;

/// The first bytes of an HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// As much of them as no HTTP/1.1 client sends.
const VERSION: usize = b"PRI * HTTP/2.0".len();
/// A write of fewer bytes is not part of an answer but an HTTP/2 control frame, such as a ping.
const CONTROL_BYTES: usize = 64;

/// A client's socket. Reading fails when the first bytes do not show in time which protocol the
/// client speaks: until then the time limits of neither protocol apply. Writing fails when the
/// client reads nothing for a minute.
pub(super) struct ClientStream {
    socket: Socket,
    activity: Activity,
    end: ClientEnd,
    rejections: Arc<ConnectionRejections>,
    protocol: Protocol,
    header_timeout: Duration,
    write_limit: WriteLimit,
    /// The connection's permit. It is returned when the socket closes, also when a tunnel uses it.
    _permit: ConnectionPermit,
}

/// What the client speaks, as far as its first bytes have shown.
enum Protocol {
    /// So many bytes are those of an HTTP/2 connection. They must continue in time.
    Undecided(Pin<Box<Sleep>>, usize),
    Http1(HeaderTimer),
    Http2(Box<Http2Frames>),
    /// A connection that was HTTP/1.1 until it was upgraded.
    Tunnel,
}

/// The time that the header of a request takes.
#[derive(Default)]
struct HeaderTimer {
    /// Bytes were received since the last request began.
    has_received: bool,
    /// The requests that have begun.
    requests: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl HeaderTimer {
    fn begun() -> Self {
        Self {
            has_received: true,
            ..Self::default()
        }
    }

    /// Resolves when a header has begun to arrive and is not complete after `limit`. The time without
    /// any part of a header is not counted.
    fn poll(&mut self, cx: &mut Context<'_>, activity: &Activity, limit: Duration) -> Poll<()> {
        if !self.has_received {
            return Poll::Pending;
        }
        let (requests, is_busy) = activity.requests();
        if is_busy || requests != self.requests {
            *self = Self {
                requests,
                ..Self::default()
            };
            return Poll::Pending;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx)
    }
}

impl ClientStream {
    pub(super) fn new(
        socket: Socket,
        header_timeout: Duration,
        write_stall: Duration,
        permit: ConnectionPermit,
        activity: Activity,
        end: ClientEnd,
        rejections: Arc<ConnectionRejections>,
    ) -> Self {
        Self {
            socket,
            activity,
            end,
            rejections,
            protocol: Protocol::Undecided(Box::pin(sleep(header_timeout)), 0),
            header_timeout,
            write_limit: WriteLimit::new(write_stall),
            _permit: permit,
        }
    }

    /// Looks at bytes that were received. They show which protocol it is.
    ///
    /// # Errors
    ///
    /// When they are a flood of HTTP/2 frames.
    fn received(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        self.rejections.received(bytes.len());
        let seen = match &mut self.protocol {
            Protocol::Undecided(_, seen) => {
                if *seen == 0 && proxy_protocol::is_start(bytes) {
                    self.rejections.proxy_header();
                }
                seen
            }
            Protocol::Http1(header) => {
                header.has_received |= !bytes.is_empty();
                return Ok(());
            }
            Protocol::Http2(frames) => return frames.received(bytes, Instant::now()),
            Protocol::Tunnel => return Ok(()),
        };
        let same = PREFACE[*seen..].iter().zip(bytes);
        let same = same.take_while(|(expected, byte)| expected == byte).count();
        *seen += same;
        if *seen == PREFACE.len() {
            let now = Instant::now();
            let mut frames = Box::new(Http2Frames::new(now));
            let received = frames.received(&bytes[same..], now);
            self.protocol = Protocol::Http2(frames);
            return received;
        } else if same < bytes.len() || bytes.is_empty() {
            if (VERSION..).contains(seen) && !bytes.is_empty() {
                self.rejections.bad_preface();
            }
            self.protocol = Protocol::Http1(HeaderTimer::begun());
        }
        Ok(())
    }

    /// Looks at bytes that were sent: the first ones of these parts.
    fn sent<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>, mut length: usize) {
        let Protocol::Http2(frames) = &mut self.protocol else {
            return;
        };
        for part in parts {
            let part = &part[..part.len().min(length)];
            length -= part.len();
            frames.sent(part, |reason| self.rejections.note(reason));
        }
    }

    /// Reports progress of a write, or fails a write that has waited for too long.
    fn limit(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(CONTROL_BYTES..)) = polled {
            self.activity.progress();
        }
        self.write_limit.check(cx, polled)
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.socket).poll_read(cx, buf);
        // Neither the time of a header nor what the request said counts in a tunnel.
        if matches!(this.protocol, Protocol::Http1(_)) && this.activity.has_upgraded() {
            this.protocol = Protocol::Tunnel;
        }
        match (&polled, &mut this.protocol) {
            (Poll::Pending, Protocol::Undecided(timer, _)) => {
                ready!(timer.as_mut().poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            (Poll::Pending, Protocol::Http1(header)) => {
                ready!(header.poll(cx, &this.activity, this.header_timeout));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            (Poll::Ready(Ok(())), Protocol::Http1(_))
                if buf.filled().len() == before && buf.remaining() > 0 && this.end.hide() =>
            {
                return Poll::Pending;
            }
            (Poll::Ready(Ok(())), _) => {
                if let Err(Flood) = this.received(&buf.filled()[before..]) {
                    this.rejections.note(RejectReason::Flood);
                    let error = "HTTP/2 frames without progress";
                    return Poll::Ready(Err(io::Error::other(error)));
                }
            }
            _ => {}
        }
        polled
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        if let Poll::Ready(Ok(sent)) = polled {
            self.sent([buf], sent);
        }
        self.limit(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(sent)) = polled {
            self.sent(bufs.iter().map(|buf| &**buf), sent);
        }
        self.limit(cx, polled)
    }
}
