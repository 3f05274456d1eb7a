//! Audio that comes in parts, one in each message.

use std::sync::Arc;
use std::time::Duration;

use crate::audio::{AudioHints, AudioMeter, MAGIC};

/// Measures the parts. Servers send one stream of samples in parts, or a file in each part.
#[derive(Default)]
pub(super) struct AudioParts {
    current: Option<AudioMeter>,
    /// What the request named when the current stream began.
    named: Option<(Option<Arc<str>>, Option<u32>)>,
    /// Of streams that have ended.
    before: Duration,
    /// The first bytes of a part, until they are complete.
    first: Vec<u8>,
    in_first: bool,
}

impl AudioParts {
    /// A part begins, of the format and rate that the request has named by now.
    pub(super) fn begin(
        &mut self,
        format: Option<Arc<str>>,
        sample_rate: Option<u32>,
        default: Option<(&str, u32)>,
    ) {
        self.first.clear();
        self.in_first = true;
        let named = (format, sample_rate);
        if self.named.as_ref() != Some(&named) {
            let hints = AudioHints {
                format: named.0.as_deref().or(default.map(|(format, _)| format)),
                sample_rate: named.1,
            };
            let meter = AudioMeter::of_messages(hints, default.map(|(_, hertz)| hertz));
            self.change(meter);
            self.named = Some(named);
        }
    }

    /// The next bytes of a part.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        if self.in_first {
            let now = (MAGIC - self.first.len()).min(bytes.len());
            self.first.extend_from_slice(&bytes[..now]);
            bytes = &bytes[now..];
            if self.first.len() < MAGIC {
                return;
            }
            // A file of its own, whatever the others are.
            if self.first == *b"RIFF" {
                self.change(AudioMeter::wav());
            }
            self.read_first();
        }
        if let Some(current) = &mut self.current {
            current.read(bytes);
        }
    }

    pub(super) fn end(&mut self) {
        if self.in_first {
            self.read_first();
        }
    }

    /// The duration of all parts. `None` if none is in a known format.
    pub(super) fn duration(&self) -> Option<Duration> {
        let current = self.current.as_ref().and_then(AudioMeter::duration);
        match current {
            Some(current) => Some(self.before.saturating_add(current)),
            None => Some(self.before).filter(|before| !before.is_zero()),
        }
    }

    fn read_first(&mut self) {
        self.in_first = false;
        if let Some(current) = &mut self.current {
            current.read(&self.first);
        }
    }

    fn change(&mut self, meter: AudioMeter) {
        let ended = self.current.replace(meter);
        let ended = ended.and_then(|ended| ended.duration());
        self.before = self.before.saturating_add(ended.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(samples: usize) -> Vec<u8> {
        let mut file = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file.extend(8_000_u32.to_le_bytes());
        file.extend(16_000_u32.to_le_bytes());
        file.extend([2, 0, 16, 0]);
        file.extend(b"data");
        file.extend(u32::try_from(2 * samples).expect("short").to_le_bytes());
        file.extend(vec![0; 2 * samples]);
        file
    }

    fn seconds(
        format: Option<&str>,
        rate: Option<u32>,
        default: Option<(&str, u32)>,
        parts: &[&[u8]],
    ) -> Option<f64> {
        let mut audio = AudioParts::default();
        for part in parts {
            audio.begin(format.map(Into::into), rate, default);
            for byte in *part {
                audio.read(&[*byte]);
            }
            audio.end();
        }
        audio.duration().map(|duration| duration.as_secs_f64())
    }

    #[test]
    fn parts_are_measured_by_the_named_format_or_by_that_of_the_vendor() {
        let second = vec![0; 16_000];
        let default = Some(("linear16", 24_000));
        for (format, rate, default, expected) in [
            (Some("pcm_s16le"), Some(8_000), None, Some(2.0)),
            (Some("pcm_16000"), None, None, Some(1.0)),
            (Some("pcm_f32le"), Some(8_000), None, Some(1.0)),
            (Some("ulaw_8000"), None, default, Some(4.0)),
            (Some("mulaw"), Some(16_000), default, Some(2.0)),
            // A law has 8 kHz unless the request names another rate.
            (Some("alaw"), None, default, Some(4.0)),
            (None, Some(16_000), default, Some(1.0)),
            (None, None, Some(("pcm", 8_000)), Some(2.0)),
            // NVIDIA Riva's numbers.
            (Some("1"), Some(8_000), None, Some(2.0)),
            (Some("3"), Some(8_000), None, Some(4.0)),
            (Some("mp3_44100_128"), None, None, Some(2.0)),
            (Some("pcm"), None, None, None),
            (Some("unknown"), None, default, None),
            (None, None, None, None),
        ] {
            let found = seconds(format, rate, default, &[&second, &second]);
            assert_eq!(found, expected, "{format:?} {rate:?} {default:?}");
        }
    }

    #[test]
    fn each_part_may_be_a_file() {
        let (one, other) = (wav(8_000), wav(4_000));
        for format in [Some("LINEAR16"), Some("wav"), None] {
            let found = seconds(format, Some(8_000), None, &[&one, &other, b""]);
            assert_eq!(found, Some(1.5), "{format:?}");
        }
        // A file in two parts.
        assert_eq!(
            seconds(None, None, None, &[&one[..99], &one[99..]]),
            Some(1.0)
        );
    }

    #[test]
    fn a_format_that_changes_counts_from_then_on() {
        let mut audio = AudioParts::default();
        for (format, rate) in [("pcm", 8_000), ("mulaw", 8_000), ("mulaw", 8_000)] {
            audio.begin(Some(format.into()), Some(rate), None);
            audio.read(&[0; 8_000]);
            audio.end();
        }
        assert_eq!(audio.duration(), Some(Duration::from_millis(2_500)));
    }
}
