//! The duration of audio, from the bytes of an answer as they pass.
//!
//! WAV, raw PCM, μ-law and A-law are measured by their size and rate, Ogg by its granule positions
//! and MPEG audio by its frames. A parser keeps a few hundred bytes at most. Other formats have no
//! duration here.

mod mpeg;
mod ogg;
mod scan;
mod wav;

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use self::mpeg::Mpeg;
use self::ogg::Ogg;
use self::scan::Scanner;
use self::wav::Wav;

/// What is known of an answer's audio besides its header.
#[derive(Clone, Copy, Debug, Default)]
pub struct AudioHints<'a> {
    /// The format that the request asked for, in the vendor's word, such as `pcm_16000`.
    pub format: Option<&'a str>,
    /// The sample rate that the request asked for, in hertz.
    pub sample_rate: Option<u32>,
}

/// Measures the audio of one answer.
pub struct AudioMeter(Format);

enum Format {
    /// Samples without a header.
    Raw {
        bytes: u64,
        bytes_per_second: u64,
    },
    Wav(Scanner<Wav>),
    Ogg(Scanner<Ogg>),
    Mpeg(Scanner<Mpeg>),
    /// Told by its first bytes.
    Unknown(Vec<u8>),
    None,
}

/// Bytes that tell a format.
pub(crate) const MAGIC: usize = 4;
const DEFAULT_RATE: u32 = 8_000;

impl AudioMeter {
    /// A meter for an answer with these header fields. `None` if they say that it is not audio, or
    /// that it is compressed.
    #[must_use]
    pub fn new(headers: &HeaderMap, hints: AudioHints<'_>) -> Option<Self> {
        let encoding = headers.get(CONTENT_ENCODING).map(|it| it.as_bytes());
        if encoding.is_some_and(|it| !it.eq_ignore_ascii_case(b"identity")) {
            return None;
        }
        let media_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok())?;
        Self::of_type(media_type, hints).map(Self)
    }

    /// A meter for audio in messages, which have no media type. `default_rate` is the sample rate in
    /// hertz of a request that names none.
    pub(crate) fn of_messages(hints: AudioHints<'_>, default_rate: Option<u32>) -> Self {
        let Some(format) = hints.format.map(str::to_ascii_lowercase) else {
            return Self(Format::Unknown(Vec::new()));
        };
        let raw = |bytes_per_second| Format::Raw {
            bytes: 0,
            bytes_per_second,
        };
        let named = rate_in_name(&format).or(hints.sample_rate);
        let named = named.filter(|rate| *rate > 0);
        let format = if let Some(kilobits) = mp3_kilobits(&format) {
            // Parts of several contexts can be mixed, so frames may not follow each other.
            Some(raw(kilobits * 1_000 / 8))
        } else if is_law(&format) || RIVA_LAWS.contains(&&*format) {
            Some(raw(named.unwrap_or(DEFAULT_RATE).into()))
        } else {
            sample_width(&format).map(|width| match named.or(default_rate) {
                Some(rate) => raw(u64::from(rate) * width),
                None => Format::None,
            })
        };
        Self(format.unwrap_or_else(|| Format::Unknown(Vec::new())))
    }

    /// A meter for a WAV file.
    pub(crate) fn wav() -> Self {
        Self(Format::Wav(Scanner::default()))
    }

    /// Measures the next bytes.
    pub fn read(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Format::Raw { bytes: sum, .. } => *sum = sum.saturating_add(bytes.len() as u64),
            Format::Wav(wav) => wav.read(bytes),
            Format::Ogg(ogg) => ogg.read(bytes),
            Format::Mpeg(mpeg) => mpeg.read(bytes),
            Format::Unknown(first) => {
                let missing = (MAGIC - first.len()).min(bytes.len());
                first.extend_from_slice(&bytes[..missing]);
                if first.len() == MAGIC {
                    let first = std::mem::take(first);
                    self.0 = Format::told_by(&first);
                    self.read(&first);
                    self.read(&bytes[missing..]);
                }
            }
            Format::None => {}
        }
    }

    /// The duration so far. `None` if the bytes are not in a known format.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        match &self.0 {
            Format::Raw {
                bytes,
                bytes_per_second,
            } => Some(ratio(*bytes, *bytes_per_second)),
            Format::Wav(wav) => wav.format().duration(),
            Format::Ogg(ogg) => ogg.format().duration(),
            Format::Mpeg(mpeg) => mpeg.format().duration(),
            Format::Unknown(_) | Format::None => None,
        }
    }

    fn of_type(media_type: &str, hints: AudioHints<'_>) -> Option<Format> {
        let mut parts = media_type.split(';');
        let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let parameter = |wanted: &str| {
            let mut parameters = media_type.split(';').skip(1);
            parameters.find_map(|parameter| {
                let (name, value) = parameter.split_once('=')?;
                let value = value.trim().trim_matches('"');
                (name.trim().eq_ignore_ascii_case(wanted)).then(|| value.parse::<u32>().ok())?
            })
        };
        let subtype = name.strip_prefix("audio/");
        let by_name = hints.format.and_then(rate_in_name);
        let rate = parameter("rate")
            .or(parameter("sample_rate"))
            .or(parameter("sample-rate"));
        let rate = rate.or(hints.sample_rate).or(by_name);
        let channels = u64::from(parameter("channels").unwrap_or(1).max(1));
        let raw = |width: u64, default: Option<u32>| {
            let rate = rate.or(default).filter(|rate| *rate > 0)?;
            Some(Format::Raw {
                bytes: 0,
                bytes_per_second: u64::from(rate) * channels * width,
            })
        };
        match subtype {
            Some("wav" | "x-wav" | "wave" | "vnd.wave") => {
                // Some servers name raw samples so: the first bytes decide.
                Some(Format::Unknown(Vec::new()))
            }
            Some("ogg" | "opus" | "x-opus+ogg") => Some(Format::Ogg(Scanner::default())),
            Some("mpeg" | "mp3" | "mpeg3" | "x-mp3") => Some(Format::Mpeg(Scanner::default())),
            // RFC 3551 §4.5.14, RFC 2046 §4.3.
            Some("basic") => raw(1, Some(DEFAULT_RATE)),
            Some("pcmu" | "pcma" | "mulaw" | "x-mulaw" | "ulaw" | "x-alaw" | "alaw") => {
                raw(1, Some(DEFAULT_RATE))
            }
            // RFC 2586 requires the rate; other servers have it in the request only.
            Some("l16" | "pcm" | "x-pcm" | "raw" | "x-raw") => match hints.format {
                Some(format) if is_law(format) => raw(1, Some(DEFAULT_RATE)),
                Some(format) if format.to_ascii_lowercase().contains("f32") => raw(4, None),
                _ => raw(2, None),
            },
            Some(_) => Some(Format::Unknown(Vec::new())),
            None if name == "application/ogg" => Some(Format::Ogg(Scanner::default())),
            None if name == "application/octet-stream" => match hints.format {
                Some(format) if is_law(format) => raw(1, Some(DEFAULT_RATE)),
                Some(format) if format.to_ascii_lowercase().starts_with("pcm") => raw(2, None),
                _ => Some(Format::Unknown(Vec::new())),
            },
            None => None,
        }
    }
}

