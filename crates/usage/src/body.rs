//! The body of an answer, whose audio is measured as it passes.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use voxgate::Principal;
use voxgate::speech::SpeechMeter;

use crate::audio::AudioMeter;
use crate::book::UsageBook;

pin_project! {
    /// The inner service's body, or the bytes of an answer of the layer. Nothing is kept of it.
    pub struct UsageBody<R> {
        #[pin]
        kind: Kind<R>,
    }
}

pin_project! {
    #[project = Projected]
    enum Kind<R> {
        Inner {
            #[pin]
            body: R,
            audio: Option<Box<AudioTail>>,
        },
        Own { bytes: Option<Bytes> },
    }
}

/// Measures the audio of an answer, and counts it when the answer ends.
pub(crate) struct AudioTail {
    audio: AudioMeter,
    meter: Option<SpeechMeter>,
    book: UsageBook,
    principal: Principal,
}

impl AudioTail {
    pub(crate) fn new(
        audio: AudioMeter,
        meter: Option<SpeechMeter>,
        book: UsageBook,
        principal: Principal,
    ) -> Self {
        Self {
            audio,
            meter,
            book,
            principal,
        }
    }

    fn read(&mut self, data: &impl Buf) {
        // Data in several parts can only be read by taking it.
        if data.chunk().len() == data.remaining() {
            self.audio.read(data.chunk());
        }
        if let (Some(meter), Some(duration)) = (&self.meter, self.audio.duration()) {
            meter.set_audio(duration);
        }
    }
}

impl Drop for AudioTail {
    fn drop(&mut self) {
        if let Some(duration) = self.audio.duration() {
            let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            self.book.add_audio(&self.principal, milliseconds);
        }
    }
}

impl<R> UsageBody<R> {
    pub(crate) fn own(bytes: Bytes) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self {
            kind: Kind::Own { bytes },
        }
    }

    pub(crate) fn inner(body: R, audio: Option<AudioTail>) -> Self {
        let audio = audio.map(Box::new);
        Self {
            kind: Kind::Inner { body, audio },
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
        match self.project().kind.project() {
            Projected::Own { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
            Projected::Inner { body, audio } => {
                let polled = ready!(body.poll_frame(context));
                if let Some(tail) = audio {
                    match &polled {
                        Some(Ok(frame)) => {
                            if let Some(data) = frame.data_ref() {
                                tail.read(data);
                            }
                        }
                        Some(Err(_)) | None => *audio = None,
                    }
                }
                Poll::Ready(polled)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own { bytes } => bytes.is_none(),
            Kind::Inner { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Inner { body, .. } => body.size_hint(),
        }
    }
}

impl<R> fmt::Debug for UsageBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsageBody")
    }
}
