//! Delays answers without a runtime: one thread wakes those whose time has come.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// How long an answer is delayed. A client that sends a wrong key three times still raises its error
/// within two seconds.
const DELAY: Duration = Duration::from_millis(500);
/// Maximum number of answers that wait for one address.
const MOST_OF_ONE: u32 = 16;
/// Maximum number of answers that wait.
const MOST: usize = 1024;

/// The answers that wait. The thread starts with the first one.
#[derive(Default)]
pub(super) struct Delays {
    waiting: Arc<Waiting>,
    /// Tells the thread that an answer waits. One message at a time is enough. `None` if the thread
    /// could not be started.
    arrived: OnceLock<Option<SyncSender<()>>>,
}

#[derive(Default)]
struct Waiting(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    /// By number. All delays are equal, so this is also the order in which they end.
    answers: BTreeMap<u64, Answer>,
    of_address: HashMap<IpAddr, u32>,
    next: u64,
}

struct Answer {
    until: Instant,
    address: IpAddr,
    waker: Option<Waker>,
}

impl Delays {
    /// Begins the delay of an answer to this address. `None` if too many answers wait already, or
    /// if the thread cannot be started.
    pub(super) fn begin(&self, address: IpAddr, now: Instant) -> Option<Delay> {
        let start = || start(&self.waiting).ok();
        let arrived = self.arrived.get_or_init(start).as_ref()?;
        let number = self.waiting.queue().enter(address, now + DELAY)?;
        // If the thread is not listening yet, it finds the message later.
        let _ = arrived.try_send(());
        let waiting = Arc::clone(&self.waiting);
        Some(Delay { waiting, number })
    }
}

fn start(waiting: &Arc<Waiting>) -> std::io::Result<SyncSender<()>> {
    let (arrived, arrivals) = sync_channel(1);
    let waiting = Arc::downgrade(waiting);
    thread::Builder::new()
        .name("voxgate-delay".to_owned())
        .spawn(move || run(&arrivals, &waiting))?;
    Ok(arrived)
}

/// Ends delays for as long as `Delays` exists.
fn run(arrivals: &Receiver<()>, waiting: &Weak<Waiting>) {
    while arrivals.recv().is_ok() {
        let end_due = || waiting.upgrade()?.end_due(Instant::now());
        while let Some(next) = end_due() {
            thread::sleep(next);
        }
    }
}

impl Waiting {
    /// Ends the delays that are over. Returns the time until the next one, if an answer waits.
    fn end_due(&self, now: Instant) -> Option<Duration> {
        let mut wakers = Vec::new();
        let mut queue = self.queue();
        let next = loop {
            let Some(first) = queue.answers.first_entry() else {
                break None;
            };
            let left = first.get().until.saturating_duration_since(now);
            if !left.is_zero() {
                break Some(left);
            }
            let number = *first.key();
            wakers.extend(queue.leave(number));
        };
        drop(queue);
        // A task that is woken may come back at once and take the lock.
        wakers.into_iter().for_each(Waker::wake);
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Code that holds the lock does not panic, so the queue is always consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn enter(&mut self, address: IpAddr, until: Instant) -> Option<u64> {
        let of_address = self.of_address.get(&address).copied().unwrap_or_default();
        if of_address >= MOST_OF_ONE || self.answers.len() >= MOST {
            return None;
        }
        self.of_address.insert(address, of_address + 1);
        let number = self.next;
        self.next += 1;
        let answer = Answer {
            until,
            address,
            waker: None,
        };
        self.answers.insert(number, answer);
        Some(number)
    }

    fn leave(&mut self, number: u64) -> Option<Waker> {
        let answer = self.answers.remove(&number)?;
        if let Some(count) = self.of_address.get_mut(&answer.address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&answer.address);
            }
        }
        answer.waker
    }
}

/// The time until a delayed answer is sent.
///
/// # Cancel safety
///
/// Dropping it makes room for another answer.
pub(crate) struct Delay {
    waiting: Arc<Waiting>,
    number: u64,
}

impl Future for Delay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Wakers run foreign code, so they are cloned and dropped without the lock.
        let waker = cx.waker().clone();
        let mut queue = self.waiting.queue();
        let Some(answer) = queue.answers.get_mut(&self.number) else {
            drop(queue);
            return Poll::Ready(());
        };
        let before = answer.waker.replace(waker);
        drop(queue);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        let waker = self.waiting.queue().leave(self.number);
        drop(waker);
    }
}

impl fmt::Debug for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delay")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::mpsc;
    use std::task::Wake;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    struct Told(mpsc::Sender<()>);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    fn poll(delay: &mut Delay, waker: &Waker) -> Poll<()> {
        Pin::new(delay).poll(&mut Context::from_waker(waker))
    }

    #[test]
    fn a_delay_ends_when_its_time_has_come() {
        let (told, wakes) = mpsc::channel();
        let waker = Waker::from(Arc::new(Told(told)));
        let (waiting, now) = (Arc::new(Waiting::default()), Instant::now());
        let begin = |at| {
            let number = waiting.queue().enter(HERE, at + DELAY).expect("room");
            let waiting = Arc::clone(&waiting);
            Delay { waiting, number }
        };
        let (mut first, mut second) = (begin(now), begin(now + DELAY / 2));
        assert_eq!(poll(&mut first, &waker), Poll::Pending);
        assert_eq!(poll(&mut second, &waker), Poll::Pending);
        assert_eq!(waiting.end_due(now + DELAY / 4), Some(DELAY / 4 * 3));
        assert!(wakes.try_recv().is_err());
        assert_eq!(waiting.end_due(now + DELAY), Some(DELAY / 2));
        assert!(wakes.try_recv().is_ok() && wakes.try_recv().is_err());
        assert_eq!(poll(&mut first, &waker), Poll::Ready(()));
        assert_eq!(poll(&mut second, &waker), Poll::Pending);
        drop(second);
        assert_eq!(waiting.end_due(now + DELAY), None);
        assert!(waiting.queue().of_address.is_empty());
    }

    #[test]
    fn the_thread_wakes_a_task() {
        let (told, wakes) = mpsc::channel();
        let waker = Waker::from(Arc::new(Told(told)));
        let delays = Delays::default();
        let mut delay = delays.begin(HERE, Instant::now()).expect("room");
        assert_eq!(poll(&mut delay, &waker), Poll::Pending);
        wakes.recv_timeout(30 * DELAY).expect("a wake");
        assert_eq!(poll(&mut delay, &waker), Poll::Ready(()));
    }

    #[test]
    fn waiting_answers_are_bounded_for_one_address_and_in_all() {
        let mut queue = Queue::default();
        let until = Instant::now();
        let mut of_one = 0;
        while queue.enter(HERE, until).is_some() {
            of_one += 1;
        }
        assert_eq!(of_one, MOST_OF_ONE);
        queue.leave(0);
        assert!(queue.enter(HERE, until).is_some(), "room again");
        let others = (0..10_000_u32).map(|number| IpAddr::from(number.to_be_bytes()));
        let entered = others.filter(|address| queue.enter(*address, until).is_some());
        assert_eq!(entered.count(), MOST - of_one as usize);
        for number in 0..queue.next {
            queue.leave(number);
        }
        assert!(queue.answers.is_empty() && queue.of_address.is_empty());
    }
}
