//! The syslog sink: RFC 5424 over a Unix socket, TCP (RFC 6587) or TLS (RFC 5425).

mod connection;
mod message;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use self::connection::Connection;
use self::message::Header;
use super::queue::Delivery;
use super::worker::{DeliveryError, Sink};

/// Where syslog is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// A socket in the file system, of datagrams or a stream.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
    /// `host:port`, and whom its certificate has to name.
    Tls(String, ServerName<'static>),
}

/// Messages for a syslog server. A connection that failed is not used again: it may have ended
/// amid a message.
pub(super) struct SyslogSink {
    server: Server,
    tls: Option<Arc<ClientConfig>>,
    delivery: Delivery,
    header: Header,
    connection: Option<Connection>,
    /// Messages, framed for a stream, or a single one.
    buffer: String,
    message: String,
    /// How many of the lines that could not all be sent were, and how many of these are lost.
    /// Only datagrams are ever known to have arrived one by one.
    sent: usize,
    lost: u64,
}

impl SyslogSink {
    /// `tls` is needed for a server that speaks it.
    pub(super) fn new(server: Server, tls: Option<Arc<ClientConfig>>, delivery: Delivery) -> Self {
        Self {
            server,
            tls,
            delivery,
            header: Header::new(),
            connection: None,
            buffer: String::new(),
            message: String::new(),
            sent: 0,
            lost: 0,
        }
    }

    fn send(&mut self, lines: &str) -> io::Result<()> {
        let open = self.connection.take();
        let mut connection = match open.and_then(Connection::unless_closed) {
            Some(open) => open,
            None => Connection::open(&self.server, self.tls.as_ref())?,
        };
        match connection.framing() {
            None => self.send_datagrams(&connection, lines)?,
            Some(framing) => {
                self.buffer.clear();
                for line in lines.lines() {
                    self.message.clear();
                    self.header.write(&mut self.message, line);
                    framing.write(&mut self.buffer, &self.message);
                }
                connection.write(self.buffer.as_bytes())?;
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn send_datagrams(&mut self, connection: &Connection, lines: &str) -> io::Result<()> {
        for line in lines.lines().skip(self.sent) {
            self.message.clear();
            self.header.write(&mut self.message, line);
            match connection.send(self.message.as_bytes()) {
                Err(error)
                    if connection::is_too_long(&error) && self.delivery == Delivery::BestEffort =>
                {
                    self.lost += 1;
                }
                result => result?,
            }
            self.sent += 1;
        }
        Ok(())
    }
}

impl Sink for SyslogSink {
    fn deliver(&mut self, lines: &str) -> Result<u64, DeliveryError> {
        self.send(lines).map_err(|error| match error.kind() {
            // What a time limit of a socket looks like.
            io::ErrorKind::WouldBlock => io::Error::new(
                io::ErrorKind::TimedOut,
                "the server has taken nothing for five seconds",
            ),
            _ => error,
        })?;
        self.sent = 0;
        Ok(std::mem::take(&mut self.lost))
    }
}
