//! Connections to Redis.

use std::time::Duration;

use redis::aio::{AsyncStream, MultiplexedConnection};
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisResult, cmd};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::{Address, Place};
use super::trouble::Trouble;

/// How long to wait for a connection. One that says nothing for as long is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Commands that may wait to be written: as many as one wake-up of the thread finds.
const UNWRITTEN: usize = 1024;

/// A connection on which questions may be asked all at once.
pub(super) struct Connection {
    pub(super) pipeline: MultiplexedConnection,
    /// Moves its bytes; ends when it is lost.
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects and logs in.
    pub(super) async fn open(address: &Address) -> Result<Self, Trouble> {
        let opened = timeout(PATIENCE, Self::open_patiently(address));
        opened.await.unwrap_or(Err(Trouble::Silent))
    }

    async fn open_patiently(address: &Address) -> Result<Self, Trouble> {
        let stream = connect(&address.place).await?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(UNWRITTEN);
        // It is told neither password nor database: its own errors about them do not say why.
        let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (pipeline, driver) = MultiplexedConnection::new_with_config(&bare, stream, config)
            .await
            .map_err(|error| Trouble::of(&error))?;
        let mut connection = Self {
            pipeline,
            driver: tokio::task::spawn_local(driver),
        };
        let logged_in = connection.log_in(address).await;
        logged_in.map_err(|error| Trouble::of(&error))?;
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

    /// Waits until it is lost.
    pub(super) async fn lost(&mut self) {
        let _ = (&mut self.driver).await;
    }
}

impl Drop for Connection {
    /// Whoever still waits for an answer hears that there will be none.
    fn drop(&mut self) {
        self.driver.abort();
    }
}

type Stream = Box<dyn AsyncStream + Send + Unpin>;

async fn connect(place: &Place) -> Result<Stream, Trouble> {
    Ok(match place {
        Place::Tcp(host, port) => Box::new(connect_tcp(host, *port).await?),
        Place::Tls(host, port, name, config) => {
            let stream = connect_tcp(host, *port).await?;
            let connector = TlsConnector::from(config.clone());
            let stream = connector.connect(name.clone(), stream).await;
            Box::new(stream.map_err(|error| Trouble::of_tls(&error))?)
        }
        Place::Unix(path) => {
            let stream = UnixStream::connect(path).await;
            Box::new(stream.map_err(|error| Trouble::of_io(&error))?)
        }
    })
}

async fn connect_tcp(host: &str, port: u16) -> Result<TcpStream, Trouble> {
    let found = lookup_host((host, port)).await;
    let addresses: Vec<_> = found.map_err(|_| Trouble::Unknown)?.collect();
    let stream = TcpStream::connect(&addresses[..]).await;
    let stream = stream.map_err(|error| Trouble::of_io(&error))?;
    let set = stream.set_nodelay(true);
    set.map_err(|error| Trouble::of_io(&error))?;
    Ok(stream)
}
