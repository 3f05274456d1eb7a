//! A small text-to-speech server behind the layer, in axum.
//!
//! It shows the settings from the environment, where the layer stands among routes and other
//! layers, and a handler that cannot be reached without it.
//!
//! ```sh
//! VOXGATE_API_KEYS=a-key-for-trying-out cargo run --example axum_tts
//!
//! curl -H 'Authorization: Bearer a-key-for-trying-out' -H 'Content-Type: application/json' \
//!     -d '{"text": "one tone a word"}' -o tones.wav http://127.0.0.1:3000/v1/rime-tts
//! curl -i -X POST http://127.0.0.1:3000/v1/rime-tts   # 401, missing headers
//! ```
//!
//! `PORT`, or the first argument, is the port to listen on; 0 takes a free one.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program says where it listens, and why it does not start"
)]

use std::convert::Infallible;
use std::error::Error;
use std::f32::consts::TAU;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Json};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Router, serve};
use futures_util::stream;
use serde::Deserialize;
use tokio::net::TcpListener;
use tower_http::trace::TraceLayer;
use voxgate::{AuthLayer, Caller, ConfigError, Problem};

const EXIT_CONFIG: u8 = 64;
const MAX_CHARACTERS: usize = 500;
const SAMPLE_RATE: u32 = 22_050;
const TONE_SAMPLES: u32 = SAMPLE_RATE / 5;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::DEBUG)
        .init();
    let (port, auth) = match settings() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match run(port, auth).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The port and the layer, or everything that is wrong with them.
fn settings() -> Result<(u16, AuthLayer), ConfigError> {
    let given = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("PORT").ok());
    let port = given.map_or(Some(3000), |text| text.parse().ok());
    let mut problems = Vec::new();
    if port.is_none() {
        problems.push(Problem::new("PORT", "must be a number from 0 to 65535"));
    }
    let auth = match AuthLayer::from_env() {
        Ok(auth) => Some(auth),
        Err(error) => {
            problems.extend(error.into_problems());
            None
        }
    };
    ConfigError::check(port.zip(auth), problems)
}

async fn run(port: u16, auth: AuthLayer) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let app = app(auth).into_make_service_with_connect_info::<SocketAddr>();
    serve(listener, app).await?;
    Ok(())
}

fn app(auth: AuthLayer) -> Router {
    Router::new()
        .route("/v1/rime-tts", post(synthesize))
        .layer(DefaultBodyLimit::max(16 * 1024))
        // Covers the routes above it. A probe has no key, so its route comes after.
        .layer(auth.with_peer_address(voxgate::extract::connect_info))
        .route("/healthz", get(|| async { "ok" }))
        // The last layer is the outermost: it also sees what the others refuse.
        .layer(TraceLayer::new_for_http())
}

#[derive(Deserialize)]
struct Utterance {
    text: String,
}

async fn synthesize(
    caller: Caller,
    body: Result<Json<Utterance>, JsonRejection>,
) -> Result<impl IntoResponse, (StatusCode, String)> {
    let refuse = |message: String| (StatusCode::BAD_REQUEST, message);
    let Json(Utterance { text }) = body.map_err(|error| refuse(error.body_text()))?;
    let characters = text.chars().count();
    if text.trim().is_empty() || characters > MAX_CHARACTERS {
        return Err(refuse(format!(
            "text must be 1 to {MAX_CHARACTERS} characters and not blank"
        )));
    }
    // Who spoke, and how much; never what.
    tracing::info!(key_id = caller.key_id(), characters, "synthesizing");
    let words: Vec<u32> = text.split_whitespace().map(frequency).collect();
    let parts = std::iter::once(wav_header(words.len())).chain(words.into_iter().map(tone));
    let wav = Body::from_stream(stream::iter(parts.map(Ok::<_, Infallible>)));
    Ok(([(header::CONTENT_TYPE, "audio/wav")], wav))
}

/// The same word is the same tone, between 220 and 880 Hz.
fn frequency(word: &str) -> u32 {
    220 + word.bytes().map(u32::from).sum::<u32>() % 661
}

/// One fifth of a second of 16-bit samples, with soft edges.
fn tone(frequency: u32) -> Vec<u8> {
    let sample = |at: u32| {
        let phase = TAU * (frequency * at % SAMPLE_RATE) as f32 / SAMPLE_RATE as f32;
        let edge = at.min(TONE_SAMPLES - at) as f32 / (TONE_SAMPLES / 8) as f32;
        (phase.sin() * edge.min(1.0) * 12_000.0) as i16
    };
    (0..TONE_SAMPLES)
        .flat_map(|at| sample(at).to_le_bytes())
        .collect()
}

/// A RIFF header for one channel of 16-bit PCM.
fn wav_header(tones: usize) -> Vec<u8> {
    let data = TONE_SAMPLES * 2 * u32::try_from(tones).unwrap_or(u32::MAX / (TONE_SAMPLES * 2));
    let mut header = b"RIFF".to_vec();
    header.extend((36 + data).to_le_bytes());
    header.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    header.extend(SAMPLE_RATE.to_le_bytes());
    header.extend((SAMPLE_RATE * 2).to_le_bytes());
    header.extend(b"\x02\0\x10\0data");
    header.extend(data.to_le_bytes());
    header
}
