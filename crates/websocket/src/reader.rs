//! From the bytes of a client to its messages.

use std::fmt;
use std::mem;

use crate::frame::{Header, MAX_HEADER, Opcode, apply_mask};
use crate::message::{ControlFrame, ControlKind, Message, MessageKind};

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A whole message.
    Message(Message),
    /// A control frame. It may come while a message is incomplete.
    Control(ControlFrame),
}

/// Reads the messages of a client from its bytes, however they are cut.
///
/// It buffers one message, as far as it has come, and one control frame. The buffer grows with what
/// is received, not with the length that a frame announces.
pub struct MessageReader {
    most: usize,
    /// What has come of a header that is not complete.
    header: [u8; MAX_HEADER],
    held: usize,
    frame: Option<Frame>,
    /// The message whose last fragment has not come.
    begun: Option<MessageKind>,
    payload: Vec<u8>,
    control: Vec<u8>,
    closed: bool,
}

/// A frame whose payload is not complete.
#[derive(Clone, Copy)]
struct Frame {
    header: Header,
    received: usize,
}

impl MessageReader {
    /// A reader that accepts messages of at most `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            header: [0; MAX_HEADER],
            held: 0,
            frame: None,
            begun: None,
            payload: Vec::new(),
            control: Vec::new(),
            closed: false,
        }
    }

    /// Whether neither a frame nor a message has begun.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.held == 0 && self.frame.is_none() && self.begun.is_none()
    }

    /// Reads from the start of `bytes`, and removes what it has read from there, up to the end of
    /// the next message or control frame. `None` if `bytes` ended before.
    ///
    /// What follows a `Close` is discarded: no frame may follow it (RFC 6455 §5.5.1).
    ///
    /// # Errors
    ///
    /// If the client breaks the protocol, or sends a longer message than the reader accepts. The
    /// connection cannot be continued: where the next frame begins is not known.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Received>, ReadError> {
        loop {
            if self.closed {
                *bytes = &[];
                return Ok(None);
            }
            let Some(mut frame) = self.frame(bytes)? else {
                return Ok(None);
            };
            let left = frame.header.length - frame.received as u64;
            let now = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (part, rest) = bytes.split_at(now);
            *bytes = rest;
            let payload = match frame.header.opcode.is_control() {
                true => &mut self.control,
                false => &mut self.payload,
            };
            let start = payload.len();
            payload.extend_from_slice(part);
            apply_mask(&mut payload[start..], frame.header.mask, frame.received);
            frame.received += now;
            if (frame.received as u64) < frame.header.length {
                self.frame = Some(frame);
                return Ok(None);
            }
            self.frame = None;
            if let Some(received) = self.finished(frame.header)? {
                return Ok(Some(received));
            }
        }
    }

    /// The frame that `bytes` continue or begin; `None` until its header is complete.
    fn frame(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, ReadError> {
        if let Some(frame) = self.frame {
            return Ok(Some(frame));
        }
        while let Some((byte, rest)) = bytes.split_first() {
            self.header[self.held] = *byte;
            self.held += 1;
            *bytes = rest;
            if let Some(header) = Header::parse(&self.header[..self.held])? {
                self.held = 0;
                self.begin(header)?;
                let frame = Frame {
                    header,
                    received: 0,
                };
                self.frame = Some(frame);
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Checks that the frame may come now, and that there is room for it.
    fn begin(&mut self, header: Header) -> Result<(), ReadError> {
        let kind = match header.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => return Ok(()),
            Opcode::Continuation if self.begun.is_some() => None,
            Opcode::Text if self.begun.is_none() => Some(MessageKind::Text),
            Opcode::Binary if self.begun.is_none() => Some(MessageKind::Binary),
            _ => return Err(ReadError::Protocol),
        };
        let room = (self.most - self.payload.len()) as u64;
        if header.length > room {
            return Err(ReadError::TooLong);
        }
        self.begun = kind.or(self.begun);
        Ok(())
    }

    /// What a complete frame completes.
    fn finished(&mut self, header: Header) -> Result<Option<Received>, ReadError> {
        let control = match header.opcode {
            Opcode::Close => ControlKind::Close,
            Opcode::Ping => ControlKind::Ping,
            Opcode::Pong => ControlKind::Pong,
            _ if !header.is_final => return Ok(None),
            _ => {
                let kind = self.begun.take().ok_or(ReadError::Protocol)?;
                let message = Message::checked(kind, mem::take(&mut self.payload));
                return Ok(Some(Received::Message(message.ok_or(ReadError::NotUtf8)?)));
            }
        };
        let payload = mem::take(&mut self.control);
        // A code has two bytes, and its reason is text (§5.5.1).
        if control == ControlKind::Close {
            match payload.split_first_chunk::<2>() {
                None if !payload.is_empty() => return Err(ReadError::Protocol),
                Some((_, reason)) if std::str::from_utf8(reason).is_err() => {
                    return Err(ReadError::NotUtf8);
                }
                _ => self.closed = true,
            }
        }
        let frame = ControlFrame::new(control, payload);
        Ok(Some(Received::Control(frame)))
    }
}

impl fmt::Debug for MessageReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReader")
            .field("most", &self.most)
            .field("buffered", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// Why a client's bytes cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// The client broke the protocol: an unmasked frame, a reserved bit or opcode, a length that is
    /// not in its shortest form, a fragment out of place, or a malformed control frame.
    Protocol,
    /// A text, or the reason of a `Close`, is not UTF-8.
    NotUtf8,
    /// The message is longer than the reader accepts.
    TooLong,
}

impl ReadError {
    /// The status code of the `Close` that tells the client (RFC 6455 §7.4.1).
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLong => 1009,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocol => "the client broke the WebSocket protocol",
            Self::NotUtf8 => "a text message is not UTF-8",
            Self::TooLong => "a message is too long",
        })
    }
}

