//! A bounded queue of lines before a slow or broken stream.
//!
//! Writers never wait. What does not fit, or cannot be written, is lost, and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long the end of the process waits for what is still queued.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// Most that is written in one piece.
const BATCH_BYTES: usize = 64 * 1024;

/// Puts lines into the queue. Cloning shares it.
#[derive(Clone)]
pub(crate) struct QueueWriter {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
}

enum Message {
    Line(Vec<u8>),
    End,
}

#[derive(Default)]
struct Counts {
    /// Lines that somebody wanted to write.
    offered: AtomicU64,
    written: AtomicU64,
    lost: AtomicU64,
}

/// Keeps the queue's thread. Dropping it writes out what waits, within a few seconds.
pub(crate) struct QueueGuard {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
    ended: Receiver<()>,
}

/// A queue of `capacity` lines before `stream`, on a thread of this name.
///
/// # Errors
///
/// When there is no thread to have.
pub(crate) fn queue(
    stream: impl Write + Send + 'static,
    capacity: usize,
    thread_name: &str,
) -> io::Result<(QueueWriter, QueueGuard)> {
    let (sender, lines) = sync_channel(capacity);
    let (end, ended) = channel();
    let counts = Arc::new(Counts::default());
    let shared = Arc::clone(&counts);
    thread::Builder::new()
        .name(thread_name.to_owned())
        .spawn(move || {
            write_all(&lines, stream, &shared);
            // Nobody may be waiting any more.
            let _ = end.send(());
        })?;
    let writer = QueueWriter {
        queue: sender.clone(),
        counts: Arc::clone(&counts),
    };
    Ok((
        writer,
        QueueGuard {
            queue: sender,
            counts,
            ended,
        },
    ))
}

/// Writes lines as they come; those that wait together are written together.
fn write_all(lines: &Receiver<Message>, mut stream: impl Write, counts: &Counts) {
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    let mut next = lines.recv().ok();
    while let Some(Message::Line(line)) = next {
        batch.extend_from_slice(&line);
        let mut count = 1;
        next = None;
        while batch.len() < BATCH_BYTES {
            match lines.try_recv() {
                Ok(Message::Line(line)) => {
                    batch.extend_from_slice(&line);
                    count += 1;
                }
                other => {
                    next = other.ok();
                    break;
                }
            }
        }
        let written = stream.write_all(&batch).and_then(|()| stream.flush());
        let counter = if written.is_ok() {
            &counts.written
        } else {
            &counts.lost
        };
        counter.fetch_add(count, Ordering::Relaxed);
        batch.clear();
        next = next.or_else(|| lines.recv().ok());
    }
}

impl QueueGuard {
    /// Tells how many lines were lost so far.
    pub(crate) fn lost(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let counts = Arc::clone(&self.counts);
        move || counts.lost.load(Ordering::Relaxed)
    }

    /// Writes out what waits, and says how many lines were lost in all.
    pub(crate) fn finish(self) -> u64 {
        // A full queue has no place for the end; whoever writes it out makes one.
        let queue = self.queue.clone();
        thread::spawn(move || queue.send(Message::End));
        let _ = self.ended.recv_timeout(FLUSH_WITHIN);
        let offered = self.counts.offered.load(Ordering::Relaxed);
        offered.saturating_sub(self.counts.written.load(Ordering::Relaxed))
    }
}

impl Write for QueueWriter {
    /// Takes one whole line: `tracing-subscriber` writes an event in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.counts.offered.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
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
        let (mut writer, guard) = queue(
            Gate {
                asked,
                may,
                written,
            },
            2,
            "test",
        )
        .expect("a thread");
        let mut write = |line| writer.write_all(&[line]).expect("it never fails");
        write(0);
        is_asked.recv().expect("the first line is being written");
        (1..6).for_each(&mut write);
        assert_eq!(guard.lost()(), 3, "two more fit");
        drop(is_asked);
        let _ = open.send(());
        let _ = open.send(());
        assert_eq!(guard.finish(), 3);
        assert_eq!(lines.try_iter().flatten().collect::<Vec<u8>>(), [0, 1, 2]);
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_counted() {
        let ((asked, _), (_, may), (written, _)) = (channel(), channel(), channel());
        let (mut writer, guard) = queue(
            Gate {
                asked,
                may,
                written,
            },
            8,
            "test",
        )
        .expect("a thread");
        for _ in 0..3 {
            writer.write_all(b"line").expect("it never fails");
        }
        assert_eq!(guard.finish(), 3);
    }
}
