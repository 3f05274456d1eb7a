//! Connections to Redis.

use std::time::Duration;

use redis::aio::{AsyncStream, MultiplexedConnection};
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisResult, Value, cmd};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::address::{Address, Endpoint, Login, Servers};
use crate::redis_error::RedisError;
use crate::sentinel;

/// Timeout of a connection attempt, and of answers to heartbeats and releases.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);
/// How many commands may wait to be written.
const UNWRITTEN: usize = 1024;

/// A connection that sends commands without waiting for earlier answers.
pub(crate) struct Connection {
    pub(crate) pipeline: MultiplexedConnection,
    /// The server.
    pub(crate) endpoint: Endpoint,
    /// Transfers the bytes. Ends when the connection is lost.
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects to the server, or to the primary that the Sentinels name, and logs in. The nodes of a
    /// cluster have endpoints of their own: see [`open_at`](Self::open_at).
    pub(crate) async fn open(address: &Address) -> Result<Self, RedisError> {
        match &address.servers {
            Servers::One(endpoint) => Self::open_at(address, endpoint).await,
            Servers::Cluster(_) => Err(RedisError::UnknownHost),
            Servers::Sentinel(sentinels) => {
                let endpoint = sentinel::primary(sentinels).await?;
                let mut connection = Self::open_at(address, &endpoint).await?;
                // Sentinels that have not learned of a failover name the old primary.
                match timeout(TIMEOUT, connection.is_primary()).await {
                    Ok(true) => Ok(connection),
                    Ok(false) => Err(RedisError::Server("READONLY".to_owned())),
                    Err(_) => Err(RedisError::Timeout),
                }
            }
        }
    }

    /// Connects to this server, with the login and the database of the address.
    pub(crate) async fn open_at(
        address: &Address,
        endpoint: &Endpoint,
    ) -> Result<Self, RedisError> {
        let opened = Self::connect_and_log_in(endpoint, address.login.as_ref(), address.database);
        let opened = timeout(TIMEOUT, opened).await;
        opened.unwrap_or(Err(RedisError::Timeout))
    }

    pub(crate) async fn connect_and_log_in(
        endpoint: &Endpoint,
        login: Option<&Login>,
        database: u32,
    ) -> Result<Self, RedisError> {
        let stream = connect(endpoint).await?;
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
            endpoint: endpoint.clone(),
            driver: tokio::task::spawn_local(driver),
        };
        let logged_in = connection.log_in(login, database).await;
        logged_in.map_err(|error| RedisError::from_redis(&error))?;
        Ok(connection)
    }

    async fn log_in(&mut self, login: Option<&Login>, database: u32) -> RedisResult<()> {
        if let Some(login) = login {
            let mut auth = cmd("AUTH");
            auth.arg(&login.user).arg(&login.password);
            auth.exec_async(&mut self.pipeline).await?;
        }
        if database != 0 {
            let mut select = cmd("SELECT");
            select.arg(database);
            select.exec_async(&mut self.pipeline).await?;
        }
        Ok(())
    }

    /// Whether the server accepts writes. One that does not let this user ask is taken for a
    /// primary: a replica refuses the first script.
    async fn is_primary(&mut self) -> bool {
        let role = cmd("ROLE").query_async::<Value>(&mut self.pipeline).await;
        let role = role.map(|role| match role {
            Value::Array(parts) => parts.into_iter().next(),
            _ => None,
        });
        !matches!(role, Ok(Some(Value::BulkString(role))) if role != b"master")
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_lost(&self) -> bool {
        self.driver.is_finished()
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
        #[cfg(feature = "simulation")]
        Endpoint::Simulated(host, port, dialer) => {
            let stream = dialer.dial(host, *port).await;
            stream.map_err(|error| RedisError::from_io(&error))?
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
