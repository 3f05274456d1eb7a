//! Limits how many connections are open: all together, and those of one client.
//!
//! When there is no room, the connection that is needed least is closed for the new one: first those
//! on which there was no request, then those that are idle and whose requests were all refused, the
//! oldest first. A client that holds connections and says nothing therefore keeps no other client out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::network;

/// A connection is not closed for another one before it had this long to send its request.
const GRACE: Duration = Duration::from_millis(50);

/// How much a connection that can be closed is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Idle {
    /// There was no request yet.
    Silent,
    /// There was one, and nothing is in progress.
    Spoke,
}

/// The number of a connection, in the order in which they were opened.
type Id = u64;

/// The limits of a listener. Cloning shares them.
#[derive(Clone)]
pub(crate) struct ConnectionLimiter(Arc<Shared>);

struct Shared {
    permits: Arc<Semaphore>,
    most: usize,
    most_per_client: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    last: Id,
    /// The connections that may be closed for others, of all clients.
    closable: BTreeMap<(Idle, Id), Closable>,
    clients: HashMap<IpAddr, Client>,
}

struct Closable {
    client: Option<IpAddr>,
    opened: Instant,
    close: CancellationToken,
}

/// The connections of one client.
#[derive(Default)]
struct Client {
    open: usize,
    closable: BTreeSet<(Idle, Id)>,
}

impl Open {
    fn offer(&mut self, key: (Idle, Id), closable: Closable) {
        if let Some(client) = self.client(closable.client) {
            client.closable.insert(key);
        }
        self.closable.insert(key, closable);
    }

    /// Whether it was offered.
    fn keep(&mut self, key: (Idle, Id)) -> bool {
        let Some(closable) = self.closable.remove(&key) else {
            return false;
        };
        if let Some(client) = self.client(closable.client) {
            client.closable.remove(&key);
        }
        true
    }

    fn client(&mut self, client: Option<IpAddr>) -> Option<&mut Client> {
        self.clients.get_mut(&client?)
    }

    /// Counts a connection of this client. If it has too many, one of them is closed; `false` if all
    /// are in use.
    fn add(&mut self, client: IpAddr, most: usize) -> bool {
        let own = self.clients.entry(client).or_default();
        if own.open >= most {
            let oldest = [Idle::Silent, Idle::Spoke].map(|idle| {
                let mut of_kind = own.closable.range((idle, 0)..=(idle, Id::MAX));
                of_kind.next().copied()
            });
            let oldest = oldest.into_iter().flatten().find(|key| self.is_due(key));
            let Some(oldest) = oldest else {
                return false;
            };
            self.close(oldest);
        }
        self.clients.entry(client).or_default().open += 1;
        true
    }

    /// Closes this connection. It no longer counts for its client.
    fn close(&mut self, key: (Idle, Id)) {
        if let Some(closable) = self.closable.remove(&key) {
            closable.close.cancel();
            if let Some(client) = self.client(closable.client) {
                client.closable.remove(&key);
                client.open -= 1;
            }
        }
    }

    fn is_due(&self, key: &(Idle, Id)) -> bool {
        let closable = self.closable.get(key);
        closable.is_some_and(|closable| closable.opened.elapsed() >= GRACE)
    }
}

impl ConnectionLimiter {
    pub(crate) fn new(most: usize, most_per_client: usize) -> Self {
        Self(Arc::new(Shared {
            permits: Arc::new(Semaphore::new(most)),
            most,
            most_per_client,
            open: Mutex::default(),
        }))
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.0.most - self.0.permits.available_permits()
    }

    /// Waits for room, and makes it if possible. `None` if this client has too many connections that
    /// are in use, or if this one was closed for another while it waited. A connection without a client
    /// counts for none, until it is [assigned](ConnectionPermit::assign).
    pub(crate) async fn acquire(&self, client: Option<IpAddr>) -> Option<ConnectionPermit> {
        let mut connection = self.register(client)?;
        loop {
            if let Ok(permit) = Arc::clone(&self.0.permits).try_acquire_owned() {
                connection.permit = Some(permit);
                return Some(ConnectionPermit(Arc::new(connection)));
            }
            self.make_room(connection.id);
            tokio::select! {
                permit = Arc::clone(&self.0.permits).acquire_owned() => {
                    connection.permit = Some(permit.ok()?);
                    return Some(ConnectionPermit(Arc::new(connection)));
                }
                () = connection.close.cancelled() => return None,
                () = sleep(GRACE) => {}
            }
        }
    }

