//! The task that reads which node of a cluster has which hash slots.

use std::rc::Rc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};
use tokio::select;
use tokio::time::{sleep, timeout};

use crate::address::{Address, Servers};
use crate::connection::{Connection, TIMEOUT};
use crate::engine::Engine;
use crate::jitter::between;
use crate::redis_error::RedisError;
use crate::several::most;
use crate::slot_map::SlotMap;

/// How often the map is read although nothing says that it is out of date.
const READ_EVERY: Duration = Duration::from_secs(10);
/// How often it is read while a node does not answer, or a hash slot has no node.
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
        let pause = match engine.overall.is_up() && engine.has_all_slots() {
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

/// Reads the map that most of the connected nodes have. Without any, that of the nodes that the URL
/// names.
async fn read(engine: &Engine) -> Result<SlotMap, RedisError> {
    let nodes = engine.connected_nodes().into_iter();
    let asked = nodes.map(|(node, mut connection)| async move {
        let host = node.host().to_owned();
        ask(&mut connection, &host).await
    });
    match most(asked, SlotMap::is_same).await {
        Ok(map) => Ok(map),
        Err(_) => read_from_seeds(&engine.config.address).await,
    }
}

/// Reads the map that most of the nodes have that the URL names.
pub(crate) async fn read_from_seeds(address: &Address) -> Result<SlotMap, RedisError> {
    let Servers::Cluster(seeds) = &address.servers else {
        return Err(RedisError::Unexpected);
    };
    let asked = seeds.iter().cloned().map(|seed| {
        let address = address.clone();
        async move {
            let mut connection = Connection::open_at(&address, &seed).await?;
            ask(&mut connection.pipeline, seed.host()).await
        }
    });
    most(asked, SlotMap::is_same).await
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
