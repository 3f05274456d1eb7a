//! The bounded queue of log lines, and the thread that writes them.
//!
//! Callers never wait for the stream. Lines that do not fit or cannot be written are lost and
//! counted; `tracing-appender` counts neither failed writes nor lines that are left at exit. Lines
//! that arrive together are written together, because waking a thread for each line would cost more
//! than the rest of a request.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long the thread waits for more lines after the first.
const GATHER: Duration = Duration::from_millis(2);
/// How much memory is kept for the next lines.
const KEEP_BYTES: usize = 256 * 1024;
/// How long the process waits at its end for the lines in the queue.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// Adds lines to the queue. Clones share the queue.
#[derive(Clone)]
pub(crate) struct LogWriter(Arc<Queue>);

struct Queue {
    /// In bytes.
    capacity: usize,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    lost: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    ended: bool,
}

/// Ends the queue's thread.
pub(crate) struct LogGuard {
    queue: Arc<Queue>,
    ended: Receiver<()>,
}

/// Starts a thread of this name that writes to `stream`, and its queue of `capacity` bytes.
///
/// # Errors
///
/// When the thread cannot be started.
pub(crate) fn start(
    stream: impl Write + Send + 'static,
    capacity: usize,
    thread_name: &str,
) -> io::Result<(LogWriter, LogGuard)> {
    let queue = Arc::new(Queue {
        capacity,
        waiting: Mutex::default(),
        wake: Condvar::new(),
        lost: AtomicU64::new(0),
    });
    let (end, ended) = channel();
    let shared = Arc::clone(&queue);
    thread::Builder::new()
        .name(thread_name.to_owned())
        .spawn(move || {
            shared.write_all(stream);
            // The process may have stopped waiting.
            let _ = end.send(());
        })?;
    Ok((LogWriter(Arc::clone(&queue)), LogGuard { queue, ended }))
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.bytes.len() + line.len() > self.capacity || waiting.ended {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        drop(waiting);
        if is_first {
            self.wake.notify_one();
        }
    }

    /// Writes lines until the queue is ended.
    fn write_all(&self, mut stream: impl Write) {
        let mut batch = Vec::new();
        loop {
            let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.ended;
            let woken = self.wake.wait_while(self.waiting(), idle);
            let ended = woken.unwrap_or_else(PoisonError::into_inner).ended;
            if !ended {
                thread::sleep(GATHER);
            }
            batch.clear();
            // The memory of a stall is freed afterwards.
            batch.shrink_to(KEEP_BYTES);
            let lines = {
                let mut waiting = self.waiting();
                mem::swap(&mut batch, &mut waiting.bytes);
                mem::take(&mut waiting.lines)
            };
            if lines == 0 && ended {
                return;
            }
            if stream
                .write_all(&batch)
                .and_then(|()| stream.flush())
                .is_err()
            {
                self.lost.fetch_add(lines, Ordering::Relaxed);
            }
        }
    }
}

impl LogGuard {
    /// Returns a function that counts the lines that were lost so far.
    pub(crate) fn lost(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let queue = Arc::clone(&self.queue);
        move || queue.lost.load(Ordering::Relaxed)
    }

    /// Writes the lines in the queue, and returns how many lines were lost in all. Lines that are
    /// not written after five seconds are lost.
    pub(crate) fn finish(self) -> u64 {
        self.queue.waiting().ended = true;
        self.queue.wake.notify_one();
        let _ = self.ended.recv_timeout(FLUSH_WITHIN);
        self.queue.lost.load(Ordering::Relaxed) + self.queue.waiting().lines
    }
}

impl Write for LogWriter {
    /// Takes one whole line: `tracing-subscriber` writes an event in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Sender;

    /// Reports that it is asked to write, and then waits for permission.
    struct Gate {
        asked: Sender<()>,
        may: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.asked.send(());
            self.may.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_lost_and_counted_and_the_others_are_written_in_order() {
        let ((asked, is_asked), (open, may), (written, lines)) = (channel(), channel(), channel());
        let gate = Gate {
            asked,
            may,
            written,
        };
        let (mut writer, guard) = start(gate, 4, "test").expect("a thread");
        let mut write = |line: &[u8]| writer.write_all(line).expect("it never fails");
        write(b"a\n");
        is_asked.recv().expect("the first line is being written");
        for line in [b"b\n", b"c\n", b"d\n", b"e\n"] {
            write(line);
        }
        assert_eq!(guard.lost()(), 2, "two more fit");
        drop(is_asked);
        let _ = open.send(());
        let _ = open.send(());
        assert_eq!(guard.finish(), 2);
        assert_eq!(
            lines.try_iter().flatten().collect::<Vec<u8>>(),
            b"a\nb\nc\n"
        );
    }

    #[test]
    fn lines_that_cannot_be_written_are_lost_and_counted() {
        let ((asked, _), (_, may), (written, _)) = (channel(), channel(), channel());
        let gate = Gate {
            asked,
            may,
            written,
        };
        let (mut writer, guard) = start(gate, 64, "test").expect("a thread");
        for _ in 0..3 {
            writer.write_all(b"line\n").expect("it never fails");
        }
        assert_eq!(guard.finish(), 3);
    }
}
