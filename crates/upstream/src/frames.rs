//! Reads what a server says about its HTTP/2 connection: `SETTINGS` and `GOAWAY` (RFC 9113 §6).
//!
//! hyper handles these frames and does not tell about them. The pool needs to know how many streams
//! the server allows before it counts on them, and when a connection takes no more.

const HEADER: usize = 9;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
/// One setting: an identifier of two bytes and a value of four (RFC 9113 §6.5.1).
const SETTING: usize = 6;
const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];

/// What a frame said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The server's `SETTINGS`, and the streams that they allow, if they say so.
    Settings(Option<u32>),
    /// The server takes no new streams.
    GoAway,
}

/// The length of a `GOAWAY` without debug data.
const GOAWAY_PAYLOAD: usize = 8;
/// The first `GOAWAY` of an orderly end: all streams so far are served (RFC 9113 §6.8).
const ORDERLY: [u8; GOAWAY_PAYLOAD] = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// A type of frames that has no meaning, and that an implementation must ignore (RFC 9113 §4.1).
const IGNORED: u8 = 0xfa;

/// Finds these frames in a stream of bytes that comes in parts.
#[derive(Default)]
pub(crate) struct NoticeReader {
    head: [u8; HEADER],
    filled: usize,
    /// How much of the payload is still to come.
    left: usize,
    settings: Option<SettingsReader>,
}

#[derive(Default)]
struct SettingsReader {
    setting: [u8; SETTING],
    filled: usize,
    streams: Option<u32>,
}

impl NoticeReader {
    /// Reads on. Calls `found` for each notice that is complete.
    ///
    /// It hides the first `GOAWAY` of an orderly end from hyper, which would break off requests that it
    /// is just about to send, though the server serves them. The pool sends no more on the connection,
    /// and the second `GOAWAY` is passed on.
    pub(crate) fn read(&mut self, bytes: &mut [u8], mut found: impl FnMut(Notice)) {
        let mut at = 0;
        while at < bytes.len() {
            if self.left > 0 {
                let part = self.left.min(bytes.len() - at);
                if let Some(settings) = &mut self.settings {
                    settings.read(&bytes[at..at + part]);
                }
                self.left -= part;
                at += part;
            } else {
                let part = (HEADER - self.filled).min(bytes.len() - at);
                self.head[self.filled..self.filled + part].copy_from_slice(&bytes[at..at + part]);
                self.filled += part;
                at += part;
                if self.filled < HEADER {
                    return;
                }
                self.filled = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                match kind {
                    SETTINGS if flags & ACK == 0 => self.settings = Some(SettingsReader::default()),
                    GOAWAY => {
                        // A frame that comes in two parts is left as it is.
                        let payload = bytes.get(at..at + GOAWAY_PAYLOAD);
                        if part == HEADER && payload.is_some_and(|payload| payload == ORDERLY) {
                            bytes[at - HEADER + 3] = IGNORED;
                        }
                        found(Notice::GoAway);
                    }
                    _ => {}
                }
            }
            if self.left == 0
                && let Some(settings) = self.settings.take()
            {
                found(Notice::Settings(settings.streams));
            }
        }
    }
}

impl SettingsReader {
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.setting[self.filled] = *byte;
            self.filled += 1;
            if self.filled == SETTING {
                self.filled = 0;
                let [id_high, id_low, value @ ..] = self.setting;
                if [id_high, id_low] == MAX_CONCURRENT_STREAMS {
                    self.streams = Some(u32::from_be_bytes(value));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn notices_are_found_however_the_bytes_are_cut() {
        let bytes = [
            frame(SETTINGS, 0, &[0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0, 7]),
            frame(0, 0, &[SETTINGS; 40]),
            frame(SETTINGS, 0, &[]),
            frame(SETTINGS, ACK, &[]),
            frame(GOAWAY, 0, &[0; 8]),
            frame(SETTINGS, 0, &[0, 3, 0, 0, 0, 0]),
        ]
        .concat();
        for cut in 1..=bytes.len() {
            let (mut reader, mut notices) = (NoticeReader::default(), Vec::new());
            for part in bytes.clone().chunks_mut(cut) {
                let before = part.to_vec();
                reader.read(part, |notice| notices.push(notice));
                assert_eq!(part, before);
            }
            let expected = [
                Notice::Settings(Some(7)),
                Notice::Settings(None),
                Notice::GoAway,
                Notice::Settings(Some(0)),
            ];
            assert_eq!(notices, expected, "parts of {cut} bytes");
        }
    }

    #[test]
    fn the_first_goaway_of_an_orderly_end_is_hidden() {
        let ping = frame(6, 0, &[7; 8]);
        let orderly = frame(GOAWAY, 0, &ORDERLY);
        let with_debug_data = frame(GOAWAY, 0, &[&ORDERLY[..], b"max_age"].concat());
        let last = frame(GOAWAY, 0, &[0, 0, 0, 9, 0, 0, 0, 0]);
        let failed = frame(GOAWAY, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1]);
        for (goaway, hidden) in [
            (&orderly, true),
            (&with_debug_data, true),
            (&last, false),
            (&failed, false),
        ] {
            let mut bytes = [&ping[..], goaway, &ping].concat();
            let mut notices = Vec::new();
            NoticeReader::default().read(&mut bytes, |notice| notices.push(notice));
            assert_eq!(notices, [Notice::GoAway]);
            let mut expected = goaway.clone();
            if hidden {
                expected[3] = IGNORED;
            }
            assert_eq!(bytes, [&ping[..], &expected, &ping].concat());
        }
    }
}
