//! What keys cost: to load, to hold, to look up, and to exchange while requests are served.
//!
//! `make bench` runs it. Times are compared with each other within one run, in turns, because what
//! else the machine does changes from one second to the next.

#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use voxgate::{Dialect, Digest, KeyRing, RawCredential, SharedKeyRing, Verify, VerifyOutcome};

const SIZES: [usize; 4] = [1, 1_000, 100_000, 1_000_000];
const ROUNDS: usize = 41;
const LOOK_UPS: usize = 2_000;

fn main() {
    match env::args().nth(1).as_deref() {
        Some("--hold") => hold(Path::new(&env::args().nth(2).expect("a file"))),
        _ => compare(),
    }
}

fn compare() {
    let directory = Directory::new();
    let files: Vec<PathBuf> = SIZES.iter().map(|keys| directory.keys(*keys, 0)).collect();

    println!("loading a keys file, and holding it (a process for each)");
    println!(
        "{:>9}  {:>8}  {:>12}  {:>13}",
        "keys", "load", "bytes a key", "peak, a key"
    );
    let none = resident(&directory.keys(0, 0));
    for (keys, file) in SIZES.iter().zip(&files) {
        let held = resident(file);
        let each = |bytes: u64, base: u64| bytes.saturating_sub(base) / *keys as u64;
        println!(
            "{keys:>9}  {:>6} ms  {:>12}  {:>13}",
            held.load_ms,
            each(held.now, none.now),
            each(held.peak, none.peak)
        );
    }

    println!("\nlooking up a key (medians of {ROUNDS} rounds, the sizes in turns)");
    println!(
        "{:>9}  {:>8}  {:>12}  {:>8}  {:>12}",
        "keys", "hit", "against 1", "miss", "against 1"
    );
    let rings: Vec<KeyRing> = files
        .iter()
        .map(|file| KeyRing::load(file, Dialect::Bearer).expect("keys"))
        .collect();
    let hits: Vec<f64> = medians(&rings, &SIZES.map(|keys| tokens(0, keys)));
    let misses = medians(&rings, &SIZES.map(|keys| tokens(keys, 2 * keys)));
    for (at, keys) in SIZES.iter().enumerate() {
        let (hit, miss) = (hits[at], misses[at]);
        println!(
            "{keys:>9}  {hit:>5.0} ns  {:>11.2}x  {miss:>5.0} ns  {:>11.2}x",
            hit / hits[0],
            miss / misses[0]
        );
    }

    println!("\nlooking up while a million keys are exchanged, without a break");
    println!(
        "{:>12}  {:>9}  {:>12}  {:>11}",
        "", "look-ups", "99.9th", "longest"
    );
    let shared = SharedKeyRing::new(KeyRing::load(&files[3], Dialect::Bearer).expect("keys"));
    let quiet = while_doing(&shared, || thread::sleep(Duration::from_secs(3)));
    let busy = while_doing(&shared, || burn(Duration::from_secs(3)));
    let other = directory.keys(SIZES[3], 1);
    let exchanged = while_doing(&shared, || {
        shared.replace(KeyRing::load(&other, Dialect::Bearer).expect("keys"));
    });
    for (what, times) in [
        ("alone", quiet),
        ("beside work", busy),
        ("exchanging", exchanged),
    ] {
        let (many, longest) = (times[times.len() * 999 / 1000], times[times.len() - 1]);
        println!(
            "{what:>12}  {:>9}  {many:>12.1?}  {longest:>11.1?}",
            times.len()
        );
    }
}

/// Loads a file, and tells how long that took and what memory it takes then.
fn hold(file: &Path) {
    let begun = Instant::now();
    let ring = KeyRing::load(file, Dialect::Bearer).expect("keys");
    let load_ms = begun.elapsed().as_millis();
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let kib = |field: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(field))
            .expect("a field");
        line.split_whitespace().nth(1).expect("a figure").to_owned()
    };
    println!("{load_ms} {} {}", kib("VmRSS"), kib("VmHWM"));
    drop(ring);
}

struct Held {
    load_ms: u64,
    now: u64,
    peak: u64,
}

fn resident(file: &Path) -> Held {
    let program = env::current_exe().expect("this program");
    let output = Command::new(program)
        .arg("--hold")
        .arg(file)
        .output()
        .expect("to run");
    let text = String::from_utf8(output.stdout).expect("text");
    let figures: Vec<u64> = text
        .split_whitespace()
        .map(|word| word.parse().expect("figures"))
        .collect();
    Held {
        load_ms: figures[0],
        now: figures[1] * 1024,
        peak: figures[2] * 1024,
    }
}

/// The time of one look-up in each ring, of tokens of its own.
fn medians(rings: &[KeyRing], tokens: &[Vec<String>]) -> Vec<f64> {
    let mut times = vec![Vec::new(); rings.len()];
    for round in 0..ROUNDS {
        for (at, (ring, tokens)) in rings.iter().zip(tokens).enumerate() {
            // Far from each other, so that a large ring is not found in the processor's cache.
            let step = 7919 * (round + 1);
            let chosen: Vec<&String> = (0..LOOK_UPS)
                .map(|n| &tokens[n * step % tokens.len()])
                .collect();
            let begun = Instant::now();
            for token in chosen {
                black_box(verify(ring, token));
            }
            times[at].push(begun.elapsed().as_nanos() as f64 / LOOK_UPS as f64);
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    times.into_iter().map(median).collect()
}

/// How long look-ups take, one after the other, while something else is done: in ascending order.
fn while_doing(shared: &SharedKeyRing, work: impl FnOnce()) -> Vec<Duration> {
    let done = AtomicBool::new(false);
    let tokens = tokens(0, 10_000);
    thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut times = Vec::with_capacity(50_000_000);
            let mut tokens = tokens.iter().cycle();
            while !done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                black_box(verify(shared, tokens.next().expect("a cycle")));
                times.push(begun.elapsed());
            }
            times.sort_unstable();
            times
        });
        work();
        done.store(true, Ordering::Relaxed);
        looking.join().expect("no panic")
    })
}

/// As much work as an exchange, and none of its.
fn burn(time: Duration) {
    let begun = Instant::now();
    let mut text = Vec::new();
    while begun.elapsed() < time {
        text.extend(Digest::of(&text).to_hex().into_bytes());
        text.truncate(1 << 20);
        black_box(&text);
    }
}

fn verify<V: Verify>(verifier: &V, token: &str) -> bool {
    match verifier.verify(RawCredential::new(token.as_bytes())) {
        VerifyOutcome::Ready(verdict) => verdict.is_ok(),
        VerifyOutcome::Pending(_) => false,
    }
}

fn tokens(from: usize, to: usize) -> Vec<String> {
    (from..to.min(from + 200_000)).map(token).collect()
}

/// As long as a token of ours, and cheaper to make.
fn token(number: usize) -> String {
    format!("bench-{number:047}")
}

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = env::temp_dir().join(format!("voxgate-bench-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    /// A keys file with short ids.
    fn keys(&self, count: usize, version: usize) -> PathBuf {
        let mut text = String::new();
        for number in 0..count {
            let digest = Digest::of(token(number).as_bytes()).to_hex();
            let _ = writeln!(
                text,
                "[[key]]\nid = \"key-{version}-{number}\"\nsha256 = \"{digest}\"\n"
            );
        }
        let path = self.0.join(format!("{count}-{version}.toml"));
        fs::write(&path, text).expect("to write");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
