//! The JSON WebSocket `GET /ws3` of the sample server.
//!
//! Text frames are collected in one buffer. The parameter `segment` determines when the buffer is
//! synthesized. `flush` and `eos` synthesize all of it.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CHUNK_BYTES, DEFAULT_RATE, MAX_MESSAGE, MAX_TEXT, Refusal, check_rate, speak};

/// The query parameters that this server uses.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parameters {
    audio_format: Option<String>,
    sampling_rate: Option<u32>,
    #[serde(default)]
    segment: Segment,
}

/// When buffered text is synthesized without a `flush`.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Segment {
    Immediate,
    #[default]
    BySentence,
    Never,
}

/// A frame of the client.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame {
    text: Option<String>,
    operation: Option<Operation>,
    context_id: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Operation {
    /// Synthesize the buffer and send `done`.
    Flush,
    /// Discard the buffer.
    Clear,
    /// Synthesize the buffer and close.
    Eos,
}

/// Serves `GET /ws3`: checks the query, then upgrades.
pub(super) async fn upgrade(
    query: Result<Query<Parameters>, QueryRejection>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|error| (error.status(), error.body_text()))?;
    let bad = |text| (StatusCode::BAD_REQUEST, text);
    if query.audio_format.is_some_and(|format| format != "pcm") {
        return Err(bad(
            "audioFormat: this sample server sends only pcm".to_owned()
        ));
    }
    let rate = query.sampling_rate.unwrap_or(DEFAULT_RATE);
    check_rate(rate).map_err(bad)?;
    Ok(upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |socket| {
            let session = Session {
                socket,
                segment: query.segment,
                rate,
                buffer: String::new(),
                context: None,
                elapsed: 0.0,
            };
            session.serve()
        }))
}

/// The client has disconnected.
struct Gone;

struct Session {
    socket: WebSocket,
    segment: Segment,
    /// Samples per second.
    rate: u32,
    /// Text that is not synthesized yet, at most [`MAX_TEXT`] characters.
    buffer: String,
    /// The `contextId` of the buffered text.
    context: Option<String>,
    /// Seconds of audio since the last `done`.
    elapsed: f64,
}

impl Session {
    async fn serve(mut self) {
        while let Some(message) = self.socket.recv().await {
            let frame = match message {
                Ok(Message::Text(frame)) => serde_json::from_str(&frame),
                Ok(Message::Binary(frame)) => serde_json::from_slice(&frame),
                Ok(Message::Ping(_) | Message::Pong(_)) => continue,
                Ok(Message::Close(_)) => return,
                Err(_) => {
                    let reason = "at most 64 KiB of UTF-8";
                    return self.close(close_code::SIZE, reason).await;
                }
            };
            let is_last = matches!(
                &frame,
                Ok(Frame {
                    operation: Some(Operation::Eos),
                    ..
                })
            );
            let done = match frame {
                Ok(frame) => self.take(frame).await,
                Err(error) => self.fail(&format!("frame: {error}")).await,
            };
            if is_last {
                return self.close(close_code::NORMAL, "eos").await;
            }
            if done.is_err() {
                return;
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), Gone> {
        match (frame.operation, frame.text) {
            (None, Some(text)) => self.add(&text, frame.context_id).await,
            (Some(Operation::Clear), None) => {
                self.buffer.clear();
                Ok(())
            }
            (Some(Operation::Flush | Operation::Eos), None) => {
                self.speak(self.buffer.len()).await?;
                self.elapsed = 0.0;
                let context = frame.context_id.or_else(|| self.context.clone());
                self.send(&json!({"type": "done", "contextId": context}))
                    .await
            }
            _ => self.fail("frame: must have either text or operation").await,
        }
    }

    async fn add(&mut self, text: &str, context: Option<String>) -> Result<(), Gone> {
        if self.context != context {
            self.speak(self.buffer.len()).await?;
            self.context = context;
        }
        if self.buffer.chars().count() + text.chars().count() > MAX_TEXT {
            let message = format!("text: is longer than {MAX_TEXT} characters; flush earlier");
            return self.fail(&message).await;
        }
        self.buffer.push_str(text);
        match self.segment {
            Segment::Immediate => self.speak(self.buffer.len()).await,
            Segment::BySentence => self.speak(end_of_sentences(&self.buffer)).await,
            Segment::Never => Ok(()),
        }
    }

    /// Synthesizes the first `length` bytes of the buffer and removes them.
    async fn speak(&mut self, length: usize) -> Result<(), Gone> {
        let rest = self.buffer.split_off(length);
        let text = std::mem::replace(&mut self.buffer, rest);
        if text.trim().is_empty() {
            return Ok(());
        }
        let sound = match speak(text.clone(), self.rate).await {
            Ok(sound) => sound,
            Err(message) => return self.fail(&message).await,
        };
        let context = self.context.clone();
        for piece in sound.chunks(CHUNK_BYTES) {
            let data = STANDARD.encode(piece);
            self.send(&json!({"type": "chunk", "data": data, "contextId": context}))
                .await?;
        }
        let seconds = sound.len() as f64 / 2.0 / f64::from(self.rate);
        let times = word_timestamps(&text, self.elapsed, seconds);
        self.elapsed += seconds;
        self.send(&json!({"type": "timestamps", "word_timestamps": times, "contextId": context}))
            .await
    }

    /// Reports an error of the client; the connection stays open.
    async fn fail(&mut self, message: &str) -> Result<(), Gone> {
        self.send(&json!({"type": "error", "message": message}))
            .await
    }

    async fn send(&mut self, message: &Value) -> Result<(), Gone> {
        let message = Message::Text(message.to_string().into());
        self.socket.send(message).await.map_err(|_| Gone)
    }

    async fn close(mut self, code: u16, reason: &'static str) {
        let reason = reason.into();
        let frame = CloseFrame { code, reason };
        let _ = self.socket.send(Message::Close(Some(frame))).await;
    }
}

/// The end of the last complete sentence, in bytes.
fn end_of_sentences(text: &str) -> usize {
    let letters = text.char_indices().zip(text.chars().skip(1));
    letters
        .filter(|((_, end), next)| ".!?…".contains(*end) && next.is_whitespace())
        .map(|((at, end), _)| at + end.len_utf8())
        .last()
        .unwrap_or_default()
}

/// The words of `text`, with times in proportion to their lengths.
fn word_timestamps(text: &str, offset: f64, seconds: f64) -> Value {
    let length = |word: &str| f64::from(u32::try_from(word.chars().count()).unwrap_or(0));
    let whole = text.split_whitespace().map(length).sum::<f64>().max(1.0);
    let (mut words, mut start, mut end) = (Vec::new(), Vec::new(), Vec::new());
    let mut spoken = 0.0;
    for word in text.split_whitespace() {
        words.push(word);
        start.push(offset + seconds * spoken / whole);
        spoken += length(word);
        end.push(offset + seconds * spoken / whole);
    }
    json!({"words": words, "start": start, "end": end})
}

#[cfg(test)]
mod tests;
