//! The engine for machines without a C++ compiler: it mutates the seeds at random and sees nothing
//! of what the target does with them. It understands as much of libFuzzer's command line as
//! `scripts/fuzz.sh` uses.

use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MAX_BYTES: usize = 1024;

/// What the parsers look for.
const WORDS: [&[u8]; 28] = [
    b"Bearer ",
    b"Token ",
    b"Basic ",
    b"token",
    b"bearer",
    b"bearer_",
    b", ",
    b"\n",
    b"=",
    b"&",
    b"api_key=",
    b"access_token=",
    b"single_use_token=",
    b"realtime-token.",
    b"%",
    b"%5F",
    b"eu-",
    b":",
    b"|",
    b":path|",
    b":scheme|",
    b":authority|",
    b"content-length|",
    b"transfer-encoding: ",
    b"connection: ",
    b"x_forwarded_for: forged",
    b"KEY",
    b"%2e",
];

/// Runs `target` on each file, or on mutations of the files in each directory for as long as
/// `-max_total_time` says.
pub fn run(target: fn(&[u8])) -> ExitCode {
    match Options::read().and_then(|options| fuzz(target, &options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(77),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Options {
    time: Duration,
    crashes: String,
    files: Vec<PathBuf>,
    seeds: Vec<Vec<u8>>,
}

impl Options {
    fn read() -> io::Result<Self> {
        let mut options = Self::default();
        for argument in std::env::args().skip(1) {
            if let Some(seconds) = argument.strip_prefix("-max_total_time=") {
                let seconds = seconds.parse().map_err(io::Error::other)?;
                options.time = Duration::from_secs(seconds);
            } else if let Some(prefix) = argument.strip_prefix("-artifact_prefix=") {
                options.crashes = prefix.to_owned();
            } else if Path::new(&argument).is_dir() {
                for entry in fs::read_dir(&argument)? {
                    options.seeds.push(fs::read(entry?.path())?);
                }
            } else if !argument.starts_with('-') {
                options.files.push(argument.into());
            }
        }
        Ok(options)
    }
}

/// Whether nothing was found.
fn fuzz(target: fn(&[u8]), options: &Options) -> io::Result<bool> {
    for file in &options.files {
        target(&fs::read(file)?);
    }
    for seed in &options.seeds {
        if !passes(target, seed, options)? {
            return Ok(false);
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut dice = Dice(now.map_or(1, |time| time.as_nanos() as u64) | 1);
    let start = Instant::now();
    let mut runs = 0_u64;
    while start.elapsed() < options.time {
        for _ in 0..100 {
            let input = dice.input(&options.seeds);
            if !passes(target, &input, options)? {
                return Ok(false);
            }
            runs += 1;
        }
    }
    eprintln!("{runs} inputs at random");
    Ok(true)
}

fn passes(target: fn(&[u8]), input: &[u8], options: &Options) -> io::Result<bool> {
    // A target keeps nothing that a panic could leave half done.
    if panic::catch_unwind(AssertUnwindSafe(|| target(input))).is_ok() {
        return Ok(true);
    }
    let file = format!("{}crash-{}", options.crashes, std::process::id());
    fs::write(&file, input)?;
    eprintln!("the input is in {file}");
    Ok(false)
}

/// xorshift64 (Marsaglia, 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }

    fn any<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> Option<&'a T> {
        of.get(self.below(of.len())).copied()
    }

    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
        let mut input = self.any(&seeds).unwrap_or_default().to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(input.len() + 1);
            let end = (at + self.below(8)).min(input.len());
            match self.below(6) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 => input.insert(at, self.below(256) as u8),
                2 => _ = input.drain(at..end),
                3 => input.extend_from_within(at..end),
                4 => {
                    let word = self.any(&WORDS).unwrap_or_default();
                    input.splice(at..at, word.iter().copied());
                }
                _ => {
                    let other = self.any(&seeds).unwrap_or_default();
                    input.truncate(at);
                    input.extend_from_slice(&other[self.below(other.len() + 1)..]);
                }
            }
        }
        input.truncate(MAX_BYTES);
        input
    }
}
