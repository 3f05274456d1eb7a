//! The sink worker: the thread that delivers the lines of one sink's queue.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::queue::SinkQueue;

/// How long to wait after the first failure. The pause doubles with each failure, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause that a receiver can ask for with `Retry-After`.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
/// The pause between attempts once the process is shutting down.
const SHUTDOWN_PAUSE: Duration = Duration::from_millis(100);

/// Delivers audit records to one receiver. It has a thread of its own, so it may block.
pub(super) trait Sink: Send {
    /// Delivers these lines. Each line ends with a newline. After an error it is called again
    /// with the same lines, so a receiver can get a line twice.
    ///
    /// Returns how many of the records the receiver refused for good.
    ///
    /// # Errors
    ///
    /// When the lines could not be delivered now. The worker tries again.
    fn deliver(&mut self, lines: &str) -> Result<u64, DeliveryError>;
}

/// Lines could not be delivered. The worker tries again.
#[derive(Debug)]
pub(super) struct DeliveryError {
    pub(super) error: io::Error,
    /// How long the receiver asks to wait.
    pub(super) retry_after: Option<Duration>,
}

impl From<io::Error> for DeliveryError {
    fn from(error: io::Error) -> Self {
        Self {
            error,
            retry_after: None,
        }
    }
}

/// Starts the thread.
///
/// # Errors
///
/// When the thread cannot be started.
pub(super) fn start(queue: &Arc<SinkQueue>, sink: impl Sink + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(format!("voxgate-{}", queue.name));
    let queue = Arc::clone(queue);
    // The thread is not joined: a receiver can block it for longer than the process may live.
    // Shutdown waits for the queue instead.
    thread.spawn(move || run(&queue, sink)).map(drop)
}

fn run(queue: &SinkQueue, mut sink: impl Sink) {
    let name = queue.name;
    let mut lines = String::new();
    while let Some(chunks) = queue.next(&mut lines) {
        let mut pause = FIRST_PAUSE;
        loop {
            queue.begin();
            match sink.deliver(&lines) {
                Ok(refused) => {
                    if queue.settle(chunks, refused) {
                        tracing::info!(
                            sink = name,
                            "audit sink recovered: records are delivered again"
                        );
                    }
                    break;
                }
                Err(DeliveryError { error, retry_after }) => {
                    if queue.failed() {
                        tracing::error!(sink = name, %error, "audit sink failed: records are not delivered; retrying");
                    }
                    let asked = retry_after.map(|asked| asked.min(LONGEST_RETRY_AFTER));
                    queue.pause(asked.unwrap_or_else(|| jittered(pause)), SHUTDOWN_PAUSE);
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// Between half of this pause and all of it, so that many gateways do not retry at the same time.
pub(in crate::auditing) fn jittered(pause: Duration) -> Duration {
    let share = getrandom::u32().unwrap_or(u32::MAX);
    pause / 2 + (pause / 2).mul_f64(f64::from(share) / f64::from(u32::MAX))
}
