//! MPEG audio frames (ISO/IEC 11172-3 §2.4.2.3 and 13818-3), such as MP3.

use std::time::Duration;

use super::ratio;
use super::scan::{Headers, Step};

/// What may be skipped before the next frame.
const MOST_JUNK: u32 = 64 * 1024;
/// A frame header, the side information, and the name of an information frame.
const FIRST_FRAME: usize = 40;

#[derive(Default)]
pub(super) struct Mpeg {
    frames: u64,
    /// Samples at `rate` since it last changed.
    samples: u64,
    rate: u64,
    before: Duration,
    junk: u32,
}

struct Frame {
    bytes: usize,
    samples: u64,
    rate: u64,
    /// Where an encoder puts its information (Xing, LAME) into the first frame.
    information: usize,
}

impl Mpeg {
    pub(super) fn duration(&self) -> Option<Duration> {
        (self.frames > 0).then(|| self.before.saturating_add(self.current()))
    }

    fn current(&self) -> Duration {
        ratio(self.samples, self.rate)
    }

    fn add(&mut self, frame: &Frame) {
        if self.rate != frame.rate {
            if self.rate > 0 {
                self.before = self.before.saturating_add(self.current());
            }
            (self.rate, self.samples) = (frame.rate, 0);
        }
        self.samples += frame.samples;
    }
}

impl Headers for Mpeg {
    fn header(&mut self, bytes: &[u8]) -> Step {
        if bytes.len() < 4 {
            return Step::Need(4);
        }
        if bytes.starts_with(b"ID3") {
            if bytes.len() < 10 {
                return Step::Need(10);
            }
            let size = bytes[6..10]
                .iter()
                .fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
            return Step::Skip {
                header: 10,
                payload: size,
            };
        }
        if bytes.starts_with(b"TAG") {
            return Step::Skip {
                header: 4,
                payload: 124,
            };
        }
        let Some(frame) = Frame::parse(bytes) else {
            self.junk += 1;
            return match self.junk > MOST_JUNK {
                true => Step::End,
                false => Step::Skip {
                    header: 1,
                    payload: 0,
                },
            };
        };
        if self.frames == 0 && frame.bytes >= FIRST_FRAME && bytes.len() < FIRST_FRAME {
            return Step::Need(FIRST_FRAME);
        }
        let name = bytes.get(frame.information..frame.information + 4);
        let is_information = self.frames == 0 && matches!(name, Some(b"Xing" | b"Info"));
        self.frames += 1;
        if !is_information {
            self.add(&frame);
        }
        Step::Skip {
            header: 4,
            payload: (frame.bytes - 4) as u64,
        }
    }
}

impl Frame {
    /// Reads the header of a frame. A header of the free format has no length.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let [first, second, third, fourth, ..] = *bytes else {
            return None;
        };
        if first != 0xff || second & 0xe0 != 0xe0 {
            return None;
        }
        let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
        let is_first_version = version == 3;
        let rate = *[44_100_u32, 48_000, 32_000].get(usize::from(third >> 2 & 3))?;
        let rate = match version {
            3 => rate,
            2 => rate / 2,
            0 => rate / 4,
            _ => return None,
        };
        const BITRATES: [[u32; 15]; 5] = [
            [
                0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448,
            ],
            [
                0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
            ],
            [
                0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
            ],
            [
                0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
            ],
            [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
        ];
        let (table, samples, unit) = match (layer, is_first_version) {
            (3, true) => (0, 384, 4),
            (2, true) => (1, 1152, 1),
            (1, true) => (2, 1152, 1),
            (3, false) => (3, 384, 4),
            (2, false) => (4, 1152, 1),
            (1, false) => (4, 576, 1),
            _ => return None,
        };
        let bitrate = *BITRATES[table].get(usize::from(third >> 4))?;
        let padding = u32::from(third >> 1 & 1);
        let bytes = (samples / 8 / unit * bitrate * 1000 / rate + padding) * unit;
        let is_mono = fourth >> 6 == 3;
        let information = 4 + match (is_first_version, is_mono) {
            (true, false) => 32,
            (true, true) | (false, false) => 17,
            (false, true) => 9,
        };
        let bytes = usize::try_from(bytes)
            .ok()
            .filter(|bytes| bitrate > 0 && *bytes > 4)?;
        Some(Self {
            bytes,
            samples: samples.into(),
            rate: rate.into(),
            information,
        })
    }
}
