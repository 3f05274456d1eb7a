//! A request body that is read on its way. Every byte is forwarded unchanged and in order.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use voxgate_core::denial::{Denial, DenialKind};
use voxgate_speech::{MediaType, Unreadable};

use super::budget::Reservation;
use super::inspection::Inspection;
use super::session::{SpeechSession, judge_body, reserve};
use super::verdict::Verdict;

/// The next frame of a body, if it can be read.
type PolledFrame<E> = Poll<Option<Result<Frame<Bytes>, SpeechBodyError<E>>>>;

/// The body of a request that passed [`Inspect`](super::Inspect).
pub struct SpeechBody<B> {
    inner: B,
    reading: BodyReading,
}

enum BodyReading {
    /// Nothing asks for it.
    Unread,
    /// Its beginning was held, and is forwarded first.
    Held(
        Option<Bytes>,
        #[allow(dead_code, reason = "gives the bytes back")] Reservation,
    ),
    /// Counted while it passes.
    Tapped(Box<Tap>),
    /// A gRPC stream: each message is checked before it is forwarded.
    Stream(Box<Stream>),
}

/// Why a body ended early.
#[derive(Debug)]
pub enum SpeechBodyError<E> {
    /// The caller's body failed.
    Inner(E),
    /// A message of the stream is refused.
    Refused,
}

impl<E: fmt::Display> fmt::Display for SpeechBodyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::Refused => f.write_str("the body is refused"),
        }
    }
}

impl<E: Error + 'static> Error for SpeechBodyError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Inner(error) => Some(error),
            Self::Refused => None,
        }
    }
}

/// A body that nothing reads, around the default of the inner one.
impl<B: Default> Default for SpeechBody<B> {
    fn default() -> Self {
        Self::unread(B::default())
    }
}

impl<B> SpeechBody<B> {
    pub(super) fn unread(inner: B) -> Self {
        let reading = BodyReading::Unread;
        Self { inner, reading }
    }

    pub(super) fn held(held: Bytes, reservation: Reservation, inner: B) -> Self {
        let held = Some(held).filter(|held| !held.is_empty());
        let reading = BodyReading::Held(held, reservation);
        Self { inner, reading }
    }

    pub(super) fn tapped(tap: Tap, inner: B) -> Self {
        let reading = BodyReading::Tapped(Box::new(tap));
        Self { inner, reading }
    }

    pub(super) fn stream(stream: Stream, inner: B) -> Self {
        let reading = BodyReading::Stream(Box::new(stream));
        Self { inner, reading }
    }

    /// The body that was wrapped.
    #[must_use]
    pub fn get_ref(&self) -> &B {
        &self.inner
    }

