//! One direction of a tunnel.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::io::poll_read_buf;

use voxgate_usage::TunnelReader;

use super::frames::Frames;
use super::inspection::{Inspection, Refusal};

/// How much is read at a time.
const BUFFER: usize = 8 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Upstream,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

/// Why a direction ended before its end.
#[derive(Debug)]
pub(super) enum FlowError {
    /// This side broke off.
    Broken(Side),
    /// The client sent what it may not send.
    Refused(Box<Refusal>),
}

/// Copies one direction, or what an [`Inspection`] makes of it.
///
/// # Cancel safety
///
/// No byte is lost or written twice when one of the futures is dropped and another one called:
/// bytes that were read and not yet written stay in the buffer, unlike in `tokio::io::copy`.
pub(super) struct Flow<'a, R, W> {
    from: R,
    to: W,
    side: Side,
    /// What was read. It has no memory while the direction waits for more: most tunnels are idle.
    buffer: Vec<u8>,
    inspection: Option<Box<Inspected>>,
    /// The part of the buffer, or of what was inspected, that is not yet written.
    start: usize,
    end: usize,
    unflushed: bool,
    /// Of what was written.
    frames: Frames,
    /// Reads the messages that were written.
    listener: Option<TunnelReader>,
    carried: &'a AtomicU64,
}

/// What is written in place of what was read.
struct Inspected {
    inspection: Inspection,
    bytes: Vec<u8>,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Flow<'a, R, W> {
    /// Reads from `side` and writes to the other one.
    pub(super) fn new(side: Side, from: R, to: W, carried: &'a AtomicU64) -> Self {
        Self {
            from,
            to,
            side,
            buffer: Vec::new(),
            inspection: None,
            start: 0,
            end: 0,
            unflushed: false,
            frames: Frames::default(),
            listener: None,
            carried,
        }
    }

    /// Inspects what is read from now on.
    pub(super) fn inspect(&mut self, inspection: Inspection) {
        let bytes = Vec::new();
        self.inspection = Some(Box::new(Inspected { inspection, bytes }));
    }

    /// Tells the listener the messages that are written from now on.
    pub(super) fn listen(&mut self, listener: Option<TunnelReader>) {
        self.listener = listener;
    }

    /// Of what was written.
    pub(super) fn frames(&self) -> &Frames {
        &self.frames
    }

    /// Copies until the end, and passes that on.
    pub(super) async fn copy(&mut self) -> Result<(), FlowError> {
        loop {
            while self.start < self.end {
                self.write(self.end).await?;
            }
            if self.read().await? == 0 {
                break;
            }
        }
        // The receiver may have closed its connection already.
        let _ = self.to.shutdown().await;
        Ok(())
    }

    /// Copies the rest of the frame that is being written, and nothing after it.
    pub(super) async fn finish_frame(&mut self) -> Result<(), FlowError> {
        while !self.frames.at_boundary() {
            if self.start == self.end && self.read().await? == 0 {
                return Err(FlowError::Broken(self.side));
            }
            let of_frame = self.frames.of_frame(self.held(self.end));
            self.write(self.start + of_frame).await?;
        }
        Ok(())
    }

    /// Writes a frame of the gateway's own.
    pub(super) async fn say(&mut self, frame: &[u8]) -> io::Result<()> {
        self.to.write_all(frame).await?;
        self.to.flush().await
    }

    /// Closes the direction for writing.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.to.shutdown().await
    }

    /// Reads to the end and drops all data, including the buffer.
    pub(super) async fn discard(&mut self) {
        (self.start, self.end) = (0, 0);
        loop {
            self.buffer.clear();
            self.buffer.reserve(BUFFER);
            let Ok(1..) = self.from.read_buf(&mut self.buffer).await else {
                return;
            };
        }
    }

    /// What is not yet written and stands before `end`.
    fn held(&self, end: usize) -> &[u8] {
        match &self.inspection {
            Some(inspected) => &inspected.bytes[self.start..end],
            None => &self.buffer[self.start..end],
        }
    }

    /// Reads into the empty buffer, and inspects what was read. When that has to wait, it flushes
    /// what was written: the other side may answer only to that. `Ok(0)` is the end.
    async fn read(&mut self) -> Result<usize, FlowError> {
        (self.start, self.end) = (0, 0);
        self.buffer.clear();
        let read = self.read_raw().await.map_err(FlowError::Broken)?;
        self.end = match &mut self.inspection {
            None => read,
            Some(inspected) => {
                let Inspected { inspection, bytes } = &mut **inspected;
                bytes.clear();
                let passed = inspection.pass(&self.buffer, bytes);
                passed.map_err(|refusal| FlowError::Refused(Box::new(refusal)))?;
                bytes.len()
            }
        };
        Ok(read)
    }

    async fn read_raw(&mut self) -> Result<usize, Side> {
        poll_fn(|cx| {
            self.buffer.reserve(BUFFER);
            match poll_read_buf(Pin::new(&mut self.from), cx, &mut self.buffer) {
                Poll::Ready(read) => Poll::Ready(read.map_err(|_| self.side)),
                Poll::Pending => {
                    self.buffer = Vec::new();
                    if let Some(inspected) = &mut self.inspection {
                        inspected.bytes = Vec::new();
                    }
                    if self.unflushed {
                        let flushed = ready!(Pin::new(&mut self.to).poll_flush(cx));
                        flushed.map_err(|_| self.side.other())?;
                        self.unflushed = false;
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Writes a part of what is held before `end`.
    async fn write(&mut self, end: usize) -> Result<(), FlowError> {
        // Not a method, because it borrows one field and `to` is another.
        let held = match &self.inspection {
            Some(inspected) => &inspected.bytes[self.start..end],
            None => &self.buffer[self.start..end],
        };
        let written = match self.to.write(held).await {
            Ok(written @ 1..) => written,
            Ok(0) | Err(_) => return Err(FlowError::Broken(self.side.other())),
        };
        self.frames
            .advance(&held[..written], self.listener.as_mut());
        self.carried.fetch_add(written as u64, Ordering::Relaxed);
        self.start += written;
        self.unflushed = true;
        Ok(())
    }
}
