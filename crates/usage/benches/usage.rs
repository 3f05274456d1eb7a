//! What metering costs: taking from quotas, with and without a state file, and reading audio.
//!
//! `make bench` runs it.

#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use voxgate::Principal;
use voxgate::rate_limit::Quota;
use voxgate_usage::audio::{AudioHints, AudioMeter};
use voxgate_usage::{BookBuilder, Calendar, UsageBook};

const ROUNDS: usize = 11;
const REQUESTS: u32 = 20_000;

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let quota = |text| Quota::parse(text).expect("a quota");
    let limited = Principal::new("ivr")
        .with_quotas([quota("9G characters/month"), quota("100h audio/month")]);
    let in_memory = book(|builder| builder);
    let in_file = book(|builder| builder.with_state_file(directory.path().join("state")));
    println!("a request's own thread, in nanoseconds (medians of {ROUNDS} rounds)");
    for (name, book, principal) in [
        (
            "no quota and no metering",
            &in_memory,
            &Principal::new("free"),
        ),
        ("two quotas in memory", &in_memory, &limited),
        ("two quotas in a state file", &in_file, &limited),
    ] {
        let nanos = median(|| {
            let begun = Instant::now();
            for _ in 0..REQUESTS {
                let _ = black_box(book.take_now(principal, [100, 1, 0]));
            }
            begun.elapsed().as_nanos() / u128::from(REQUESTS)
        });
        println!("  {name:<28} {nanos:>6}");
    }
    println!("audio as it passes, in nanoseconds for 16 KiB");
    let mut mp3 = vec![0x11; 417];
    mp3[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0]);
    let mp3 = mp3.repeat(40);
    for (name, media_type, bytes) in [
        ("PCM", "audio/L16;rate=24000", vec![0; 16_384]),
        ("MP3", "audio/mpeg", mp3),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        let mut meter = AudioMeter::new(&headers, AudioHints::default()).expect("audio");
        let nanos = median(|| {
            let begun = Instant::now();
            for _ in 0..1_000 {
                meter.read(black_box(&bytes));
            }
            begun.elapsed().as_nanos() / 1_000
        });
        assert!(meter.duration().is_some());
        println!("  {name:<28} {nanos:>6}");
    }
}

fn book(settings: impl FnOnce(BookBuilder) -> BookBuilder) -> UsageBook {
    let calendar = Calendar::in_zone("Europe/Berlin").expect("a zone");
    let book = settings(UsageBook::builder(calendar)).build();
    book.expect("a book")
}

fn median(mut round: impl FnMut() -> u128) -> u128 {
    let mut times: Vec<u128> = (0..ROUNDS).map(|_| round()).collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}
