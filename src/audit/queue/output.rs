//! The output of the queue.

use std::io::{self, Write};

/// Stores lines. It runs on the queue's thread.
pub trait Output: Send {
    /// Writes these lines. Each line ends with a newline. After an error, the queue passes the same
    /// lines again, unless it calls [`give_up`](Self::give_up). An implementation must not write
    /// the part again that it has already written.
    ///
    /// # Errors
    ///
    /// If not all lines were written.
    fn write(&mut self, lines: &str) -> io::Result<()>;

    /// Makes the written lines survive a power failure, if the output supports that.
    ///
    /// # Errors
    ///
    /// If the lines may not survive.
    fn sync(&mut self) -> io::Result<()>;

    /// Called if the queue will not pass the failed lines again.
    fn give_up(&mut self);

    /// Runs periodic tasks.
    ///
    /// # Errors
    ///
    /// If a task failed.
    fn tick(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Closes the output. No more lines follow.
    ///
    /// # Errors
    ///
    /// If the written lines may not survive a power failure.
    fn close(&mut self) -> io::Result<()> {
        self.sync()
    }
}

/// Writes lines to a stream, such as standard output. [`sync`](Output::sync) only flushes it.
pub struct StreamOutput<W> {
    stream: W,
    /// How many bytes of the failed lines were written.
    written: usize,
    /// Whether the previous line is incomplete.
    torn: bool,
}

impl<W: Write + Send> StreamOutput<W> {
    /// Writes lines to this stream. The stream should not be buffered.
    pub fn new(stream: W) -> Self {
        Self {
            stream,
            written: 0,
            torn: false,
        }
    }
}

impl<W: Write + Send> Output for StreamOutput<W> {
    fn write(&mut self, lines: &str) -> io::Result<()> {
        if self.torn {
            self.stream.write_all(b"\n")?;
            self.torn = false;
        }
        while self.written < lines.len() {
            match self.stream.write(&lines.as_bytes()[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.stream.flush()?;
        self.written = 0;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.stream.flush()
    }

    fn give_up(&mut self) {
        self.torn = self.written > 0;
        self.written = 0;
    }
}
