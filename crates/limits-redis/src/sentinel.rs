//! What the Sentinels of a service know: its primary, and its replicas.

use std::collections::HashMap;

use redis::{FromRedisValue, cmd};
use tokio::time::timeout;

use crate::address::{Endpoint, Sentinel};
use crate::connection::{Connection, TIMEOUT};
use crate::redis_error::RedisError;
use crate::several::most;

/// The primary that most Sentinels name. A Sentinel that is cut off from the others names the old
/// primary after a failover.
pub(crate) async fn primary(sentinel: &Sentinel) -> Result<Endpoint, RedisError> {
    let asked = sentinel.sentinels.iter().cloned().map(|endpoint| {
        let sentinel = sentinel.clone();
        async move {
            let named: Option<(String, u16)> =
                ask(&sentinel, &endpoint, "get-master-addr-by-name").await?;
            let (host, port) = named.ok_or(RedisError::UnknownService)?;
            endpoint.at(&host, port).ok_or(RedisError::Unexpected)
        }
    });
    most(asked, |one: &Endpoint, other| one.name() == other.name()).await
}

/// Whether most Sentinels know a replica that they could promote.
pub(crate) async fn has_replicas(sentinel: &Sentinel) -> Result<bool, RedisError> {
    let asked = sentinel.sentinels.iter().cloned().map(|endpoint| {
        let sentinel = sentinel.clone();
        async move {
            let replicas: Vec<HashMap<String, String>> =
                ask(&sentinel, &endpoint, "replicas").await?;
            let is_down = |flag: &str| matches!(flag, "s_down" | "o_down");
            let is_up = |replica: &HashMap<String, String>| {
                let flags = replica.get("flags");
                flags.is_some_and(|flags| !flags.split(',').any(is_down))
            };
            Ok(replicas.iter().any(is_up))
        }
    });
    most(asked, bool::eq).await
}

/// Asks a Sentinel about the service.
async fn ask<T: FromRedisValue>(
    sentinel: &Sentinel,
    endpoint: &Endpoint,
    what: &str,
) -> Result<T, RedisError> {
    let asked = async {
        let login = sentinel.login.as_ref();
        let mut connection = Connection::connect_and_log_in(endpoint, login, 0).await?;
        let mut ask = cmd("SENTINEL");
        ask.arg(what).arg(&sentinel.service);
        let answer = ask.query_async::<T>(&mut connection.pipeline).await;
        answer.map_err(|error| RedisError::from_redis(&error))
    };
    let answer = timeout(TIMEOUT, asked).await;
    let answer = answer.unwrap_or(Err(RedisError::Timeout));
    answer.map_err(|error| RedisError::Sentinel(Box::new(error)))
}