    /// The body that was wrapped. What is read from it is not forwarded.
    #[must_use]
    pub fn get_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for SpeechBody<B> {
    type Data = Bytes;
    type Error = SpeechBodyError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        match &mut this.reading {
            BodyReading::Held(held, _) if held.is_some() => {
                let held = held.take().map(Frame::data).map(Ok);
                this.reading = BodyReading::Unread;
                return Poll::Ready(held);
            }
            BodyReading::Stream(stream) => return stream.poll_frame(&mut this.inner, cx),
            BodyReading::Unread | BodyReading::Held(..) | BodyReading::Tapped(_) => {}
        }
        // A server may poll a body again that has ended; not every body may be polled again.
        if this.inner.is_end_stream() {
            this.end_tap();
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let BodyReading::Tapped(tap) = &mut this.reading
            && let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            tap.copy(data);
        }
        if frame.is_none() || this.inner.is_end_stream() {
            this.end_tap();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(SpeechBodyError::Inner)))
    }

    fn is_end_stream(&self) -> bool {
        let nothing_left = match &self.reading {
            BodyReading::Unread | BodyReading::Tapped(_) => true,
            BodyReading::Held(held, _) => held.is_none(),
            BodyReading::Stream(stream) => stream.is_empty(),
        };
        nothing_left && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.reading {
            BodyReading::Unread | BodyReading::Tapped(_) => 0,
            BodyReading::Held(held, _) => held.as_ref().map_or(0, Bytes::len),
            BodyReading::Stream(stream) => stream.buffer.len(),
        };
        let (left, inner) = (left as u64, self.inner.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(left));
        if let Some(upper) = inner.upper().and_then(|upper| upper.checked_add(left)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B> SpeechBody<B> {
    /// Counts what was copied, once the body has ended.
    fn end_tap(&mut self) {
        if let BodyReading::Tapped(tap) = &mut self.reading {
            tap.count();
            self.reading = BodyReading::Unread;
        }
    }
}

/// Copies the beginning of a body, and counts it when the body has ended.
pub(super) struct Tap {
    inspection: Option<Inspection>,
    media_type: MediaType,
    copied: Vec<u8>,
    most: usize,
    reservation: Reservation,
}

impl Tap {
    pub(super) fn new(
        inspection: Inspection,
        media_type: MediaType,
        most: usize,
        reservation: Reservation,
    ) -> Self {
        Self {
            inspection: Some(inspection),
            media_type,
            copied: Vec::new(),
            most,
            reservation,
        }
    }

    fn copy(&mut self, data: &[u8]) {
        let fits = self.copied.len() + data.len() <= self.most;
        if self.inspection.is_none() {
            return;
        }
        if fits && self.reservation.grow(data.len()) {
            self.copied.extend_from_slice(data);
        } else {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        if let Some(inspection) = self.inspection.take() {
            inspection.meter.mark_unmetered();
        }
        self.copied = Vec::new();
    }

    fn count(&mut self) {
        let Some(inspection) = self.inspection.take() else {
            return;
        };
        let read = inspection.reader.read_body(&self.media_type, &self.copied);
        // Without a limit, nothing is refused.
        if let Ok(characters) = judge_body(&inspection, read) {
            inspection.meter.add_characters(characters);
        }
    }
}

impl Drop for Tap {
    /// The body did not end, so that it is unknown what the upstream made of it.
    fn drop(&mut self) {
        self.give_up();
    }
}

type Reserving = Pin<Box<dyn Future<Output = Result<(), Denial>> + Send>>;

/// Checks the messages of a gRPC stream.
pub(super) struct Stream {
    session: SpeechSession,
    verdict: Verdict,
    /// What has arrived and is not forwarded yet.
    buffer: BytesMut,
    /// How many bytes of the buffer are checked, and wait for the quota.
    checked: usize,
    reserving: Option<Reserving>,
    most: usize,
    reservation: Reservation,
    /// Whether the rest is forwarded unread.
    unread: bool,
    ended: bool,
    refused: bool,
}

impl Stream {
    pub(super) fn new(
        session: SpeechSession,
        verdict: Verdict,
        most: usize,
        reservation: Reservation,
    ) -> Self {
        Self {
            session,
            verdict,
            buffer: BytesMut::new(),
            checked: 0,
            reserving: None,
            most,
            reservation,
            unread: false,
            ended: false,
            refused: false,
        }
    }

    fn is_empty(&self) -> bool {
        self.buffer.is_empty() || self.refused
    }

    fn poll_frame<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        inner: &mut B,
        cx: &mut Context<'_>,
    ) -> PolledFrame<B::Error> {
        loop {
            if self.refused {
                return Poll::Ready(None);
            }
            if let Some(reserving) = &mut self.reserving {
                let reserved = ready!(reserving.as_mut().poll(cx));
                self.reserving = None;
                if let Err(denial) = reserved {
                    return Poll::Ready(Some(Err(self.refuse(denial))));
                }
            }
            if self.checked > 0 {
                let checked = self.buffer.split_to(self.checked).freeze();
                self.checked = 0;
                return Poll::Ready(Some(Ok(Frame::data(checked))));
            }
            if self.unread && !self.buffer.is_empty() {
                self.checked = self.buffer.len();
                continue;
            }
            match self.check() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(kind) => return Poll::Ready(Some(Err(self.refuse(kind.into())))),
            }
            if self.ended || inner.is_end_stream() {
                return self.finish();
            }
            match ready!(Pin::new(&mut *inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.add(&data),
                    Err(trailers) => {
                        return Poll::Ready(Some(Ok(trailers)));
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(SpeechBodyError::Inner(error)))),
                None => self.ended = true,
            }
        }
    }

    fn add(&mut self, data: &Bytes) {
        self.buffer.extend_from_slice(data);
    }

    /// Checks the next message in the buffer. `false` if it is not complete.
    fn check(&mut self) -> Result<bool, DenialKind> {
        let reader = self.session.inspection().reader.clone();
        let read = match reader.read_grpc(&self.buffer) {
            Ok(None) => return self.wait(),
            Ok(Some((reading, length))) => Ok((reading, length)),
            Err(unreadable) => Err(unreadable),
        };
        let length = match &read {
            Ok((_, length)) => *length,
            // Where the next message begins is unknown, or it is compressed.
            Err(_) => {
                self.unread = true;
                self.buffer.len()
            }
        };
        let characters = self.session.judge_part(read.map(|(reading, _)| reading))?;
        self.checked = length;
        self.reserve(characters);
        Ok(true)
    }

    /// Whether the beginning of a message may be kept until its end arrives.
    fn wait(&mut self) -> Result<bool, DenialKind> {
        let held = self.buffer.len();
        let more = held.saturating_sub(self.reservation.bytes());
        if held <= self.most && self.reservation.grow(more) {
            return Ok(false);
        }
        if self.session.inspection().limited {
            return Err(match held <= self.most {
                true => DenialKind::Unavailable,
                false => DenialKind::ContentTooLarge,
            });
        }
        self.session.meter().mark_unmetered();
        self.unread = true;
        Ok(true)
    }

    fn reserve(&mut self, characters: u64) {
        let inspection = self.session.inspection().clone();
        if inspection.quota.is_none() {
            inspection.meter.add_characters(characters);
            return;
        }
        self.reserving = Some(Box::pin(
            async move { reserve(&inspection, characters).await },
        ));
    }

    /// The end of the stream. A message that is not complete is none.
    fn finish<E>(&mut self) -> Poll<Option<Result<Frame<Bytes>, SpeechBodyError<E>>>> {
        if self.buffer.is_empty() {
            return Poll::Ready(None);
        }
        match self.session.judge_part(Err(Unreadable::Syntax)) {
            Ok(_) => {
                let rest = self.buffer.split().freeze();
                Poll::Ready(Some(Ok(Frame::data(rest))))
            }
            Err(kind) => Poll::Ready(Some(Err(self.refuse(kind.into())))),
        }
    }

    fn refuse<E>(&mut self, denial: Denial) -> SpeechBodyError<E> {
        self.refused = true;
        self.buffer = BytesMut::new();
        self.session.meter().deny(denial.kind());
        self.verdict.deny(denial);
        SpeechBodyError::Refused
    }
}

impl<B> fmt::Debug for SpeechBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpeechBody")
    }
}
