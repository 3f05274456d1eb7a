//! The duration of audio in each format, whatever parts its bytes arrive in.

use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use voxgate_usage::audio::{AudioHints, AudioMeter};

fn measure(media_type: &str, hints: AudioHints<'_>, bytes: &[u8], part: usize) -> Option<u64> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, media_type.parse().expect("a value"));
    let mut meter = AudioMeter::new(&headers, hints)?;
    for part in bytes.chunks(part.max(1)) {
        meter.read(part);
    }
    meter
        .duration()
        .map(|it| u64::try_from(it.as_millis()).expect("short"))
}

/// The same for parts of several sizes.
fn duration(media_type: &str, bytes: &[u8]) -> Option<u64> {
    let sizes = [1, 3, 7, 64, 1000, bytes.len()];
    let found = sizes.map(|part| measure(media_type, AudioHints::default(), bytes, part));
    assert!(found.iter().all(|it| *it == found[0]), "{found:?}");
    found[0]
}

fn wav(rate: u32, channels: u16, bits: u16, data: usize, length: u32, extra: bool) -> Vec<u8> {
    let width = u32::from(channels) * u32::from(bits) / 8;
    let mut wav = b"RIFF\xff\xff\xff\xffWAVE".to_vec();
    if extra {
        wav.extend(b"LIST\x05\0\0\0INFOx\0");
    }
    let format: u32 = if extra { 18 } else { 16 };
    wav.extend(b"fmt ");
    wav.extend(format.to_le_bytes());
    wav.extend(1_u16.to_le_bytes());
    wav.extend(channels.to_le_bytes());
    wav.extend(rate.to_le_bytes());
    wav.extend((rate * width).to_le_bytes());
    wav.extend(u16::try_from(width).expect("small").to_le_bytes());
    wav.extend(bits.to_le_bytes());
    if extra {
        wav.extend([0, 0]);
    }
    wav.extend(b"data");
    wav.extend(length.to_le_bytes());
    wav.extend(std::iter::repeat_n(0x55, data));
    wav
}

#[test]
fn wav_is_measured_by_its_data() {
    let second = 24_000 * 2;
    let plain = wav(24_000, 1, 16, second, 48_000, false);
    assert_eq!(duration("audio/wav", &plain), Some(1_000));
    let mut trailing = wav(24_000, 1, 16, second, 48_000, true);
    trailing.extend(b"LIST\x04\0\0\0xxxx");
    assert_eq!(duration("audio/x-wav", &trailing), Some(1_000));
    // Servers that stream do not know the length.
    for length in [0, u32::MAX, 0xffff_ff00] {
        let streamed = wav(8_000, 2, 8, 8_000, length, false);
        assert_eq!(duration("audio/wav; codec=pcm", &streamed), Some(500));
    }
    // An answer that is broken off counts as far as it came.
    assert_eq!(duration("audio/wav", &plain[..44 + second / 2]), Some(500));
    assert_eq!(duration("audio/wav", b"RIFF\0\0\0\0AVI LIST\0\0\0\0"), None);
    assert_eq!(duration("audio/wav", b""), None);
}

#[test]
fn raw_samples_are_measured_by_their_rate() {
    let second = vec![0; 48_000];
    assert_eq!(duration("audio/L16; rate=24000", &second), Some(1_000));
    assert_eq!(
        duration("audio/L16;rate=24000;channels=2", &second),
        Some(500)
    );
    assert_eq!(duration("audio/pcm;rate=\"16000\"", &second), Some(1_500));
    assert_eq!(duration("audio/basic", &second[..8_000]), Some(1_000));
    assert_eq!(duration("audio/PCMU", &second[..4_000]), Some(500));
    assert_eq!(duration("audio/pcm", &second), None, "no rate is known");
    assert_eq!(duration("audio/pcm;rate=0", &second), None);
    let with = |format, sample_rate| AudioHints {
        format,
        sample_rate,
    };
    for (media_type, hints, expected) in [
        ("audio/pcm", with(None, Some(24_000)), Some(1_000)),
        ("audio/pcm", with(Some("pcm_16000"), None), Some(1_500)),
        ("audio/pcm", with(Some("ulaw_8000"), None), Some(6_000)),
        (
            "application/octet-stream",
            with(Some("pcm_24000"), None),
            Some(1_000),
        ),
        (
            "audio/raw",
            with(Some("raw-16khz-16bit-mono-pcm"), None),
            Some(1_500),
        ),
        (
            "audio/pcm",
            with(Some("pcm_f32le"), Some(24_000)),
            Some(500),
        ),
        ("application/json", with(Some("pcm_24000"), None), None),
    ] {
        assert_eq!(
            measure(media_type, hints, &second, 999),
            expected,
            "{hints:?}"
        );
    }
}

fn page(flags: u8, granule: u64, packet: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend(granule.to_le_bytes());
    page.extend([0; 12]);
    let mut sizes = vec![255; packet.len() / 255];
    sizes.push(u8::try_from(packet.len() % 255).expect("small"));
    page.push(u8::try_from(sizes.len()).expect("one page"));
    page.extend(sizes);
    page.extend(packet);
    page
}

