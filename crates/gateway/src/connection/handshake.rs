//! The TLS handshake of a client connection.

use std::io;
use std::time::SystemTime;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use voxgate::ClientCertificate;
use voxgate_client_address::proxy_protocol;
use voxgate_tls::{ClientIdentity, ServerTls};

use crate::rejections::RejectReason;

/// What a client that speaks HTTP without TLS is told.
const USE_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 43\r\nConnection: close\r\n\r\n\
    This port speaks TLS. Use an https:// URL.\n";

/// Why there is no TLS connection. `None` if the client sent nothing.
pub(super) struct HandshakeError(pub(super) Option<RejectReason>);

/// Performs the handshake. The caller limits its time.
///
/// # Cancel safety
///
/// The connection is closed if this is dropped.
pub(super) async fn accept(
    mut stream: TcpStream,
    tls: &ServerTls,
) -> Result<TlsStream<TcpStream>, HandshakeError> {
    let mut first = [0; 12];
    let first = match stream.peek(&mut first).await {
        Ok(read @ 1..) => &first[..read],
        Ok(_) | Err(_) => return Err(HandshakeError(None)),
    };
    if proxy_protocol::is_start(first) {
        return Err(HandshakeError(Some(RejectReason::ProxyProtocol)));
    }
    // A TLS record begins with its type, 22 for a handshake (RFC 8446 §5.1); a method is in capitals.
    if first[0].is_ascii_uppercase() {
        tell_plain_client(&mut stream).await;
        return Err(HandshakeError(Some(RejectReason::PlainHttp)));
    }
    let acceptor = TlsAcceptor::from(tls.config());
    let accepted = acceptor.accept(stream).await;
    accepted.map_err(|error| {
        tracing::debug!(%error, "the TLS handshake failed");
        HandshakeError(Some(RejectReason::TlsHandshake))
    })
}

/// The certificate that the client has proved to have. One that cannot be read has no name.
pub(super) fn certificate(stream: &TlsStream<TcpStream>) -> Option<ClientCertificate> {
    let (_, connection) = stream.get_ref();
    let end_entity = connection.peer_certificates()?.first()?;
    Some(match ClientIdentity::of(end_entity) {
        Some(identity) => ClientCertificate::new(identity.names, identity.not_after),
        None => ClientCertificate::new([], SystemTime::UNIX_EPOCH),
    })
}

/// Answers a request without TLS. What the client sent is read, so that the answer is not lost with
/// a reset.
async fn tell_plain_client(stream: &mut TcpStream) {
    let told: io::Result<()> = async {
        let mut request = [0; 4096];
        stream.try_read(&mut request)?;
        stream.write_all(USE_HTTPS).await?;
        stream.shutdown().await
    }
    .await;
    if let Err(error) = told {
        tracing::debug!(%error, "a client without TLS was not told so");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_the_answer_is_right() {
        let text = str::from_utf8(USE_HTTPS).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
