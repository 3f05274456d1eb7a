//! Where WebSocket frames begin and end.

use voxgate_usage::TunnelReader;

const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0f;
/// The bit that the opcodes of control frames have, and others not.
const CONTROL: u8 = 0x08;
const CONTINUATION: u8 = 0x00;
const TEXT: u8 = 0x01;
const CLOSE: u8 = 0x08;
const MASKED: u8 = 0x80;
/// The longest header, without its mask.
const MAX_HEADER: usize = 10;

/// Follows one direction of a WebSocket from frame to frame (RFC 6455 §5.2), byte by byte as they
/// come. Fragments are frames as well: a control frame may stand between them (§5.4).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames {
    /// What has come of a header that is not complete, without its mask.
    header: [u8; MAX_HEADER],
    held: usize,
    /// How much of the frame whose header is complete has still to come, the mask included.
    left: u64,
    closed: bool,
    /// A message has begun whose last fragment has not.
    in_message: bool,
}

impl Frames {
    /// Whether the next byte is a frame's first.
    pub(super) fn at_boundary(&self) -> bool {
        self.held == 0 && self.left == 0
    }

    /// Whether a message would come between the fragments of another one (§5.4).
    pub(super) fn in_message(&self) -> bool {
        self.in_message
    }

    /// Whether a Close frame has come. No frame may follow it (§5.5.1).
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Follows all of `bytes`, and tells the listener the messages in them.
    pub(super) fn advance(&mut self, mut bytes: &[u8], mut listener: Option<&mut TunnelReader>) {
        while !bytes.is_empty() {
            let of_frame = self.advance_frame(bytes, listener.as_deref_mut());
            bytes = &bytes[of_frame..];
        }
    }

    /// How many of `bytes` belong to the frame that the first of them belongs to.
    pub(super) fn of_frame(mut self, bytes: &[u8]) -> usize {
        self.advance_frame(bytes, None)
    }

    /// Follows `bytes` up to the end of a frame, and tells how many they were.
    fn advance_frame(&mut self, bytes: &[u8], mut listener: Option<&mut TunnelReader>) -> usize {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.left == 0 {
                self.header[self.held] = byte;
                self.held += 1;
                rest = after;
                let Some(left) = after_header(&self.header[..self.held]) else {
                    continue;
                };
                self.closed |= self.header[0] & OPCODE == CLOSE;
                if self.header[0] & CONTROL == 0 {
                    self.in_message = self.header[0] & FINAL == 0;
                }
                self.held = 0;
                self.left = left;
                if let Some(listener) = self.listens(&mut listener) {
                    match self.header[0] & OPCODE {
                        CONTINUATION => {}
                        opcode => listener.begin(opcode == TEXT),
                    }
                }
            } else {
                let now =
                    usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                if let Some(listener) = self.listens(&mut listener) {
                    listener.read(&rest[..now]);
                }
                self.left -= now as u64;
                rest = &rest[now..];
            }
            if self.left == 0 {
                if self.header[0] & FINAL != 0
                    && let Some(listener) = self.listens(&mut listener)
                {
                    listener.end();
                }
                break;
            }
        }
        bytes.len() - rest.len()
    }
}

impl Frames {
    /// The listener, if the current frame is one of a message. A server does not mask its frames
    /// (§5.1).
    fn listens<'a>(
        &self,
        listener: &'a mut Option<&mut TunnelReader>,
    ) -> Option<&'a mut TunnelReader> {
        let is_message = self.header[0] & CONTROL == 0 && self.header[1] & MASKED == 0;
        listener.as_deref_mut().filter(|_| is_message)
    }
}

