//! A WebSocket that was accepted without a credential, until there is a decision about it.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service};
use voxgate_websocket::{
    ControlKind, MalformedMessage, Message, MessageReader, ReadError, Received,
};

use super::handshake::Handshake;
use super::refusal::Refusal;
use crate::connection::ConnectionPermit;
use crate::proxy::{RequestBody, header_values};

/// How long a client may take to send its first message, as Rime's engine has it.
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(10);
/// The longest first message in bytes. With a licence, it can have some thousands.
const MAX_FIRST_MESSAGE: usize = 64 * 1024;
/// How many control frames a client may send before its first message.
const MAX_CONTROL_FRAMES: usize = 16;
/// How long each step of a refusal may take.
const REFUSE_WITHIN: Duration = Duration::from_millis(250);
const READ_AT_ONCE: usize = 4096;

type Client = TokioIo<Upgraded>;
/// A client, and what it has sent.
type Spoken = (Client, Vec<u8>);

/// A client that has sent its first message, in the extensions of the request that its credential is
/// in. The proxy takes it when the upstream has agreed to the WebSocket.
#[derive(Clone)]
pub(crate) struct HeldClient {
    handshake: Arc<Handshake>,
    connection: Arc<Mutex<Option<Spoken>>>,
}

impl HeldClient {
    /// The client's connection, and what it has sent. `None` the second time.
    pub(crate) fn take(&self) -> Option<Spoken> {
        let connection = self.connection.lock();
        connection.unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the upstream's answer is the one that the client was given.
    pub(crate) fn was_told(
        &self,
        accept: Option<&HeaderValue>,
        subprotocol: Option<&HeaderValue>,
    ) -> bool {
        self.handshake.was_told(accept, subprotocol)
    }
}

impl fmt::Debug for HeldClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldClient")
    }
}

/// Why no credential was read.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoCredential {
    /// The first message did not come in time.
    Timeout,
    /// The connection was closed for another one.
    Evicted,
    /// The gateway stops.
    Stopped,
    /// The client closed the WebSocket or the connection.
    Gone,
    /// The client's bytes are no WebSocket, or its first message is too long.
    Unreadable(ReadError),
    /// The first message is malformed.
    Malformed,
}

/// What a client sent first.
struct FirstMessage {
    /// As headers have it. There is none, or more than one, in a message that is to be refused.
    credentials: Vec<String>,
    /// All bytes of the first message and after it.
    sent: Vec<u8>,
}

/// A WebSocket that waits for its first message.
pub(super) struct Hold {
    pub(super) upgrade: OnUpgrade,
    /// The permit of the connection. While it waits, it may be closed for another one.
    pub(super) connection: ConnectionPermit,
    /// Its place among those that wait, which another one may take.
    pub(super) place: ConnectionPermit,
    pub(super) handshake: Handshake,
    pub(super) stop: CancellationToken,
}

impl Hold {
    /// Waits for the first message, and has `inner` decide about the request with its credential.
    pub(super) async fn run<S, B>(self, inner: S, request: Request<RequestBody>)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let Self {
            upgrade,
            connection,
            place,
            handshake,
            stop,
        } = self;
        connection.offer();
        let mut client = None;
        let waited = async {
            let upgraded = upgrade.await.map_err(|_| NoCredential::Gone)?;
            let client = client.insert(TokioIo::new(upgraded));
            read_first(client, &handshake).await
        };
        let first = tokio::select! {
            biased;
            () = connection.closed() => Err(NoCredential::Evicted),
            () = place.closed() => Err(NoCredential::Evicted),
            () = stop.cancelled() => Err(NoCredential::Stopped),
            first = timeout(FIRST_MESSAGE_WITHIN, waited) => {
                first.unwrap_or(Err(NoCredential::Timeout))
            }
        };
        drop(place);
        connection.keep();
        decide(inner, request, handshake, client, first).await;
    }
}

/// Has the authentication layer decide, and tells the client if it is refused.
async fn decide<S, B>(
    mut inner: S,
    mut request: Request<RequestBody>,
    handshake: Handshake,
    client: Option<Client>,
    first: Result<FirstMessage, NoCredential>,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (sent, failed) = match first {
        Ok(FirstMessage { credentials, sent }) => {
            for credential in credentials {
                handshake
                    .dialect
                    .present(&credential, request.headers_mut());
            }
            (sent, None)
        }
        Err(failed) => (Vec::new(), Some(failed)),
    };
    handshake.narrow(request.headers_mut());
    let held = HeldClient {
        handshake: Arc::new(handshake),
        connection: Arc::new(Mutex::new(client.map(|client| (client, sent)))),
    };
    request.extensions_mut().insert(held.clone());
    let Ok(response) = inner.call(request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    if let Some((client, _)) = held.take() {
        let refusal = Refusal::of(&held.handshake, &response, failed);
        refuse(client, refusal).await;
    }
}

/// Reads the first message, and answers each `Ping` before it.
async fn read_first(
    client: &mut Client,
    handshake: &Handshake,
) -> Result<FirstMessage, NoCredential> {
    let mut reader = MessageReader::new(MAX_FIRST_MESSAGE);
    let mut buffer = vec![0; READ_AT_ONCE];
    let mut control_frames = 0;
    loop {
        let read = client.read(&mut buffer).await;
        let read = read.ok().filter(|read| *read > 0);
        let mut bytes = &buffer[..read.ok_or(NoCredential::Gone)?];
        while let Some(received) = reader.read(&mut bytes).map_err(NoCredential::Unreadable)? {
            let frame = match received {
                Received::Message(message) => return first(handshake, message, bytes),
                Received::Control(frame) => frame,
            };
            control_frames += 1;
            if control_frames > MAX_CONTROL_FRAMES {
                return Err(NoCredential::Unreadable(ReadError::Protocol));
            }
            match frame.kind() {
                ControlKind::Close => return Err(NoCredential::Gone),
                ControlKind::Pong => {}
                ControlKind::Ping => {
                    let mut pong = Vec::new();
                    frame.to_pong().write(None, &mut pong);
                    let written = client.write_all(&pong).await;
                    written.map_err(|_| NoCredential::Gone)?;
                    let flushed = client.flush().await;
                    flushed.map_err(|_| NoCredential::Gone)?;
                }
            }
        }
    }
}

/// The credentials of the first message. The message itself goes on as it was sent: the tunnel
/// takes the credentials out of it, as out of each message.
fn first(
    handshake: &Handshake,
    message: Message,
    rest: &[u8],
) -> Result<FirstMessage, NoCredential> {
    let mut sent = Vec::new();
    // As a client sends it. No byte leaves the process in this form.
    message.write(Some([0; 4]), &mut sent);
    sent.extend_from_slice(rest);
    let stripped = handshake.format.strip(message, None);
    let stripped = stripped.map_err(|MalformedMessage| NoCredential::Malformed)?;
    Ok(FirstMessage {
        credentials: header_values(handshake.format, stripped.credentials).collect(),
        sent,
    })
}

/// Tells the client, and closes its connection.
async fn refuse(mut client: Client, refusal: Refusal) {
    let told = timeout(REFUSE_WITHIN, async {
        client.write_all(&refusal.frames()).await?;
        // The server is the first to close the connection (RFC 6455 §7.1.1).
        client.shutdown().await
    });
    if let Ok(Ok(())) = told.await {
        // Closing a socket with something unread resets the connection, and that can destroy what
        // the client has not read yet.
        let mut buffer = vec![0; READ_AT_ONCE];
        let _ = timeout(REFUSE_WITHIN, async {
            while let Ok(1..) = client.read(&mut buffer).await {}
        })
        .await;
    }
}
