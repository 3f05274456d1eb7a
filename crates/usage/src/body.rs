//! The body of an answer, whose audio is measured as it passes.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use voxgate::Principal;
use voxgate::speech::SpeechMeter;

use crate::audio::{AudioHints, AudioMeter};
use crate::audio_account::AudioAccount;
use crate::book::UsageBook;
use crate::spoken::SpokenBody;

pin_project! {
    /// The inner service's body, or the bytes of an answer of the layer. Nothing is kept of it.
    pub struct UsageBody<R> {
        #[pin]
        inner: Option<R>,
        audio: Option<Box<AudioTail>>,
        own: Option<Bytes>,
    }
}

/// Measures the audio of an answer, and counts it until the answer ends.
#[allow(clippy::large_enum_variant, reason = "the body has it in a box")]
pub(crate) enum AudioTail {
    /// The body is audio.
    Audio(AudioMeter, AudioAccount),
    /// The audio is in the body.
    Spoken(SpokenBody),
}

impl AudioTail {
    /// `None` if nothing is known of the audio in an answer with these header fields.
    pub(crate) fn new(
        headers: &HeaderMap,
        meter: Option<SpeechMeter>,
        book: UsageBook,
        principal: Principal,
    ) -> Option<Self> {
        let format = meter.as_ref().and_then(SpeechMeter::format);
        let hints = AudioHints {
            format: format.as_deref(),
            sample_rate: meter.as_ref().and_then(SpeechMeter::sample_rate),
        };
        let account = || AudioAccount::new(meter.clone(), book, principal);
        if let Some(audio) = AudioMeter::new(headers, hints) {
            return Some(Self::Audio(audio, account()));
        }
        let spoken = SpokenBody::new(headers, meter.as_ref()?, account)?;
        Some(Self::Spoken(spoken))
    }

    fn read(&mut self, data: &impl Buf) {
        // Data in several parts can only be read by taking it.
        if data.chunk().len() < data.remaining() {
            return;
        }
        match self {
            Self::Audio(audio, account) => {
                audio.read(data.chunk());
                if let Some(duration) = audio.duration() {
                    account.heard(duration);
                }
            }
            Self::Spoken(spoken) => spoken.read(data.chunk()),
        }
    }
}

impl<R> UsageBody<R> {
    pub(crate) fn own(bytes: Bytes) -> Self {
        Self {
            inner: None,
            audio: None,
            own: Some(bytes).filter(|bytes| !bytes.is_empty()),
        }
    }

    pub(crate) fn inner(body: R, audio: Option<AudioTail>) -> Self {
        Self {
            inner: Some(body),
            audio: audio.map(Box::new),
            own: None,
        }
    }
}

impl<R> Body for UsageBody<R>
where
    R: Body,
    R::Data: From<Bytes>,
{
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let this = self.project();
        let Some(body) = this.inner.as_pin_mut() else {
            let own = this.own.take();
            return Poll::Ready(own.map(|bytes| Ok(Frame::data(bytes.into()))));
        };
        let polled = ready!(body.poll_frame(context));
        match (&polled, &mut *this.audio) {
            (Some(Ok(frame)), Some(tail)) => {
                if let Some(data) = frame.data_ref() {
                    tail.read(data);
                }
            }
            (Some(Ok(_)), None) => {}
            (Some(Err(_)) | None, audio) => *audio = None,
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Some(body) => body.is_end_stream(),
            None => self.own.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let own = self.own.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let inner = self.inner.as_ref().map(Body::size_hint);
        inner.unwrap_or_else(|| SizeHint::with_exact(own))
    }
}

impl<R> fmt::Debug for UsageBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsageBody")
    }
}