impl std::error::Error for ReadError {}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::frame;

    const MASK: [u8; 4] = [0xa5, 0x00, 0xff, 0x31];

    /// A frame of a client with any first byte, its length in the shortest form or in a longer one.
    fn frame_of(first: u8, payload: &[u8], longer: usize) -> Vec<u8> {
        let shortest = match payload.len() {
            0..126 => 0,
            126..0x1_0000 => 1,
            _ => 2,
        };
        let mut frame = vec![first];
        match shortest.max(longer) {
            0 => frame.push(0x80 | payload.len() as u8),
            1 => {
                frame.push(0x80 | 126);
                frame.extend((payload.len() as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        let masked = payload.iter().zip(MASK.iter().cycle());
        frame.extend(masked.map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        frame_of(first, payload, 0)
    }

    /// Reads `bytes` in parts that end at `cuts`.
    fn read_cut(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Received>, ReadError> {
        let mut reader = MessageReader::new(100_000);
        let (mut received, mut start) = (Vec::new(), 0);
        for end in cuts.iter().copied().chain([bytes.len()]) {
            let mut part = &bytes[start..end];
            while let Some(one) = reader.read(&mut part)? {
                received.push(one);
            }
            assert!(part.is_empty());
            start = end;
        }
        Ok(received)
    }

    fn read(bytes: &[u8]) -> Result<Vec<Received>, ReadError> {
        read_cut(bytes, &[])
    }

    fn control(kind: ControlKind, payload: &[u8]) -> Received {
        Received::Control(ControlFrame::new(kind, payload.to_vec()))
    }

    fn text(text: &str) -> Received {
        Received::Message(Message::text(text))
    }

    #[test]
    fn a_message_is_joined_from_fragments_with_control_frames_between_them() {
        let sent = [
            frame(0x01, b"h\xc3"),
            frame(0x89, b"ping"),
            frame(0x00, b""),
            frame(0x8a, b""),
            frame(0x80, b"\xa9llo"),
            frame(0x82, &[0xff]),
            frame(0x88, &[0x03, 0xe8]),
            // Discarded, whatever it is.
            b"\xff\xff".to_vec(),
        ]
        .concat();
        let expected = [
            control(ControlKind::Ping, b"ping"),
            control(ControlKind::Pong, b""),
            text("h\u{e9}llo"),
            Received::Message(Message::binary([0xff])),
            control(ControlKind::Close, &[0x03, 0xe8]),
        ];
        assert_eq!(read(&sent).unwrap(), expected);
        for cut in 0..=sent.len() {
            assert_eq!(read_cut(&sent, &[cut]).unwrap(), expected, "{cut}");
        }
        let everywhere: Vec<usize> = (0..sent.len()).collect();
        assert_eq!(read_cut(&sent, &everywhere).unwrap(), expected);
    }

    #[test]
    fn what_another_reader_might_read_differently_is_refused() {
        let mut unmasked = Vec::new();
        frame::write(Opcode::Text, b"a", None, &mut unmasked);
        for (sent, expected) in [
            (unmasked, ReadError::Protocol),
            // Reserved bits: compression was not agreed on.
            (frame(0xc1, b"a"), ReadError::Protocol),
            (frame(0xa1, b"a"), ReadError::Protocol),
            (frame(0x91, b"a"), ReadError::Protocol),
            // Reserved opcodes.
            (frame(0x83, b"a"), ReadError::Protocol),
            (frame(0x8b, b"a"), ReadError::Protocol),
            // Not the shortest form.
            (frame_of(0x81, b"a", 1), ReadError::Protocol),
            (frame_of(0x81, b"a", 2), ReadError::Protocol),
            (frame_of(0x81, &[b'a'; 126], 2), ReadError::Protocol),
            (frame_of(0x89, b"a", 1), ReadError::Protocol),
            // More than 63 bits.
            (
                [&[0x82, 0xff][..], &[0xff; 8], &MASK].concat(),
                ReadError::Protocol,
            ),
            // Fragments out of place.
            (frame(0x80, b"a"), ReadError::Protocol),
            (
                [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
                ReadError::Protocol,
            ),
            (
                [frame(0x01, b"a"), frame(0x82, b"b")].concat(),
                ReadError::Protocol,
            ),
            // Control frames in fragments, and too long.
            (frame(0x09, b""), ReadError::Protocol),
            (frame(0x08, b""), ReadError::Protocol),
            (frame(0x89, &[0; 126]), ReadError::Protocol),
            (frame(0x88, b"a"), ReadError::Protocol),
            (frame(0x88, b"\x03\xe8\xff"), ReadError::NotUtf8),
            (frame(0x81, b"\xff"), ReadError::NotUtf8),
            (
                [frame(0x01, b"\xc3"), frame(0x80, b"a")].concat(),
                ReadError::NotUtf8,
            ),
            (frame(0x81, &[b'a'; 100_001]), ReadError::TooLong),
            (
                [frame(0x01, &[b'a'; 60_000]), frame(0x80, &[b'a'; 40_001])].concat(),
                ReadError::TooLong,
            ),
        ] {
            assert_eq!(read(&sent).unwrap_err(), expected, "{:x?}", &sent[..2]);
            let everywhere: Vec<usize> = (0..sent.len()).collect();
            assert_eq!(read_cut(&sent, &everywhere).unwrap_err(), expected);
        }
        assert_eq!(read(&frame(0x81, &[b'a'; 100_000])).unwrap().len(), 1);
    }

    #[test]
    fn room_is_taken_for_what_came_and_not_for_what_was_announced() {
        let mut reader = MessageReader::new(1 << 40);
        let header = [0x82, 0xff, 0, 0, 0, 0x80, 0, 0, 0, 0, 1, 2, 3, 4, 5];
        assert_eq!(reader.read(&mut &header[..]), Ok(None));
        assert!(reader.payload.capacity() < 1024);
        assert!(!reader.is_at_boundary());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_however_it_is_cut(
            payloads in vec((any::<bool>(), vec(any::<u8>(), 0..300), any::<[u8; 4]>()), 0..5),
            cuts in vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let (mut sent, mut expected) = (Vec::new(), Vec::new());
            for (is_text, payload, mask) in payloads {
                let message = match is_text {
                    true => Message::text(String::from_utf8_lossy(&payload)),
                    false => Message::binary(payload),
                };
                message.write(Some(mask), &mut sent);
                expected.push(Received::Message(message));
            }
            let mut cuts: Vec<usize> =
                cuts.into_iter().map(|cut| cut.index(sent.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(read_cut(&sent, &cuts).unwrap(), expected);
        }

        #[test]
        fn no_bytes_make_the_reader_panic_or_exceed_its_room(
            bytes in vec(prop_oneof![any::<u8>(), Just(0x81), Just(0x01), Just(0x80), Just(0xff)], 0..400),
        ) {
            let mut reader = MessageReader::new(16);
            let mut rest = &bytes[..];
            while let Ok(Some(received)) = reader.read(&mut rest) {
                if let Received::Message(message) = received {
                    prop_assert!(message.payload().len() <= 16);
                }
            }
            prop_assert!(reader.payload.len() <= 16);
        }
    }
}
