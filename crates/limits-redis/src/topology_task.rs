//! The task that reads which node of a cluster has which hash slots.

use std::rc::Rc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};
use tokio::select;
use tokio::time::{sleep, timeout};

use crate::address::Servers;
use crate::connection::{Connection, TIMEOUT};
use crate::engine::Engine;
use crate::jitter::between;
use crate::redis_error::RedisError;
use crate::slot_map::SlotMap;

/// How often the map is read although nothing says that it is out of date.
const READ_EVERY: Duration = Duration::from_secs(10);
/// How often it is read while a node does not answer.
const FAILING_READ_EVERY: Duration = Duration::from_millis(500);
/// The least pause between two readings.
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(60);

/// Keeps the map up to date for as long as it is polled.
pub(crate) async fn run(engine: Rc<Engine>) {
    let mut logged: Option<RedisError> = None;
    loop {
        match read(&engine).await {
            Ok(map) => {
                engine.use_map(map);
                if logged.take().is_some() {
                    let redis = &engine.config.address;
                    tracing::info!(?redis, "the Redis cluster answers again");
                }
            }
            Err(error) => {
                engine.overall.gauges().count_failure();
                // The nodes that are known say themselves whether they answer.
                engine.overall.set_unreachable(true);
                if logged.as_ref() != Some(&error) {
                    let redis = &engine.config.address;
                    tracing::warn!(
                        ?redis,
                        "no node of the Redis cluster says which node has which keys: {error}"
                    );
                    logged = Some(error);
                }
            }
        }
        sleep(between(SHORTEST, LONGEST)).await;
        let pause = match engine.overall.is_up() {
            true => READ_EVERY,
            false => FAILING_READ_EVERY,
        };
        select! {
            biased;
            () = engine.outdated.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

/// Reads the map from a node that is connected, or from one that the URL names.
async fn read(engine: &Engine) -> Result<SlotMap, RedisError> {
    for (node, mut connection) in engine.connected_nodes() {
        if let Ok(map) = ask(&mut connection, node.host()).await {
            return Ok(map);
        }
    }
    let address = &engine.config.address;
    let Servers::Cluster(seeds) = &address.servers else {
        return Err(RedisError::Unexpected);
    };
    let mut failed = RedisError::UnknownHost;
    for seed in seeds {
        let map = match Connection::open_at(address, seed).await {
            Ok(mut connection) => ask(&mut connection.pipeline, seed.host()).await,
            Err(error) => Err(error),
        };
        match map {
            Ok(map) => return Ok(map),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Asks a node at this host for the map.
pub(crate) async fn ask(
    connection: &mut MultiplexedConnection,
    host: &str,
) -> Result<SlotMap, RedisError> {
    let mut slots = cmd("CLUSTER");
    slots.arg("SLOTS");
    let reply = timeout(TIMEOUT, slots.query_async::<Value>(connection)).await;
    let reply = reply
        .map_err(|_| RedisError::Timeout)?
        .map_err(|error| RedisError::from_redis(&error))?;
    let map = SlotMap::parse(&reply, host).ok_or(RedisError::Unexpected)?;
    // A node that was reset has no hash slots.
    match map.primaries().is_empty() {
        true => Err(RedisError::Server("CLUSTERDOWN".to_owned())),
        false => Ok(map),
    }
}
