//! The messages of a WebSocket client (RFC 6455), read and written by a proxy.
//!
//! A proxy that must know what a client sends cannot copy bytes: it has to take the mask off, join
//! the fragments of a message, and let nothing pass that the upstream might read differently. This
//! crate does that without I/O. It is not a WebSocket endpoint: it answers no `Ping` and no `Close`,
//! because the upstream does.
//!
//! - [`MessageReader`] turns the bytes of a client into [`Received`] values: whole messages, and
//!   control frames.
//! - [`Message`] and [`ControlFrame`] write themselves as frames, for the upstream with a mask.
//! - [`CredentialFormat`] takes a credential out of a message.
//!
//! No extension is supported. A proxy removes `Sec-WebSocket-Extensions` from the handshake of a
//! WebSocket that it reads, so that no message is compressed (RFC 7692).
//!
//! ```
//! use voxgate_websocket::{Message, MessageReader, Received};
//!
//! let mut reader = MessageReader::new(64 * 1024);
//! // What a client sent: a frame of text, masked with 1, 2, 3, 4.
//! let sent = [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
//! let mut bytes = &sent[..];
//! let mut upstream = Vec::new();
//! while let Some(received) = reader.read(&mut bytes)? {
//!     match received {
//!         Received::Message(message) => {
//!             assert_eq!(message, Message::text("hi"));
//!             message.write(Some([5, 6, 7, 8]), &mut upstream);
//!         }
//!         Received::Control(frame) => frame.write(Some([5, 6, 7, 8]), &mut upstream),
//!     }
//! }
//! assert!(bytes.is_empty() && reader.is_at_boundary());
//! # Ok::<(), voxgate_websocket::ReadError>(())
//! ```

mod credentials;
mod frame;
mod message;
mod reader;

pub use self::credentials::{CredentialFormat, MalformedMessage, Stripped, VendorError};
pub use self::message::{ControlFrame, ControlKind, Message, MessageKind};
pub use self::reader::{MessageReader, ReadError, Received};