    /// The same, if there is room without waiting.
    pub(crate) fn try_acquire(&self, client: Option<IpAddr>) -> Option<ConnectionPermit> {
        let permit = Arc::clone(&self.0.permits).try_acquire_owned().ok()?;
        let mut connection = self.register(client)?;
        connection.permit = Some(permit);
        Some(ConnectionPermit(Arc::new(connection)))
    }

    /// Counts a connection of this client. If it has too many, one of them is closed.
    fn register(&self, client: Option<IpAddr>) -> Option<Connection> {
        let client = client.map(network);
        let mut open = self.0.open();
        open.last += 1;
        let id = open.last;
        if let Some(client) = client
            && !open.add(client, self.0.most_per_client)
        {
            return None;
        }
        let connection = Connection {
            limiter: self.clone(),
            client: client.map_or_else(OnceLock::new, OnceLock::from),
            id,
            opened: Instant::now(),
            close: CancellationToken::new(),
            permit: None,
        };
        open.offer((Idle::Silent, id), connection.closable());
        Some(connection)
    }

    /// Closes the connection that is needed least, other than this one.
    fn make_room(&self, own: Id) {
        let mut open = self.0.open();
        let oldest = [Idle::Silent, Idle::Spoke].map(|idle| {
            let mut of_kind = open.closable.range((idle, 0)..=(idle, Id::MAX));
            of_kind.next().map(|(key, _)| *key)
        });
        let due = |key: &(Idle, Id)| key.1 != own && open.is_due(key);
        if let Some(oldest) = oldest.into_iter().flatten().find(due) {
            open.close(oldest);
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to hold one connection. It ends when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct ConnectionPermit(Arc<Connection>);

struct Connection {
    limiter: ConnectionLimiter,
    /// Written under the lock of [`Open`].
    client: OnceLock<IpAddr>,
    id: Id,
    opened: Instant,
    close: CancellationToken,
    /// `None` while it waits.
    permit: Option<OwnedSemaphorePermit>,
}

impl ConnectionPermit {
    /// Counts the connection for this client from now on, if it counts for none yet. `false` if the
    /// client has too many connections that are in use, or if this one was closed for another.
    pub(crate) fn assign(&self, client: IpAddr) -> bool {
        let client = network(client);
        let limiter = &self.0.limiter.0;
        let mut open = limiter.open();
        if self.0.close.is_cancelled() || !open.add(client, limiter.most_per_client) {
            return false;
        }
        let key = (Idle::Silent, self.0.id);
        let was_offered = open.keep(key);
        // A connection is assigned once; a second time would count twice.
        if self.0.client.set(client).is_err()
            && let Some(own) = open.client(Some(client))
        {
            own.open -= 1;
        }
        if was_offered {
            open.offer(key, self.0.closable());
        }
        true
    }

    /// Resolves when the connection is to be closed for another one.
    pub(crate) async fn closed(&self) {
        self.0.close.cancelled().await;
    }

    /// The connection is in use, and is not closed for another one.
    pub(crate) fn keep(&self) {
        let mut open = self.0.limiter.0.open();
        for idle in [Idle::Silent, Idle::Spoke] {
            open.keep((idle, self.0.id));
        }
    }

    /// The connection is idle, and may be closed for another one.
    pub(crate) fn offer(&self) {
        let mut open = self.0.limiter.0.open();
        if !self.0.close.is_cancelled() {
            open.offer((Idle::Spoke, self.0.id), self.0.closable());
        }
    }
}

impl Connection {
    fn closable(&self) -> Closable {
        Closable {
            client: self.client.get().copied(),
            opened: self.opened,
            close: self.close.clone(),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.limiter.0.open();
        for idle in [Idle::Silent, Idle::Spoke] {
            open.keep((idle, self.id));
        }
        let Some(client) = self.client.get() else {
            return;
        };
        if let Some(own) = open.clients.get_mut(client) {
            // One that was closed for another was no longer counted.
            own.open -= usize::from(!self.close.is_cancelled());
            if own.open == 0 && own.closable.is_empty() {
                open.clients.remove(client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::time::timeout;

    fn peer(client: u8) -> Option<IpAddr> {
        Some([192, 0, 2, client].into())
    }

    fn is_closed(permit: &ConnectionPermit) -> bool {
        permit.0.close.is_cancelled()
    }

    async fn open(limiter: &ConnectionLimiter, client: u8) -> ConnectionPermit {
        let permit = limiter.acquire(peer(client)).await.expect("room");
        sleep(GRACE).await;
        permit
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_too_many_loses_those_that_never_spoke() {
        let limiter = ConnectionLimiter::new(100, 3);
        let served = open(&limiter, 1).await;
        served.keep();
        let refused = open(&limiter, 1).await;
        refused.keep();
        refused.offer();
        let silent = open(&limiter, 1).await;
        let other = open(&limiter, 2).await;

        let fourth = open(&limiter, 1).await;
        assert!(is_closed(&silent), "it never spoke");
        let fifth = open(&limiter, 1).await;
        assert!(is_closed(&fourth), "it never spoke");
        fifth.keep();
        let sixth = open(&limiter, 1).await;
        assert!(is_closed(&refused), "it was never served");
        sixth.keep();
        assert!(limiter.acquire(peer(1)).await.is_none(), "all are in use");
        assert!(!is_closed(&served) && !is_closed(&other));
        drop(fifth);
        open(&limiter, 1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_client_takes_the_place_of_the_oldest_that_never_spoke() {
        let limiter = ConnectionLimiter::new(2, 2);
        let oldest = open(&limiter, 1).await;
        let newer = open(&limiter, 1).await;
        let new = async {
            let permit = limiter.acquire(peer(2)).await;
            permit.expect("room")
        };
        let leaving = async {
            oldest.closed().await;
            drop(oldest);
        };
        let (new, ()) = tokio::join!(new, leaving);
        assert!(!is_closed(&newer));
        new.keep();
        newer.keep();
        // Now all are in use: a further one waits.
        let waiting = limiter.acquire(peer(3));
        assert!(timeout(100 * GRACE, waiting).await.is_err());
        drop(newer);
        open(&limiter, 3).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_has_a_moment_to_send_its_request() {
        let limiter = ConnectionLimiter::new(1, 1);
        let first = limiter.acquire(peer(1)).await.expect("room");
        assert!(limiter.acquire(peer(1)).await.is_none(), "too soon");
        let waiting = limiter.acquire(peer(2));
        assert!(timeout(GRACE / 2, waiting).await.is_err());
        assert!(!is_closed(&first));
        let waiting = limiter.acquire(peer(2));
        assert!(timeout(2 * GRACE, waiting).await.is_err());
        assert!(is_closed(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_of_connections_that_ended() {
        let limiter = ConnectionLimiter::new(10, 2);
        for client in 0..20 {
            let permits = [open(&limiter, client).await, open(&limiter, client).await];
            permits[0].keep();
            permits[0].offer();
            open(&limiter, client).await;
            drop(permits);
        }
        assert_eq!(limiter.open(), 0);
        let open = limiter.0.open();
        assert!(open.clients.is_empty() && open.closable.is_empty());
    }

    #[tokio::test]
    async fn a_network_of_ipv6_is_one_client() {
        let limiter = ConnectionLimiter::new(10, 1);
        let acquire = |text: &str| limiter.try_acquire(Some(text.parse().expect("an address")));
        let one = acquire("2001:db8::1").expect("room");
        assert!(acquire("2001:db8::2").is_none());
        assert!(acquire("2001:db8:0:1::1").is_some());
        drop(one);
        assert!(acquire("2001:db8::2").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn connections_of_a_load_balancer_count_for_the_clients_that_it_names() {
        let limiter = ConnectionLimiter::new(100, 2);
        let client = peer(1).expect("an address");
        let assigned = async || {
            let permit = limiter.acquire(None).await.expect("room");
            sleep(GRACE).await;
            let fits = permit.assign(client);
            (permit, fits)
        };
        let unassigned = [(); 5].map(|()| limiter.try_acquire(None).expect("it counts for none"));
        let (first, second) = (assigned().await, assigned().await);
        assert!(first.1 && second.1);
        second.0.keep();
        let (third, fits) = assigned().await;
        assert!(fits && is_closed(&first.0), "it never spoke");
        third.keep();
        let (fourth, fits) = assigned().await;
        assert!(!fits, "all are in use");
        drop((first, second, third, fourth, unassigned));
        assert_eq!(limiter.open(), 0);
        let open = limiter.0.open();
        assert!(open.clients.is_empty() && open.closable.is_empty());
    }
}
