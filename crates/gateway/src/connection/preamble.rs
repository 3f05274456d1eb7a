//! What comes on a connection before HTTP: the PROXY protocol header of a load balancer, and the TLS
//! handshake.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use voxgate::{ClientCertificate, PeerAddr};
use voxgate_client_address::proxy_protocol::{self, HeaderError};
use voxgate_tls::ServerTls;

use super::Ending;
use super::clients::ClientAddresses;
use super::handshake::{self, HandshakeError};
use super::socket::Socket;
use crate::rejections::RejectReason;

/// What a connection must begin with.
pub(super) struct Preamble {
    clients: ClientAddresses,
    /// Whether a PROXY protocol header comes first.
    has_header: bool,
    tls: Option<ServerTls>,
    /// How long each step may take.
    within: Duration,
}

/// A connection after its preamble.
pub(super) struct Begun {
    pub(super) socket: Socket,
    /// The client's address as far as the connection tells it.
    pub(super) source: SocketAddr,
    /// The certificate that the client has proved to have.
    pub(super) certificate: Option<ClientCertificate>,
}

impl Preamble {
    /// `None` if a connection from this address begins with HTTP.
    pub(super) fn new(
        clients: &ClientAddresses,
        tls: Option<&ServerTls>,
        within: Duration,
        peer: SocketAddr,
    ) -> Option<Self> {
        let has_header = clients.begin_with_header(peer.ip());
        (has_header || tls.is_some()).then(|| Self {
            clients: clients.clone(),
            has_header,
            tls: tls.cloned(),
            within,
        })
    }

    /// Reads it. `None` if the connection ends before.
    pub(super) async fn read(
        self,
        mut stream: TcpStream,
        ending: &Ending,
        stop: &CancellationToken,
    ) -> Option<Begun> {
        let source = match self.has_header {
            true => self.read_header(&mut stream, ending, stop).await?,
            false => ending.peer,
        };
        let Some(tls) = &self.tls else {
            return Some(Begun {
                socket: Socket::Plain(stream),
                source,
                certificate: None,
            });
        };
        let handshake = handshake::accept(stream, tls);
        let accepted = ending.within(self.within, stop, handshake).await?;
        let late = HandshakeError(Some(RejectReason::TlsHandshake));
        match accepted.unwrap_or(Err(late)) {
            Ok(stream) => Some(Begun {
                certificate: handshake::certificate(&stream),
                socket: Socket::Tls(Box::new(stream)),
                source,
            }),
            Err(HandshakeError(reason)) => {
                if let Some(reason) = reason {
                    ending.rejections.note(reason);
                }
                None
            }
        }
    }

    /// Reads the PROXY protocol header, and counts the connection for the client that it names.
    async fn read_header(
        &self,
        stream: &mut TcpStream,
        ending: &Ending,
        stop: &CancellationToken,
    ) -> Option<SocketAddr> {
        let header = proxy_protocol::read(stream);
        let source = match ending.within(self.within, stop, header).await? {
            Ok(Ok(Some(source))) => PeerAddr(source).canonical(),
            // The load balancer itself asks whether the gateway is there.
            Ok(Ok(None)) => ending.peer,
            // A check that only connects is no fault.
            Ok(Err(HeaderError::Io(_))) => return None,
            Ok(Err(_)) | Err(_) => {
                ending.rejections.note(RejectReason::ProxyProtocol);
                return None;
            }
        };
        if source != ending.peer {
            ending.rejections.set_client(source.ip());
            let counted = self.clients.counted_source(source.ip());
            if counted.is_some_and(|client| !ending.permit.assign(client)) {
                ending.rejections.note(RejectReason::ConnectionLimit);
                return None;
            }
        }
        Some(source)
    }
}
