//! WAV: RIFF chunks (Microsoft and IBM, *Multimedia Programming Interface and Data Specifications
//! 1.0*, 1991).

use std::time::Duration;

use super::ratio;
use super::scan::{Headers, Step};

/// A server that does not know the length writes the largest one.
const UNKNOWN_LENGTH: u32 = 0xffff_0000;

#[derive(Default)]
pub(super) struct Wav {
    is_open: bool,
    bytes_per_second: u64,
    in_data: bool,
    data: u64,
}

impl Wav {
    pub(super) fn duration(&self) -> Option<Duration> {
        (self.bytes_per_second > 0).then(|| ratio(self.data, self.bytes_per_second))
    }
}

impl Headers for Wav {
    fn header(&mut self, bytes: &[u8]) -> Step {
        self.in_data = false;
        if !self.is_open {
            if bytes.len() < 12 {
                return Step::Need(12);
            }
            self.is_open = &bytes[8..12] == b"WAVE";
            return match self.is_open {
                true => Step::Skip {
                    header: 12,
                    payload: 0,
                },
                false => Step::End,
            };
        }
        if bytes.len() < 8 {
            return Step::Need(8);
        }
        let size = number(&bytes[4..8]);
        let padded = u64::from(size) + u64::from(size % 2);
        match &bytes[..4] {
            b"fmt " if size < 16 => Step::End,
            b"fmt " if bytes.len() < 8 + 16 => Step::Need(8 + 16),
            b"fmt " => {
                self.bytes_per_second = number(&bytes[16..20]).into();
                Step::Skip {
                    header: 24,
                    payload: padded - 16,
                }
            }
            b"data" => {
                self.in_data = true;
                let payload = match size {
                    0 | UNKNOWN_LENGTH.. => u64::MAX,
                    // The padding is no audio, and nothing that matters follows.
                    size => size.into(),
                };
                Step::Skip { header: 8, payload }
            }
            _ => Step::Skip {
                header: 8,
                payload: padded,
            },
        }
    }

    fn payload(&mut self, bytes: u64) {
        if self.in_data {
            self.data = self.data.saturating_add(bytes);
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}