impl Format {
    fn told_by(first: &[u8]) -> Self {
        match first {
            b"RIFF" | b"RF64" => Self::Wav(Scanner::default()),
            b"OggS" => Self::Ogg(Scanner::default()),
            [b'I', b'D', b'3', _] => Self::Mpeg(Scanner::default()),
            [0xff, second, ..] if second & 0xe0 == 0xe0 => Self::Mpeg(Scanner::default()),
            _ => Self::None,
        }
    }
}

impl fmt::Debug for AudioMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AudioMeter")
            .field("duration", &self.duration())
            .finish()
    }
}

/// Whether a vendor's word means μ-law or A-law.
fn is_law(format: &str) -> bool {
    let format = format.to_ascii_lowercase();
    ["ulaw", "mulaw", "alaw", "mu-law", "a-law"]
        .iter()
        .any(|law| format.contains(law))
}

/// μ-law and A-law, as numbers of `nvidia.riva.AudioEncoding`. No other vendor has numbers.
const RIVA_LAWS: [&str; 2] = ["3", "20"];
/// `LINEAR_PCM`.
const RIVA_PCM: &str = "1";

/// The bytes of a sample, if a vendor's word in lower case means samples of a fixed size.
fn sample_width(format: &str) -> Option<u64> {
    let is_raw = ["pcm", "linear", "l16"]
        .iter()
        .any(|raw| format.contains(raw));
    if !(is_raw || format == "raw" || format == RIVA_PCM) {
        return None;
    }
    let widths = [("f32", 4), ("s32", 4), ("s24", 3), ("24le", 3), ("u8", 1)];
    let width = widths.iter().find(|(word, _)| format.contains(word));
    Some(width.map_or(2, |(_, width)| *width))
}

/// The bit rate in ElevenLabs' words, such as `mp3_44100_128`.
fn mp3_kilobits(format: &str) -> Option<u64> {
    let (_, kilobits) = format.strip_prefix("mp3_")?.split_once('_')?;
    kilobits
        .parse()
        .ok()
        .filter(|kilobits| (8..=320).contains(kilobits))
}

/// The sample rate in a vendor's word: `pcm_16000`, `ulaw_8000`, `raw-16khz-16bit-mono-pcm`.
fn rate_in_name(format: &str) -> Option<u32> {
    let mut words = format.split(['_', '-']);
    words.find_map(|word| {
        if let Some(kilohertz) = word.strip_suffix("khz") {
            return kilohertz.parse::<u32>().ok()?.checked_mul(1000);
        }
        let rate = word.parse::<u32>().ok();
        rate.filter(|rate| (4_000..=192_000).contains(rate))
    })
}

/// The time that `units` take at so many a second.
fn ratio(units: u64, per_second: u64) -> Duration {
    let nanos = u128::from(units) * 1_000_000_000 / u128::from(per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
