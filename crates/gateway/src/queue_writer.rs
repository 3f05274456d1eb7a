//! A bounded queue of lines before a slow or broken stream.
//!
//! Writers never wait for the stream. What does not fit, or cannot be written, is lost, and
//! counted. Lines that come together are written together: waking a thread for each would cost
//! more than all the rest of a request.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long the first of some lines waits for others.
const GATHER: Duration = Duration::from_millis(2);
/// Memory that is kept for the next lines.
const KEEP_BYTES: usize = 256 * 1024;
/// How long the end of the process waits for what is still queued.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// Puts lines into the queue. Cloning shares it.
#[derive(Clone)]
pub(crate) struct QueueWriter(Arc<Queue>);

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

/// Keeps the queue's thread.
pub(crate) struct QueueGuard {
    queue: Arc<Queue>,
    ended: Receiver<()>,
}

/// A queue of `capacity` bytes before `stream`, on a thread of this name.
///
/// # Errors
///
/// When there is no thread to have.
pub(crate) fn queue(
    stream: impl Write + Send + 'static,
    capacity: usize,
    thread_name: &str,
) -> io::Result<(QueueWriter, QueueGuard)> {
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
            // Nobody may be waiting any more.
            let _ = end.send(());
        })?;
    Ok((QueueWriter(Arc::clone(&queue)), QueueGuard { queue, ended }))
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

    /// Writes lines as they come, until the end.
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
            // A stall once must not cost its memory for ever.
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

impl QueueGuard {
    /// Tells how many lines were lost so far.
    pub(crate) fn lost(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let queue = Arc::clone(&self.queue);
        move || queue.lost.load(Ordering::Relaxed)
    }

    /// Writes out what waits, and says how many lines were lost in all. What still waits after a
    /// few seconds is lost.
    pub(crate) fn finish(self) -> u64 {
        self.queue.waiting().ended = true;
        self.queue.wake.notify_one();
        let _ = self.ended.recv_timeout(FLUSH_WITHIN);
        self.queue.lost.load(Ordering::Relaxed) + self.queue.waiting().lines
    }
}

impl Write for QueueWriter {
    /// Takes one whole line: `tracing-subscriber` writes an event in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for QueueWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Sender;

    /// Says when it is asked to write, and then waits until it may.
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
    fn what_does_not_fit_is_lost_and_counted_and_the_rest_is_written_in_order() {
        let ((asked, is_asked), (open, may), (written, lines)) = (channel(), channel(), channel());
        let gate = Gate {
            asked,
            may,
            written,
        };
        let (mut writer, guard) = queue(gate, 4, "test").expect("a thread");
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
    fn what_cannot_be_written_is_lost_and_counted() {
        let ((asked, _), (_, may), (written, _)) = (channel(), channel(), channel());
        let gate = Gate {
            asked,
            may,
            written,
        };
        let (mut writer, guard) = queue(gate, 64, "test").expect("a thread");
        for _ in 0..3 {
            writer.write_all(b"line\n").expect("it never fails");
        }
        assert_eq!(guard.finish(), 3);
    }
}
