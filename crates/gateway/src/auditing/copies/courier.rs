//! The thread that takes one copy's lines to their receiver.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::copy::Copy;

/// How long to wait after the first failure; twice as long after each further one, up to the most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A receiver may ask for more patience than that, but not for any amount.
const LONGEST_WISH: Duration = Duration::from_secs(300);
/// At the end there is little time for further attempts.
const PAUSE_AT_THE_END: Duration = Duration::from_millis(100);

/// Where a copy goes. It lives on a thread of its own, and has deadlines of its own.
pub(super) trait Deliver: Send {
    /// Delivers these lines, each of which ends with a newline. After an error the same lines come
    /// again; what is delivered twice then is the receiver's to recognise.
    ///
    /// Says how many of the records the receiver will never take.
    ///
    /// # Errors
    ///
    /// When it should be tried again.
    fn deliver(&mut self, lines: &str) -> Result<u64, Failure>;
}

/// Lines could not be delivered now.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: io::Error,
    /// What the receiver asks for.
    pub(super) retry_after: Option<Duration>,
}

impl From<io::Error> for Failure {
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
/// When there is none to have.
pub(super) fn start(copy: &Arc<Copy>, sink: impl Deliver + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(format!("voxgate-{}", copy.name));
    let copy = Arc::clone(copy);
    // It is waited for by way of the queue: a receiver may keep it for longer than the process.
    thread.spawn(move || run(&copy, sink)).map(drop)
}

fn run(copy: &Copy, mut sink: impl Deliver) {
    let name = copy.name;
    let mut lines = String::new();
    while let Some(chunks) = copy.next(&mut lines) {
        let mut pause = FIRST_PAUSE;
        loop {
            copy.begin();
            match sink.deliver(&lines) {
                Ok(refused) => {
                    if copy.settle(chunks, refused) {
                        tracing::info!(copy = name, "copies of audit records are delivered again");
                    }
                    break;
                }
                Err(Failure { error, retry_after }) => {
                    if copy.failed() {
                        tracing::error!(copy = name, %error, "copies of audit records cannot be delivered");
                    }
                    let wish = retry_after.map(|wish| wish.min(LONGEST_WISH));
                    copy.pause(wish.unwrap_or_else(|| jittered(pause)), PAUSE_AT_THE_END);
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// Between half of this time and all of it, so that many gateways do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let share = getrandom::u32().unwrap_or(u32::MAX);
    pause / 2 + (pause / 2).mul_f64(f64::from(share) / f64::from(u32::MAX))
}
