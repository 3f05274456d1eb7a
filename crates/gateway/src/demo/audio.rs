//! Plain PCM helpers for the demo voice: WAV headers, resampling, bytes.
//!
//! Everything here works on mono signed 16-bit samples. Reading is tolerant
//! where real synthesisers are sloppy (a streaming writer cannot know the final
//! size and leaves a placeholder in the header) and strict everywhere else.

use std::fmt;

/// Length of the canonical RIFF/WAVE header written by [`wav_header`].
pub(super) const WAV_HEADER_LEN: usize = 44;

/// Samples decoded from a WAV file, mixed down to mono.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wav {
    /// Samples per second as stated by the header.
    pub(super) sample_rate: u32,
    /// Mono samples in playing order.
    pub(super) samples: Vec<i16>,
}

/// Why a byte string could not be read as WAV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WavError {
    /// The `RIFF`/`WAVE` magic is missing.
    NotRiff,
    /// No usable `fmt ` chunk comes before the samples.
    NoFormat,
    /// Not 16-bit integer PCM with one or two channels at a sane rate.
    Unsupported,
    /// There is no `data` chunk.
    NoData,
}

impl fmt::Display for WavError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRiff => "not a RIFF/WAVE file",
            Self::NoFormat => "no format chunk before the samples",
            Self::Unsupported => "not 16-bit PCM with one or two channels",
            Self::NoData => "no data chunk",
        })
    }
}

impl std::error::Error for WavError {}

/// Builds the header of a mono 16-bit WAV file holding `data_len` bytes of samples.
///
/// A length that does not fit the format's 32-bit fields saturates.
pub(super) fn wav_header(sample_rate: u32, data_len: usize) -> [u8; WAV_HEADER_LEN] {
    let data_len = u32::try_from(data_len).unwrap_or(u32::MAX);
    let fields: [&[u8]; 13] = [
        b"RIFF",
        &data_len.saturating_add(36).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16u32.to_le_bytes(),
        &1u16.to_le_bytes(),
        &1u16.to_le_bytes(),
        &sample_rate.to_le_bytes(),
        &sample_rate.saturating_mul(2).to_le_bytes(),
        &2u16.to_le_bytes(),
        &16u16.to_le_bytes(),
        b"data",
        &data_len.to_le_bytes(),
    ];
    let mut header = [0u8; WAV_HEADER_LEN];
    let bytes = fields.into_iter().flatten();
    for (slot, byte) in header.iter_mut().zip(bytes) {
        *slot = *byte;
    }
    header
}

/// Reads 16-bit PCM from a WAV file, mixing two channels down to one.
///
/// A `data` chunk that claims more than the file holds (as a streaming writer
/// leaves it) simply ends where the file ends.
///
/// # Errors
///
/// Returns the first reason for which the bytes are not such a file.
pub(super) fn read_wav(bytes: &[u8]) -> Result<Wav, WavError> {
    let rest = bytes.strip_prefix(b"RIFF").ok_or(WavError::NotRiff)?;
    let mut rest = match rest.get(4..8) {
        Some(b"WAVE") => rest.get(8..).unwrap_or_default(),
        _ => return Err(WavError::NotRiff),
    };
    let mut format = None;
    while let Some((head, body)) = rest.split_first_chunk::<8>() {
        let [i0, i1, i2, i3, s0, s1, s2, s3] = *head;
        let claimed = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
        let chunk = body.get(..claimed).unwrap_or(body);
        match &[i0, i1, i2, i3] {
            b"fmt " => format = Some(read_format(chunk)?),
            b"data" => {
                let (sample_rate, channels) = format.ok_or(WavError::NoFormat)?;
                let samples = mix_down(chunk, channels);
                return Ok(Wav {
                    sample_rate,
                    samples,
                });
            }
            _ => {}
        }
        // Chunks are padded to an even length.
        let next = claimed.saturating_add(claimed % 2);
        rest = body.get(next..).unwrap_or_default();
    }
    Err(WavError::NoData)
}

/// Reads the `fmt ` chunk into `(sample rate, channels)`.
fn read_format(chunk: &[u8]) -> Result<(u32, usize), WavError> {
    let Some((head, _)) = chunk.split_first_chunk::<16>() else {
        return Err(WavError::NoFormat);
    };
    let [t0, t1, c0, c1, r0, r1, r2, r3, _, _, _, _, _, _, b0, b1] = *head;
    let (tag, bits) = (u16::from_le_bytes([t0, t1]), u16::from_le_bytes([b0, b1]));
    let channels = u16::from_le_bytes([c0, c1]);
    let rate = u32::from_le_bytes([r0, r1, r2, r3]);
    let usable = tag == 1 && bits == 16 && (1..=2).contains(&channels);
    if usable && (4_000..=192_000).contains(&rate) {
        Ok((rate, usize::from(channels)))
    } else {
        Err(WavError::Unsupported)
    }
}

