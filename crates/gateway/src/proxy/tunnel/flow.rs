//! One direction of a tunnel.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::frames::Frames;

/// How much is read at a time. Each tunnel has two of these buffers.
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

/// Copies one direction. An error is the side that broke off.
///
/// # Cancel safety
///
/// No byte is lost or written twice when one of the futures is dropped and another one called:
/// bytes that were read and not yet written stay in the buffer, unlike in `tokio::io::copy`.
pub(super) struct Flow<'a, R, W> {
    from: R,
    to: W,
    side: Side,
    buffer: Box<[u8]>,
    /// The part of the buffer that was read and not yet written.
    start: usize,
    end: usize,
    unflushed: bool,
    /// Of what was written.
    frames: Frames,
    carried: &'a AtomicU64,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Flow<'a, R, W> {
    /// Reads from `side` and writes to the other one.
    pub(super) fn new(side: Side, from: R, to: W, carried: &'a AtomicU64) -> Self {
        Self {
            from,
            to,
            side,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            unflushed: false,
            frames: Frames::default(),
            carried,
        }
    }

    /// Of what was written.
    pub(super) fn frames(&self) -> &Frames {
        &self.frames
    }

    /// Copies until the end, and passes that on.
    pub(super) async fn copy(&mut self) -> Result<(), Side> {
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
    pub(super) async fn finish_frame(&mut self) -> Result<(), Side> {
        while !self.frames.at_boundary() {
            if self.start == self.end && self.read().await? == 0 {
                return Err(self.side);
            }
            let held = &self.buffer[self.start..self.end];
            self.write(self.start + self.frames.of_frame(held)).await?;
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
        while let Ok(1..) = self.from.read(&mut self.buffer).await {}
    }

    /// Reads into the empty buffer. When that has to wait, it flushes what was written: the other
    /// side may answer only to that.
    async fn read(&mut self) -> Result<usize, Side> {
        (self.start, self.end) = (0, 0);
        poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut self.from).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    self.end = buffer.filled().len();
                    Poll::Ready(Ok(self.end))
                }
                Poll::Ready(Err(_)) => Poll::Ready(Err(self.side)),
                Poll::Pending => {
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

    /// Writes a part of the buffer before `end`.
    async fn write(&mut self, end: usize) -> Result<(), Side> {
        let written = match self.to.write(&self.buffer[self.start..end]).await {
            Ok(written @ 1..) => written,
            Ok(0) | Err(_) => return Err(self.side.other()),
        };
        let bytes = &self.buffer[self.start..self.start + written];
        self.frames.advance(bytes);
        self.carried.fetch_add(written as u64, Ordering::Relaxed);
        self.start += written;
        self.unflushed = true;
        Ok(())
    }
}