/// How much follows a header, its mask included; `None` until the header is complete.
fn after_header(header: &[u8]) -> Option<u64> {
    let [_, second, extended @ ..] = header else {
        return None;
    };
    let payload = match second & !MASKED {
        126 => u64::from(u16::from_be_bytes(extended.try_into().ok()?)),
        127 => u64::from_be_bytes(extended.try_into().ok()?),
        short => u64::from(short),
    };
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    // A length of more than 63 bits is not allowed. Whoever sends one never reaches its end.
    Some(payload.saturating_add(mask))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A frame as RFC 6455 §5.2 has it, its length in the given form or in a longer one.
    fn frame(first: u8, payload: usize, longer: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let shortest = match payload {
            0..=125 => 0,
            126..=0xffff => 1,
            _ => 2,
        };
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut frame = vec![first];
        match shortest.max(longer) {
            0 => frame.push(masked | payload as u8),
            1 => {
                frame.push(masked | 126);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(masked | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend(mask.into_iter().flatten());
        // A payload that looks like headers.
        frame.extend((0..payload).map(|at| [0x88, 0x7f, 0x00, 0x81][at % 4]));
        frame
    }

    fn payload() -> impl Strategy<Value = usize> {
        prop_oneof![0..3usize, 124..129usize, 0..2000usize, 65_534..65_538usize]
    }

    proptest! {
        #[test]
        fn boundaries_are_where_frames_end_however_they_are_cut(
            shapes in vec((any::<u8>(), payload(), 0..3usize, any::<Option<[u8; 4]>>()), 1..8),
            cuts in vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let mut bytes = Vec::new();
            // Where each frame ends, and whether a Close frame's header has come by then.
            let mut ends = vec![];
            let mut close_header = None;
            for (first, payload, longer, mask) in shapes {
                let frame = frame(first, payload, longer, mask);
                let overhead = frame.len() - payload - mask.map_or(0, |mask| mask.len());
                if first & 0x0f == 8 && close_header.is_none() {
                    close_header = Some(bytes.len() + overhead);
                }
                bytes.extend(frame);
                ends.push(bytes.len());
            }
            let mut cuts: Vec<usize> =
                cuts.into_iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            // Beside the ends, where one byte too many or too few would show.
            cuts.extend(ends.iter().flat_map(|end| [end - 1, *end, end + 1]));
            cuts.retain(|cut| *cut <= bytes.len());
            cuts.sort_unstable();

            let mut frames = Frames::default();
            let mut at = 0;
            for cut in cuts {
                let piece = &bytes[at..cut];
                if let Some(end) = ends.iter().find(|end| **end > at) {
                    prop_assert_eq!(frames.of_frame(piece), piece.len().min(end - at));
                }
                frames.advance(piece, None);
                at = cut;
                prop_assert_eq!(frames.at_boundary(), at == 0 || ends.contains(&at), "at {}", at);
                prop_assert_eq!(frames.closed(), close_header.is_some_and(|end| end <= at));
            }
        }
    }

    #[test]
    fn every_byte_of_a_header_is_followed() {
        for mask in [None, Some([0; 4])] {
            for (payload, longer) in [(0, 0), (1, 0), (1, 1), (1, 2), (126, 0), (65_536, 0)] {
                let frame = frame(0x82, payload, longer, mask);
                let mut frames = Frames::default();
                for (at, byte) in frame.iter().enumerate() {
                    assert_eq!(
                        frames.at_boundary(),
                        at == 0,
                        "{payload} {longer} {mask:?} {at}"
                    );
                    frames.advance(&[*byte], None);
                }
                assert!(frames.at_boundary(), "{payload} {longer} {mask:?}");
            }
        }
    }

    #[test]
    fn a_length_that_is_not_allowed_has_no_end() {
        let mut frames = Frames::default();
        frames.advance(&[0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255], None);
        frames.advance(&[0; 4096], None);
        assert!(!frames.at_boundary());
    }

    #[test]
    fn fragments_belong_to_a_message_until_the_last_one() {
        let mut frames = Frames::default();
        for (first, expected) in [
            (0x81, false),
            (0x01, true),
            (0x89, true),
            (0x00, true),
            (0x80, false),
            (0x88, false),
        ] {
            frames.advance(&frame(first, 3, 0, None), None);
            assert_eq!(frames.in_message(), expected, "{first:x}");
        }
    }
}
