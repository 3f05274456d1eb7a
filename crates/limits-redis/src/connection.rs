//! Connections to Redis.

use std::time::Duration;

use redis::aio::{AsyncStream, MultiplexedConnection};
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisResult, cmd};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::address::{Address, Endpoint};
use crate::redis_error::RedisError;

/// Timeout of a connection attempt, and of answers to heartbeats and releases.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);
/// How many commands may wait to be written.
const UNWRITTEN: usize = 1024;

/// A connection that sends commands without waiting for earlier answers.
pub(crate) struct Connection {
    pub(crate) pipeline: MultiplexedConnection,
    /// Transfers the bytes. Ends when the connection is lost.
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects and logs in.
    pub(crate) async fn open(address: &Address) -> Result<Self, RedisError> {
        let opened = timeout(TIMEOUT, Self::connect_and_log_in(address));
        opened.await.unwrap_or(Err(RedisError::Timeout))
    }

    async fn connect_and_log_in(address: &Address) -> Result<Self, RedisError> {
        let stream = connect(&address.endpoint).await?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(UNWRITTEN);
        // `redis` would log in and select the database itself, but its errors do not say why.
        let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (pipeline, driver) = MultiplexedConnection::new_with_config(&bare, stream, config)
            .await
            .map_err(|error| RedisError::from_redis(&error))?;
        let mut connection = Self {
            pipeline,
            driver: tokio::task::spawn_local(driver),
        };
        let logged_in = connection.log_in(address).await;
        logged_in.map_err(|error| RedisError::from_redis(&error))?;
        Ok(connection)
    }

    async fn log_in(&mut self, address: &Address) -> RedisResult<()> {
        if let Some(login) = &address.login {
            let mut auth = cmd("AUTH");
            auth.arg(&login.user).arg(&login.password);
            auth.exec_async(&mut self.pipeline).await?;
        }
        if address.database != 0 {
            let mut select = cmd("SELECT");
            select.arg(address.database);
            select.exec_async(&mut self.pipeline).await?;
        }
        Ok(())
    }

    /// Waits until the connection is lost.
    pub(crate) async fn lost(&mut self) {
        let _ = (&mut self.driver).await;
    }
}

impl Drop for Connection {
    /// Commands that wait for an answer fail.
    fn drop(&mut self) {
        self.driver.abort();
    }
}

type Stream = Box<dyn AsyncStream + Send + Unpin>;

async fn connect(endpoint: &Endpoint) -> Result<Stream, RedisError> {
    Ok(match endpoint {
        Endpoint::Tcp(host, port) => Box::new(connect_tcp(host, *port).await?),
        Endpoint::Tls(host, port, name, config) => {
            let stream = connect_tcp(host, *port).await?;
            let connector = TlsConnector::from(config.clone());
            let stream = connector.connect(name.clone(), stream).await;
            Box::new(stream.map_err(|error| RedisError::from_tls(&error))?)
        }
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path).await;
            Box::new(stream.map_err(|error| RedisError::from_io(&error))?)
        }
    })
}

async fn connect_tcp(host: &str, port: u16) -> Result<TcpStream, RedisError> {
    let found = lookup_host((host, port)).await;
    let addresses: Vec<_> = found.map_err(|_| RedisError::UnknownHost)?.collect();
    let stream = TcpStream::connect(&addresses[..]).await;
    let stream = stream.map_err(|error| RedisError::from_io(&error))?;
    let set = stream.set_nodelay(true);
    set.map_err(|error| RedisError::from_io(&error))?;
    Ok(stream)
}
