//! The JSON websocket `GET /ws3` of the sample server.
//!
//! Text frames collect in one buffer that is spoken sentence by sentence (or as
//! the `segment` parameter says) and emptied by `flush` and `eos`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::audio;
use super::super::voice::{self, Voice};
use super::protocol::{Frame, Segment, read_frame, read_query, sentences_end, word_timestamps};
use super::{CHUNK_BYTES, MAX_MESSAGE, Refusal};

/// Serves `GET /ws3`: checks the query, then upgrades.
pub(super) async fn upgrade(
    State(voice): State<Arc<Voice>>,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|error| (error.status(), error.body_text()))?;
    let (segment, rate) = read_query(&query).map_err(|text| (StatusCode::BAD_REQUEST, text))?;
    Ok(upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |socket| {
            let session = Session {
                socket,
                voice,
                segment,
                rate,
                buffer: String::new(),
                context: None,
                elapsed: 0.0,
            };
            session.serve()
        }))
}

/// The peer is gone; there is nobody left to answer.
struct Gone;

/// One websocket connection.
struct Session {
    /// The upgraded connection.
    socket: WebSocket,
    /// What speaks.
    voice: Arc<Voice>,
    /// When it speaks without being told to.
    segment: Segment,
    /// Samples per second.
    rate: u32,
    /// Text that has not been spoken, at most [`voice::MAX_TEXT_CHARS`].
    buffer: String,
    /// The `contextId` of the buffered text.
    context: Option<String>,
    /// Seconds of audio sent since the last `done`.
    elapsed: f64,
}

impl Session {
    /// Serves the connection to its end.
    async fn serve(mut self) {
        while let Some(message) = self.socket.recv().await {
            let outcome = match message {
                Ok(Message::Text(frame)) => match read_frame(&frame) {
                    Ok((Frame::Eos, context)) => {
                        let _ = self.take(Frame::Eos, context).await;
                        return self.close(close_code::NORMAL, "eos").await;
                    }
                    Ok((frame, context)) => self.take(frame, context).await,
                    Err(message) => self.complain(&message).await,
                },
                Ok(Message::Binary(_)) => self.complain("frame: must be text, not binary").await,
                Ok(Message::Ping(_) | Message::Pong(_)) => Ok(()),
                Ok(Message::Close(_)) => return,
                Err(_) => {
                    return self
                        .close(close_code::SIZE, "at most 64 KiB of UTF-8")
                        .await;
                }
            };
            if outcome.is_err() {
                return;
            }
        }
    }

    /// Acts on one frame.
    async fn take(&mut self, frame: Frame, context: Option<String>) -> Result<(), Gone> {
        match frame {
            Frame::Text(text) => {
                if self.context != context {
                    self.speak(self.buffer.len()).await?;
                    self.context = context;
                }
                let waiting = self.buffer.chars().count() + text.chars().count();
                if waiting > voice::MAX_TEXT_CHARS {
                    let most = voice::MAX_TEXT_CHARS;
                    let message =
                        format!("text: would make more than {most} characters wait; flush");
                    return self.complain(&message).await;
                }
                self.buffer.push_str(&text);
                match self.segment {
                    Segment::Immediate => self.speak(self.buffer.len()).await,
                    Segment::BySentence => self.speak(sentences_end(&self.buffer)).await,
                    Segment::Never => Ok(()),
                }
            }
            Frame::Flush | Frame::Eos => {
                self.speak(self.buffer.len()).await?;
                self.elapsed = 0.0;
                let context = context.or_else(|| self.context.clone());
                self.send(&json!({"type": "done", "contextId": context}))
                    .await
            }
            Frame::Clear => {
                self.buffer.clear();
                Ok(())
            }
        }
    }

    /// Speaks the first `length` bytes of the buffer and removes them.
    async fn speak(&mut self, length: usize) -> Result<(), Gone> {
        let rest = self.buffer.split_off(length);
        let text = std::mem::replace(&mut self.buffer, rest);
        if text.trim().is_empty() {
            return Ok(());
        }
        let samples = match self.voice.speak(&text, self.rate).await {
            Ok(samples) => samples,
            Err(error) => return self.complain(&error.to_string()).await,
        };
        for piece in samples.chunks(CHUNK_BYTES / 2) {
            let data = STANDARD.encode(audio::pcm_bytes(piece));
            let chunk = json!({"type": "chunk", "data": data, "contextId": self.context});
            self.send(&chunk).await?;
        }
        let seconds = samples.len() as f64 / f64::from(self.rate);
        let times = word_timestamps(&text, self.elapsed, seconds);
        self.elapsed += seconds;
        self.send(
            &json!({"type": "timestamps", "word_timestamps": times, "contextId": self.context}),
        )
        .await
    }

    /// Reports a mistake of the client; the connection goes on.
    async fn complain(&mut self, message: &str) -> Result<(), Gone> {
        self.send(&json!({"type": "error", "message": message}))
            .await
    }

    /// Sends one JSON message.
    async fn send(&mut self, message: &Value) -> Result<(), Gone> {
        let message = Message::Text(message.to_string().into());
        self.socket.send(message).await.map_err(|_| Gone)
    }

    /// Says goodbye; dropping the socket does the rest.
    async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        let _ = self.socket.send(Message::Close(Some(frame))).await;
    }
}

#[cfg(test)]
mod tests;
