//! Watches the frames of an HTTP/2 connection. The HTTP implementation refuses streams and ends
//! connections by itself, and does not tell; the frames that it sends show it.

use std::collections::HashSet;

use super::frames::{FrameReader, GOAWAY, HEADERS, RST_STREAM};
use crate::rejections::RejectReason;

/// Error codes (RFC 9113 §7).
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
/// A header that is shorter has nothing but a status. It is the 431 of the HTTP implementation:
/// every answer of the gateway has a request id.
const BARE_STATUS: usize = 24;

/// The frames of one connection.
#[derive(Default)]
pub(super) struct Http2Frames {
    received: FrameReader,
    sent: FrameReader,
    /// Streams whose answer has begun and not ended. At most as many as may be open at a time.
    answering: HashSet<u32>,
    /// The last stream whose header was too large. It may be reset after that.
    too_large: u32,
}

impl Http2Frames {
    /// Takes bytes that were received.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        let Self {
            received,
            answering,
            ..
        } = self;
        received.read(bytes, |frame| {
            if frame.kind == RST_STREAM {
                answering.remove(&frame.stream);
            }
        });
    }

    /// Takes bytes that were sent. Calls `rejected` when they say that something was.
    pub(super) fn sent(&mut self, bytes: &[u8], mut rejected: impl FnMut(RejectReason)) {
        let Self {
            sent,
            answering,
            too_large,
            ..
        } = self;
        sent.read(bytes, |frame| {
            let is_answered = answering.contains(&frame.stream);
            let reason = match (frame.kind, frame.error) {
                (GOAWAY, Some(code)) => connection_error(code),
                (RST_STREAM, Some(code)) if !is_answered && frame.stream != *too_large => {
                    stream_error(code)
                }
                (HEADERS, _)
                    if !is_answered && frame.ends_stream() && frame.length < BARE_STATUS =>
                {
                    *too_large = frame.stream;
                    Some(RejectReason::HeaderTooLarge)
                }
                _ => None,
            };
            if frame.kind == RST_STREAM || frame.ends_stream() {
                answering.remove(&frame.stream);
            } else if frame.kind == HEADERS {
                answering.insert(frame.stream);
            }
            reason.into_iter().for_each(&mut rejected);
        });
    }
}

fn connection_error(code: u32) -> Option<RejectReason> {
    match code {
        NO_ERROR | INTERNAL_ERROR => None,
        ENHANCE_YOUR_CALM => Some(RejectReason::Flood),
        _ => Some(RejectReason::ProtocolError),
    }
}

/// Why a stream was reset that was not answered.
fn stream_error(code: u32) -> Option<RejectReason> {
    match code {
        // The gateway itself ends streams with these.
        NO_ERROR | INTERNAL_ERROR | CANCEL => None,
        REFUSED_STREAM => Some(RejectReason::TooManyStreams),
        ENHANCE_YOUR_CALM => Some(RejectReason::Flood),
        _ => Some(RejectReason::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u8 = 1;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("a short one");
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn reset(stream: u8, code: u32) -> Vec<u8> {
        frame(RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    fn rejected(sent: &[Vec<u8>]) -> Vec<RejectReason> {
        let (mut frames, mut reasons) = (Http2Frames::default(), Vec::new());
        frames.sent(&sent.concat(), |reason| reasons.push(reason));
        reasons
    }

    #[test]
    fn streams_that_the_implementation_refuses_are_rejected() {
        let goaway = |code: u8| frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, code]);
        let answer = |flags| frame(HEADERS, flags, 1, &[7; 40]);
        for (sent, expected) in [
            (vec![reset(1, 1)], vec![RejectReason::Malformed]),
            (
                vec![reset(1, REFUSED_STREAM)],
                vec![RejectReason::TooManyStreams],
            ),
            // The 431 that the implementation sends, with and without a reset.
            (
                vec![frame(HEADERS, END, 1, b"H\x03431")],
                vec![RejectReason::HeaderTooLarge],
            ),
            (
                vec![frame(HEADERS, END, 1, b"H\x03431"), reset(1, 1)],
                vec![RejectReason::HeaderTooLarge],
            ),
            (vec![goaway(1)], vec![RejectReason::ProtocolError]),
            (vec![goaway(11)], vec![RejectReason::Flood]),
            // An orderly end, an answer, an answer that ends with trailers, and one that the TTS
            // server broke off.
            (vec![goaway(0)], vec![]),
            (vec![answer(END), reset(1, 0)], vec![]),
            (vec![answer(0), frame(HEADERS, END, 1, b"\xbe")], vec![]),
            (vec![answer(0), reset(1, 1)], vec![]),
            (vec![reset(1, CANCEL)], vec![]),
        ] {
            assert_eq!(rejected(&sent), expected, "{sent:?}");
        }
    }

    #[test]
    fn streams_that_ended_are_forgotten() {
        let mut frames = Http2Frames::default();
        for stream in [1, 3, 5] {
            let answer = frame(HEADERS, 0, stream, &[7; 40]);
            frames.sent(&answer, |reason| panic!("{reason:?}"));
        }
        frames.sent(&frame(super::super::frames::DATA, END, 1, b""), |_| {});
        frames.sent(&reset(3, CANCEL), |_| {});
        frames.received(&reset(5, CANCEL));
        assert!(frames.answering.is_empty(), "{:?}", frames.answering);
    }
}