fn opus(pre_skip: u16, granules: &[u64]) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x01".to_vec();
    head.extend(pre_skip.to_le_bytes());
    head.extend(24_000_u32.to_le_bytes());
    head.extend([0; 3]);
    let mut stream = page(2, 0, &head);
    stream.extend(page(0, 0, b"OpusTags\0\0\0\0\0\0\0\0"));
    for granule in granules {
        stream.extend(page(0, *granule, &[7; 700]));
    }
    stream
}

#[test]
fn ogg_is_measured_by_its_granules() {
    let stream = opus(312, &[24_000, u64::MAX, 48_312]);
    assert_eq!(duration("audio/ogg", &stream), Some(1_000));
    assert_eq!(duration("audio/opus", &stream), Some(1_000));
    // Streams that follow each other add up (RFC 3533 §4).
    let chained = [stream, opus(0, &[24_000])].concat();
    assert_eq!(duration("audio/ogg", &chained), Some(1_500));
    let mut head = b"\x01vorbis\0\0\0\0\x01".to_vec();
    head.extend(44_100_u32.to_le_bytes());
    head.extend([0; 14]);
    let vorbis = [page(2, 0, &head), page(4, 22_050, &[1; 9])].concat();
    assert_eq!(duration("application/ogg", &vorbis), Some(500));
    assert_eq!(duration("audio/ogg", b"OggSOggS"), None);
}

fn frames(header: [u8; 4], size: usize, count: usize) -> Vec<u8> {
    let mut frame = header.to_vec();
    frame.resize(size, 0x11);
    frame.repeat(count)
}

#[test]
fn mpeg_audio_is_measured_by_its_frames() {
    // MPEG-1 layer III, 128 kbit/s, 44.1 kHz: 417 bytes, 1152 samples.
    let frame = [0xff, 0xfb, 0x90, 0x00];
    let plain = frames(frame, 417, 100);
    assert_eq!(duration("audio/mpeg", &plain), Some(2_612));
    let mut tagged = b"ID3\x04\0\0\0\0\x01\x05".to_vec();
    tagged.extend([0xff; 133]);
    tagged.extend(&plain);
    tagged.extend(b"TAG");
    tagged.extend([0x20; 125]);
    assert_eq!(duration("audio/mp3", &tagged), Some(2_612));
    // The frame with the encoder's information is not audio.
    let mut information = frames(frame, 417, 1);
    information[36..40].copy_from_slice(b"Info");
    information.extend(&plain);
    assert_eq!(duration("audio/mpeg", &information), Some(2_612));
    // MPEG-2 layer III, 64 kbit/s, 24 kHz, mono: 192 bytes, 576 samples.
    let low = frames([0xff, 0xf3, 0x84, 0xc0], 192, 125);
    assert_eq!(duration("audio/mpeg", &low), Some(3_000));
    assert_eq!(duration("audio/mpeg", &[0; 5_000]), None);
    assert_eq!(duration("audio/mpeg", &[0xff; 200_000]), None);
}

#[test]
fn the_first_bytes_tell_what_the_type_does_not() {
    let wav = wav(8_000, 1, 8, 8_000, 8_000, false);
    for media_type in ["audio/unknown", "application/octet-stream", "audio/wav"] {
        assert_eq!(duration(media_type, &wav), Some(1_000));
        assert_eq!(duration(media_type, &opus(0, &[48_000])), Some(1_000));
        assert_eq!(duration(media_type, b"fLaC and more"), None);
        assert_eq!(duration(media_type, b"RI"), None);
    }
    assert_eq!(duration("text/event-stream", &wav), None);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("audio/wav"));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert!(AudioMeter::new(&headers, AudioHints::default()).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any bytes, in any parts, are read without a panic, and the parts make no difference.
    #[test]
    fn any_bytes_are_read(
        kind in 0..5_usize,
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        part in 1..50_usize,
    ) {
        let starts: [&[u8]; 5] =
            [b"RIFF\0\0\0\0WAVEfmt ", b"OggS\0\x02", b"ID3", b"\xff\xfb\x90\0", b""];
        let types = ["audio/wav", "audio/ogg", "audio/mpeg", "audio/mpeg", "audio/x"];
        let bytes = [starts[kind], &bytes].concat();
        let whole = measure(types[kind], AudioHints::default(), &bytes, bytes.len());
        prop_assert_eq!(measure(types[kind], AudioHints::default(), &bytes, part), whole);
    }
}

/// A payload of the largest sizes does not overflow.
#[test]
fn large_sizes_do_not_overflow() {
    let mut huge = b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\xff".to_vec();
    huge.extend([0; 100]);
    assert_eq!(duration("audio/wav", &huge), None);
    let zero_rate = wav(0, 1, 16, 100, 100, false);
    assert_eq!(duration("audio/wav", &zero_rate), None);
    assert_eq!(Duration::from_nanos(u64::MAX).as_secs(), 18_446_744_073);
}
