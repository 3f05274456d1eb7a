//! Reads the messages of a client before they go upstream.

use std::fmt;

use voxgate_websocket::{ControlFrame, Message, MessageReader, ReadError, Received};

use super::cut::{Farewell, mask};

/// The longest message that a client may send through a tunnel that is inspected, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;

/// Judges the messages of one client, in their order.
pub(in super::super) trait Inspect: Send {
    /// Returns the message that goes upstream in place of this one.
    ///
    /// # Errors
    ///
    /// If the client may not send it. The tunnel is closed, and nothing of the message goes upstream.
    fn inspect(&mut self, message: Message) -> Result<Message, Refusal>;
}

/// Why a tunnel is closed because of what its client sent.
pub(in super::super) struct Refusal {
    /// The reason, for the log. It contains nothing that the client sent.
    why: &'static str,
    farewell: Farewell,
}

impl Refusal {
    /// Closes the tunnel with this code (RFC 6455 §7.4.1). The client is told `message` before, in
    /// the words of its vendor, if there is one.
    pub(in super::super) fn new(why: &'static str, code: u16, message: Option<Message>) -> Self {
        let close = ControlFrame::close(code, why);
        Self {
            why,
            farewell: Farewell { message, close },
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let why = match error {
            ReadError::TooLong => "message too long",
            ReadError::NotUtf8 => "text is not UTF-8",
            _ => "protocol error",
        };
        Self::new(why, error.close_code(), None)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why)
    }
}

impl From<Box<Refusal>> for Farewell {
    fn from(refusal: Box<Refusal>) -> Self {
        refusal.farewell
    }
}

/// The reader of a client's messages, and those who judge them.
pub(in super::super) struct Inspection {
    reader: MessageReader,
    inspectors: Vec<Box<dyn Inspect>>,
}

impl Inspection {
    /// An inspection that passes every message.
    pub(in super::super) fn new() -> Self {
        Self {
            reader: MessageReader::new(MAX_MESSAGE),
            inspectors: Vec::new(),
        }
    }

    /// Adds an inspector. It gets what those before it pass.
    pub(in super::super) fn add(&mut self, inspector: impl Inspect + 'static) {
        self.inspectors.push(Box::new(inspector));
    }

    /// Appends what goes upstream of `bytes`, and of what came before and was incomplete.
    pub(in super::super) fn pass(
        &mut self,
        mut bytes: &[u8],
        to_upstream: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        while let Some(received) = self.reader.read(&mut bytes)? {
            let mask = mask().map_err(|_| Refusal::new("internal error", 1011, None))?;
            match received {
                Received::Message(mut message) => {
                    for inspector in &mut self.inspectors {
                        message = inspector.inspect(message)?;
                    }
                    message.write(Some(mask), to_upstream);
                }
                Received::Control(frame) => frame.write(Some(mask), to_upstream),
            }
        }
        Ok(())
    }
}
