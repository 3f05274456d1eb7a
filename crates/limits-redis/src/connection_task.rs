//! The task that owns the connection and renews the leases.

use std::rc::Rc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use tokio::select;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::connection::{Connection, TIMEOUT};
use crate::engine::{BATCH, Engine};
use crate::redis_error::RedisError;
use crate::script::Slot;

/// A connection that is lost sooner counts as a failure.
const LASTING: Duration = Duration::from_secs(1);

/// Connects to Redis, sends heartbeats, and connects again.
pub(crate) struct ConnectionTask {
    engine: Rc<Engine>,
}

impl ConnectionTask {
    pub(crate) fn new(engine: Rc<Engine>) -> Self {
        Self { engine }
    }

    /// Keeps a connection for as long as it is polled.
    pub(crate) async fn run(self) {
        loop {
            match Connection::open(&self.engine.config.address).await {
                Ok(connection) => self.use_connection(connection).await,
                Err(error) => self.engine.health.trip(error),
            }
            self.engine.set_connection(None);
            self.engine.health.pause().await;
        }
    }

    /// Uses a connection until it is lost or fails.
    async fn use_connection(&self, mut connection: Connection) {
        let (engine, health) = (&self.engine, &self.engine.health);
        let since = Instant::now();
        let mut pipeline = connection.pipeline.clone();
        // Restore the leases before any other command is sent.
        if let Err(error) = self.probe(&mut pipeline).await {
            health.trip(error);
            return;
        }
        engine.set_connection(Some(pipeline.clone()));
        health.close();
        let mut heartbeat = interval(engine.config.lease / 3);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        loop {
            let beaten = select! {
                () = connection.lost() => {
                    match since.elapsed() < LASTING {
                        true => health.trip(RedisError::Lost),
                        false => health.fail(RedisError::Lost),
                    }
                    return;
                }
                _ = heartbeat.tick() => {
                    let beaten = self.beat(&mut pipeline).await.map(drop);
                    if beaten.is_ok() {
                        health.settle();
                    }
                    beaten
                }
                () = health.opened() => {
                    select! {
                        () = connection.lost() => return,
                        () = health.pause() => {}
                    }
                    let probed = self.probe(&mut pipeline).await;
                    if probed.is_ok() {
                        health.close();
                        heartbeat.reset();
                    }
                    probed
                }
            };
            if let Err(error) = beaten {
                health.trip(error);
                return;
            }
        }
    }

    /// A heartbeat that must be answered as fast as a request.
    async fn probe(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let took = self.beat(connection).await?;
        if took > self.engine.config.deadline {
            return Err(RedisError::Timeout);
        }
        Ok(())
    }

    /// Registers this gateway as alive, renews its leases, puts back those that Redis has lost, and
    /// sends pending releases. Returns how long the first of these took.
    ///
    /// A lease is held when it is renewed, and a later release on the same connection arrives
    /// later: no released lease is put back. A renewal that arrives late, from a lost connection,
    /// finds nothing to renew; a lease that it puts back expires.
    async fn beat(&self, connection: &mut MultiplexedConnection) -> Result<Duration, RedisError> {
        let engine = &self.engine;
        let begun = Instant::now();
        self.renew(connection, &[], false).await?;
        let took = begun.elapsed();
        let leases = engine.leases.borrow().leases();
        for leases in leases.chunks(BATCH) {
            let slots = engine.leases.borrow_mut().slots_to_send(leases);
            let missing = self.renew(connection, &slots, false).await?;
            let lost = engine.leases.borrow().still_held(slots, &missing);
            if !lost.is_empty() {
                self.renew(connection, &lost, true).await?;
            }
        }
        let pending = engine.leases.borrow_mut().take_pending(Instant::now());
        engine.send_releases(connection, pending).await?;
        Ok(took)
    }

    /// Renews these slots. Returns the indices of missing ones.
    async fn renew(
        &self,
        connection: &mut MultiplexedConnection,
        slots: &[Slot],
        put_back: bool,
    ) -> Result<Vec<i64>, RedisError> {
        let engine = &self.engine;
        let gateways = engine.config.keys.gateways();
        let renewed = engine.scripts.renew(connection, &gateways, slots, put_back);
        let renewed = timeout(TIMEOUT, renewed).await;
        let mut answer = renewed
            .map_err(|_| RedisError::Timeout)?
            .map_err(|error| RedisError::from_redis(&error))?;
        if answer.is_empty() {
            return Err(RedisError::Unexpected);
        }
        let replicas = u32::try_from(answer.remove(0)).unwrap_or(u32::MAX);
        engine.health.gauges().set_replicas(replicas);
        Ok(answer)
    }
}
