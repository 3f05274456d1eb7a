//! What keeps lines.

use std::io::{self, Write};

/// Keeps lines, on the queue's own thread.
pub trait Output: Send {
    /// Writes these lines, each of which ends with a newline. After an error the same lines come
    /// again, unless they are given up: what was already written of them is not written twice.
    ///
    /// # Errors
    ///
    /// When not all of them are written.
    fn write(&mut self, lines: &str) -> io::Result<()>;

    /// Makes what was written survive a loss of power, as far as this can.
    ///
    /// # Errors
    ///
    /// When that is not certain.
    fn sync(&mut self) -> io::Result<()>;

    /// The lines that could not be written do not come again.
    fn give_up(&mut self);

    /// Whatever has to be done from time to time.
    ///
    /// # Errors
    ///
    /// When it could not be done.
    fn tick(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Ends it: nothing more will come.
    ///
    /// # Errors
    ///
    /// When not all of what was written is safe.
    fn close(&mut self) -> io::Result<()> {
        self.sync()
    }
}

/// Lines on a stream, such as standard output. [`sync`](Output::sync) only flushes it.
pub struct StreamOutput<W> {
    stream: W,
    /// How much of the lines that could not be written was.
    written: usize,
    /// Whether the line before was never finished.
    torn: bool,
}

impl<W: Write + Send> StreamOutput<W> {
    /// Lines on this stream. It should have no buffer of its own.
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
