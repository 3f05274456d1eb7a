//! Keeps the connection, the leases and the breaker.

use std::rc::Rc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::pipe;
use tokio::select;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::connection::{Connection, PATIENCE};
use super::engine::Engine;
use super::held::Release;
use super::script::Slot;
use super::trouble::Trouble;

/// Leases that are renewed, or given back, in one go: Redis does nothing else meanwhile.
const BATCH: usize = 100;
/// A connection that is lost sooner was none.
const LASTING: Duration = Duration::from_secs(1);

impl Engine {
    /// Keeps a connection for as long as it is polled.
    pub(super) async fn keep(self: Rc<Self>) {
        loop {
            match Connection::open(&self.settings.address).await {
                Ok(connection) => self.serve(connection).await,
                Err(trouble) => self.trip(trouble),
            }
            self.connection.replace(None);
            self.gauges.set_connected(false);
            self.pause().await;
        }
    }

    /// Uses a connection until it is lost or of no use.
    async fn serve(&self, mut connection: Connection) {
        let since = Instant::now();
        let mut pipeline = connection.pipeline.clone();
        // Leases are in force again before anything else is asked.
        if let Err(trouble) = self.probe(&mut pipeline).await {
            self.trip(trouble);
            return;
        }
        self.connection.replace(Some(pipeline.clone()));
        self.gauges.set_connected(true);
        self.close();
        let mut heartbeat = interval(self.settings.lease / 3);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        loop {
            let beaten = select! {
                () = connection.lost() => {
                    let breaks_at_once = since.elapsed() < LASTING;
                    if breaks_at_once { self.trip(Trouble::Lost) } else { self.fail(Trouble::Lost) }
                    return;
                }
                _ = heartbeat.tick() => {
                    let beaten = self.beat(&mut pipeline).await.map(drop);
                    if beaten.is_ok() {
                        self.settle();
                    }
                    beaten
                }
                () = self.opened() => {
                    select! {
                        () = connection.lost() => return,
                        () = self.pause() => {}
                    }
                    let probed = self.probe(&mut pipeline).await;
                    if probed.is_ok() {
                        self.close();
                        heartbeat.reset();
                    }
                    probed
                }
            };
            if let Err(trouble) = beaten {
                self.trip(trouble);
                return;
            }
        }
    }

    /// Waits until the breaker has opened.
    async fn opened(&self) {
        loop {
            let changed = self.changed.notified();
            if self.gauges.is_open() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the breaker lets a probe through; not at all while it is closed.
    async fn pause(&self) {
        loop {
            let Some(at) = self.breaker.borrow().probe_at() else {
                return;
            };
            sleep_until(at.into()).await;
            self.breaker.borrow_mut().begin_probe(Instant::now());
        }
    }

    /// A heartbeat, to see whether Redis would answer a question in time.
    async fn probe(&self, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        let took = self.beat(connection).await?;
        if took > self.settings.deadline {
            return Err(Trouble::Silent);
        }
        Ok(())
    }

    /// Says that this gateway is alive, renews its leases, puts back those that Redis has lost, and
    /// gives back what is owed. Says how long the first of these took.
    ///
    /// What is renewed is held when it is sent, and what is sent later on this connection comes
    /// later: nothing that was given back is put back by that. What still comes by a connection
    /// that was lost finds nothing to renew; if it was to be put back, it expires.
    async fn beat(&self, connection: &mut MultiplexedConnection) -> Result<Duration, Trouble> {
        let begun = Instant::now();
        self.renew(connection, &[], false).await?;
        let took = begun.elapsed();
        let leases = self.held.borrow().leases();
        for leases in leases.chunks(BATCH) {
            let slots = self.held.borrow_mut().slots_to_tell(leases);
            let missing = self.renew(connection, &slots, false).await?;
            let lost = self.held.borrow().still_held(slots, &missing);
            if !lost.is_empty() {
                self.renew(connection, &lost, true).await?;
            }
        }
        let owed = self.held.borrow_mut().take_owed(Instant::now());
        self.give_back(connection, owed).await?;
        Ok(took)
    }

    /// Says which are missing.
    async fn renew(
        &self,
        connection: &mut MultiplexedConnection,
        slots: &[Slot],
        put_back: bool,
    ) -> Result<Vec<i64>, Trouble> {
        let gateways = self.settings.keys.gateways();
        let renewed = self.scripts.renew(connection, &gateways, slots, put_back);
        let renewed = timeout(PATIENCE, renewed).await;
        let mut answer = renewed
            .map_err(|_| Trouble::Silent)?
            .map_err(|error| Trouble::of(&error))?;
        if answer.is_empty() {
            return Err(Trouble::Nonsense);
        }
        let gateways = u32::try_from(answer.remove(0)).unwrap_or(u32::MAX);
        self.gauges.set_replicas(gateways);
        Ok(answer)
    }

    /// Gives leases back. What cannot be told now is told later.
    pub(super) async fn give_back(
        &self,
        connection: &mut MultiplexedConnection,
        releases: Vec<Release>,
    ) -> Result<(), Trouble> {
        let mut told = Ok(());
        let mut releases = releases.into_iter().peekable();
        while releases.peek().is_some() {
            let batch: Vec<Release> = releases.by_ref().take(BATCH).collect();
            if told.is_ok() {
                told = self.tell(connection, &batch).await;
            }
            for release in batch {
                if told.is_ok() {
                    self.rooms.borrow().wake(release.call.slots());
                }
                if told.is_err() || release.may_come_late {
                    self.held.borrow_mut().owe(release);
                }
            }
        }
        told
    }

    async fn tell(
        &self,
        connection: &mut MultiplexedConnection,
        releases: &[Release],
    ) -> Result<(), Trouble> {
        let mut commands = pipe();
        for release in releases {
            for slot in release.call.slots() {
                commands.add_command(self.scripts.release(slot, release.lease));
            }
        }
        let told = timeout(PATIENCE, commands.query_async::<Vec<i64>>(connection)).await;
        let told = told.map_err(|_| Trouble::Silent)?;
        told.map(drop).map_err(|error| Trouble::of(&error))
    }

    /// Takes leave: the others share the limits without this gateway.
    pub(super) async fn leave(self: Rc<Self>) {
        let Some(mut connection) = self.connection.borrow().clone() else {
            return;
        };
        let owed = self.held.borrow_mut().take_owed(Instant::now());
        let _ = self.give_back(&mut connection, owed).await;
        let leave = self.scripts.leave(&self.settings.keys.gateways());
        // Otherwise it is taken to be alive until its time is over.
        let _ = leave.exec_async(&mut connection).await;
    }
}
