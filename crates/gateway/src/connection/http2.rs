//! Watches the frames of an HTTP/2 connection.
//!
//! The HTTP implementation refuses streams and ends connections by itself, and does not tell; the frames
//! that it sends show it. It accepts any number of frames that bring nothing forward; those that are
//! received are counted here.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::frames::{DATA, Frame, FrameReader, GOAWAY, HEADERS, RST_STREAM};
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

/// More streams than may be open at a time.
const ANSWERING: usize = 1_024;
/// How many frames without progress a connection may receive at once, and how many more each second.
const BURST: u32 = 1_000;
const PER_SECOND: u32 = 20;
/// How many more it may receive for each part of an answer that is sent: a client may open windows,
/// measure its connection and cancel requests.
const FOR_PROGRESS: u32 = 10;
/// The most that it may save up in this way.
const SAVED: u32 = 10_000;
/// A client that opens windows of a few bytes makes no progress.
const TINY: usize = 8;

/// Too many frames without progress.
#[derive(Debug)]
pub(super) struct Flood;

/// How many frames without progress a connection may still receive.
struct FrameBudget {
    left: u32,
    refilled: Instant,
}

impl FrameBudget {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            refilled: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.duration_since(self.refilled).as_secs();
        if seconds > 0 {
            self.refilled = now;
            let more = u32::try_from(seconds).unwrap_or(u32::MAX);
            let refilled = self.left.saturating_add(more.saturating_mul(PER_SECOND));
            self.left = self.left.max(refilled.min(BURST));
        }
    }

    /// Only the parts of a request's body, and its end, are progress in themselves.
    fn received(&mut self, frame: &Frame) -> Result<(), Flood> {
        let is_progress = frame.kind == DATA && (frame.length > 0 || frame.ends_stream());
        if !is_progress {
            self.left = self.left.checked_sub(1).ok_or(Flood)?;
        }
        Ok(())
    }

    fn sent(&mut self, frame: &Frame) {
        let is_progress = match frame.kind {
            DATA => frame.length >= TINY || frame.ends_stream(),
            kind => kind == HEADERS,
        };
        if is_progress {
            self.left = self.left.saturating_add(FOR_PROGRESS).min(SAVED);
        }
    }
}

/// The frames of one connection.
pub(super) struct Http2Frames {
    received: FrameReader,
    sent: FrameReader,
    budget: FrameBudget,
    /// The last streams whose answer has begun and not ended, at most `ANSWERING`.
    answering: BTreeSet<u32>,
    /// The last stream whose header was too large. It may be reset after that.
    too_large: u32,
}

impl Http2Frames {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            received: FrameReader::default(),
            sent: FrameReader::default(),
            budget: FrameBudget::new(now),
            answering: BTreeSet::new(),
            too_large: 0,
        }
    }

    /// Takes bytes that were received.
    ///
    /// # Errors
    ///
    /// When there are too many frames without progress.
    pub(super) fn received(&mut self, bytes: &[u8], now: Instant) -> Result<(), Flood> {
        let Self {
            received,
            budget,
            answering,
            ..
        } = self;
        budget.refill(now);
        let mut within = Ok(());
        received.read(bytes, |frame| {
            if frame.kind == RST_STREAM {
                answering.remove(&frame.stream);
            }
            if within.is_ok() {
                within = budget.received(&frame);
            }
        });
        within
    }

    /// Takes bytes that were sent. Calls `rejected` when they say that something was.
    pub(super) fn sent(&mut self, bytes: &[u8], mut rejected: impl FnMut(RejectReason)) {
        let Self {
            sent,
            budget,
            answering,
            too_large,
            ..
        } = self;
        sent.read(bytes, |frame| {
            budget.sent(&frame);
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
                // A stream that its client reset while its answer was being sent is not removed.
                if answering.len() > ANSWERING {
                    answering.pop_first();
                }
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
        let (mut frames, mut reasons) = (Http2Frames::new(Instant::now()), Vec::new());
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
        let mut frames = Http2Frames::new(Instant::now());
        for stream in [1, 3, 5] {
            let answer = frame(HEADERS, 0, stream, &[7; 40]);
            frames.sent(&answer, |reason| panic!("{reason:?}"));
        }
        frames.sent(&frame(DATA, END, 1, b""), |_| {});
        frames.sent(&reset(3, CANCEL), |_| {});
        let received = frames.received(&reset(5, CANCEL), Instant::now());
        received.expect("one frame");
        assert!(frames.answering.is_empty(), "{:?}", frames.answering);
    }

    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn all_received(frames: &mut Http2Frames, bytes: &[u8], times: u32, now: Instant) -> bool {
        (0..times).all(|_| frames.received(bytes, now).is_ok())
    }

    #[test]
    fn few_streams_are_remembered() {
        let mut frames = Http2Frames::new(Instant::now());
        for stream in 0..10_000_u32 {
            let mut answer = frame(HEADERS, 0, 0, &[7; 40]);
            answer[5..9].copy_from_slice(&stream.to_be_bytes());
            frames.sent(&answer, |reason| panic!("{reason:?}"));
        }
        assert_eq!(frames.answering.len(), ANSWERING);
        assert_eq!(frames.answering.last(), Some(&9_999));
    }

    #[test]
    fn frames_without_progress_are_a_flood() {
        let kinds = [
            frame(2, 0, 1, &[0; 5]),
            frame(4, 0, 0, b""),
            frame(PING, 0, 0, &[0; 8]),
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
            frame(HEADERS, 5, 1, b"x"),
            frame(9, 0, 1, b""),
            frame(DATA, 0, 1, b""),
            frame(99, 0, 0, b"what is this"),
            reset(1, CANCEL),
        ];
        for kind in kinds {
            let now = Instant::now();
            let mut frames = Http2Frames::new(now);
            assert!(all_received(&mut frames, &kind, BURST, now), "{kind:?}");
            assert!(frames.received(&kind, now).is_err(), "{kind:?}");
            // Some more are welcome after a second, and no more than a burst after a day.
            let later = now + std::time::Duration::from_secs(1);
            assert!(all_received(&mut frames, &kind, PER_SECOND, later));
            assert!(frames.received(&kind, later).is_err(), "{kind:?}");
            let much_later = now + std::time::Duration::from_secs(86_400);
            assert!(all_received(&mut frames, &kind, BURST, much_later));
            assert!(frames.received(&kind, much_later).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn a_client_that_reads_or_sends_is_no_flood() {
        let now = Instant::now();
        let mut frames = Http2Frames::new(now);
        let upload = frame(DATA, 0, 1, b"text to be spoken");
        assert!(all_received(&mut frames, &upload, 100_000, now));
        let window = frame(WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0]);
        for _ in 0..100_000 {
            frames.sent(&frame(DATA, 0, 1, &[7; 100]), |reason| panic!("{reason:?}"));
            assert!(all_received(&mut frames, &window, 2, now));
        }
        // Answers byte by byte are no progress.
        let mut frames = Http2Frames::new(now);
        let dribbles = (0..=BURST).all(|_| {
            frames.sent(&frame(DATA, 0, 1, b"a"), |reason| panic!("{reason:?}"));
            frames.received(&window, now).is_ok()
        });
        assert!(!dribbles);
    }
}