/// Decodes little-endian samples and averages `channels` neighbours into one.
fn mix_down(data: &[u8], channels: usize) -> Vec<i16> {
    let (pairs, _) = data.as_chunks::<2>();
    let decode = |pair: &[u8; 2]| i16::from_le_bytes(*pair);
    if channels == 2 {
        let frames = pairs.as_chunks::<2>().0.iter();
        return frames
            .map(|[left, right]| decode(left).midpoint(decode(right)))
            .collect();
    }
    pairs.iter().map(decode).collect()
}

/// Resamples by linear interpolation. A zero rate leaves the samples as they are.
pub(super) fn resample(samples: Vec<i16>, from: u32, to: u32) -> Vec<i16> {
    if from == to || from == 0 || to == 0 {
        return samples;
    }
    let wanted = samples.len() as u64 * u64::from(to) / u64::from(from);
    let at = |index: u64| {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let sample = samples.get(index).or(samples.last());
        f64::from(sample.copied().unwrap_or_default())
    };
    (0..wanted)
        .map(|position| {
            let scaled = position * u64::from(from);
            let (index, rest) = (scaled / u64::from(to), scaled % u64::from(to));
            let fraction = rest as f64 / f64::from(to);
            let (here, next) = (at(index), at(index + 1));
            // A float to integer cast saturates, so this cannot wrap.
            (next - here).mul_add(fraction, here).round() as i16
        })
        .collect()
}

/// Encodes samples as little-endian bytes, the payload of `audio/pcm`.
pub(super) fn pcm_bytes(samples: &[i16]) -> Vec<u8> {
    let encoded = samples.iter().flat_map(|sample| sample.to_le_bytes());
    let mut bytes = Vec::with_capacity(samples.len().saturating_mul(2));
    bytes.extend(encoded);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole file with the given samples.
    fn file(rate: u32, samples: &[i16]) -> Vec<u8> {
        let pcm = pcm_bytes(samples);
        let mut bytes = wav_header(rate, pcm.len()).to_vec();
        bytes.extend(pcm);
        bytes
    }

    #[test]
    fn written_files_read_back() -> Result<(), WavError> {
        let samples = vec![0, 1, -1, i16::MAX, i16::MIN];
        let bytes = file(24_000, &samples);
        assert_eq!(bytes.len(), WAV_HEADER_LEN + 10);
        let wav = read_wav(&bytes)?;
        assert_eq!((wav.sample_rate, wav.samples), (24_000, samples));
        Ok(())
    }

    #[test]
    fn streaming_sizes_extra_chunks_and_stereo_are_tolerated() -> Result<(), WavError> {
        let mut bytes = file(22_050, &[100, 300, -100, -300]);
        bytes[4..8].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
        bytes[40..44].copy_from_slice(&0x7fff_f000u32.to_le_bytes());
        assert_eq!(read_wav(&bytes)?.samples, [100, 300, -100, -300]);
        bytes.splice(36..36, *b"LIST\x03\0\0\0abc\0");
        assert_eq!(read_wav(&bytes)?.samples, [100, 300, -100, -300]);
        bytes[22] = 2;
        assert_eq!(read_wav(&bytes)?.samples, [200, -200]);
        Ok(())
    }

    #[test]
    fn broken_files_are_named_and_never_panic() {
        let good = file(22_050, &[1, 2, 3]);
        for cut in 0..WAV_HEADER_LEN {
            assert!(read_wav(&good[..cut]).is_err(), "cut at {cut}");
        }
        for (at, value, reason) in [
            (0, b'X', WavError::NotRiff),
            (12, b'X', WavError::NoFormat),
            (16, 4, WavError::NoFormat),
            (20, 3, WavError::Unsupported),
            (36, b'X', WavError::NoData),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(read_wav(&bad), Err(reason), "byte {at}");
            assert!(!reason.to_string().is_empty());
        }
    }

    #[test]
    fn resampling_keeps_duration_and_interpolates() {
        assert_eq!(resample(vec![0, 100], 8_000, 16_000), [0, 50, 100, 100]);
        assert_eq!(resample(vec![0; 22_050], 22_050, 48_000).len(), 48_000);
        assert_eq!(resample(vec![0; 22_050], 22_050, 8_000).len(), 8_000);
        assert_eq!(resample(vec![7, 8], 0, 8_000), [7, 8]);
        assert!(resample(Vec::new(), 8_000, 48_000).is_empty());
        let loud = resample(vec![i16::MIN, i16::MAX], 8_000, 48_000);
        assert_eq!((loud[0], loud.last()), (i16::MIN, Some(&i16::MAX)));
    }
}
