//! Ogg pages (RFC 3533 §6) with Opus (RFC 7845 §4, §5.1) or Vorbis.

use std::time::Duration;

use super::ratio;
use super::scan::{Headers, Step};

const PAGE: usize = 27;
/// The start of the first packet, which names the codec and its rate.
const FIRST_PACKET: usize = 19;
/// The granule positions of Opus count at this rate, whatever the rate of its input (RFC 7845 §4).
const OPUS_RATE: u64 = 48_000;

#[derive(Default)]
pub(super) struct Ogg {
    /// The streams before the current one, which follow each other (RFC 3533 §4).
    before: Duration,
    rate: u64,
    pre_skip: u64,
    granule: u64,
}

impl Ogg {
    pub(super) fn duration(&self) -> Option<Duration> {
        let known = self.rate > 0 || !self.before.is_zero();
        known.then(|| self.before.saturating_add(self.current()))
    }

    fn current(&self) -> Duration {
        match self.rate {
            0 => Duration::ZERO,
            rate => ratio(self.granule.saturating_sub(self.pre_skip), rate),
        }
    }

    fn begin(&mut self, packet: &[u8]) {
        self.before = self.before.saturating_add(self.current());
        (self.rate, self.pre_skip, self.granule) = (0, 0, 0);
        if packet.starts_with(b"OpusHead") {
            self.rate = OPUS_RATE;
            self.pre_skip = number(&packet[10..12]);
        } else if packet.starts_with(b"\x01vorbis") {
            self.rate = number(&packet[12..16]);
        }
    }
}

impl Headers for Ogg {
    fn header(&mut self, bytes: &[u8]) -> Step {
        if bytes.len() < PAGE {
            return Step::Need(PAGE);
        }
        if &bytes[..4] != b"OggS" {
            return Step::End;
        }
        let header = PAGE + usize::from(bytes[26]);
        if bytes.len() < header {
            return Step::Need(header);
        }
        let payload: u64 = bytes[PAGE..header]
            .iter()
            .map(|size| u64::from(*size))
            .sum();
        let begins = bytes[5] & 2 != 0;
        if begins && payload >= FIRST_PACKET as u64 {
            if bytes.len() < header + FIRST_PACKET {
                return Step::Need(header + FIRST_PACKET);
            }
            self.begin(&bytes[header..header + FIRST_PACKET]);
        }
        let granule = number(&bytes[6..14]);
        // A page on which no packet ends has -1.
        if granule != u64::MAX && granule > self.granule {
            self.granule = granule;
        }
        Step::Skip { header, payload }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
