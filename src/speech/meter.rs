//! The meter of one request.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use voxgate_core::denial::DenialKind;
use voxgate_speech::{AnswerField, Reader, SpeechProfile};

use super::Billed;

/// Maximum length in bytes of a name that a meter keeps. Longer names are cut.
const LONGEST_NAME: usize = 128;

/// Counts what one request, or one WebSocket, speaks. Cloning is cheap, and clones share the counts.
///
/// It is written while the request is read, and read when the completion record is written. It holds
/// lengths and the names that the request gives, never the text itself.
#[derive(Clone, Default)]
pub struct SpeechMeter(Arc<Counts>);

/// The duration of the audio is not known.
const NO_AUDIO: u64 = u64::MAX;

struct Counts {
    characters: AtomicU64,
    /// The audio of the answer in milliseconds; `NO_AUDIO` while it is not known.
    audio_ms: AtomicU64,
    /// Hertz; 0 if the request names none.
    sample_rate: AtomicU32,
    unmetered: AtomicBool,
    uncounted: AtomicBool,
    several_voices: AtomicBool,
    denied: OnceLock<DenialKind>,
    /// Where the request and its answers have their fields.
    reader: OnceLock<Arc<Reader>>,
    names: Mutex<Names>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            characters: AtomicU64::new(0),
            audio_ms: AtomicU64::new(NO_AUDIO),
            sample_rate: AtomicU32::new(0),
            unmetered: AtomicBool::new(false),
            uncounted: AtomicBool::new(false),
            several_voices: AtomicBool::new(false),
            denied: OnceLock::new(),
            reader: OnceLock::new(),
            names: Mutex::default(),
        }
    }
}

#[derive(Default)]
struct Names {
    voice: Option<Arc<str>>,
    model: Option<Arc<str>>,
    language: Option<Arc<str>>,
    format: Option<Arc<str>>,
    billed: Billed,
}

impl SpeechMeter {
    /// A meter that has counted nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds characters of text, as the vendor counts them.
    pub fn add_characters(&self, characters: u64) {
        let counted = &self.0.characters;
        let _ = counted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| {
            Some(sum.saturating_add(characters))
        });
    }

    /// Sets the voice. A WebSocket can name several one after the other: the latest counts.
    pub fn set_voice(&self, voice: &str) {
        let mut names = self.names();
        let changed = names.voice.as_deref().is_some_and(|old| old != cut(voice));
        self.0.several_voices.fetch_or(changed, Ordering::Relaxed);
        set(&mut names.voice, voice);
    }

    /// Sets the model.
    pub fn set_model(&self, model: &str) {
        set(&mut self.names().model, model);
    }

    /// Sets the language.
    pub fn set_language(&self, language: &str) {
        set(&mut self.names().language, language);
    }

    /// Sets the format of the audio, in the vendor's word, such as `pcm_16000`.
    pub fn set_format(&self, format: &str) {
        set(&mut self.names().format, format);
    }

    /// Sets the sample rate of the audio in hertz.
    pub fn set_sample_rate(&self, hertz: u32) {
        self.0.sample_rate.store(hertz, Ordering::Relaxed);
    }

    /// Notes that text passed that could not be counted, for example in a compressed body. The
    /// characters are then a lower bound.
    pub fn mark_unmetered(&self) {
        self.0.unmetered.store(true, Ordering::Relaxed);
    }

    /// Notes that the request counts for no quota, because it only asks about usage.
    pub fn mark_uncounted(&self) {
        self.0.uncounted.store(true, Ordering::Relaxed);
    }

    /// Whether the request counts for no quota.
    #[must_use]
    pub fn is_uncounted(&self) -> bool {
        self.0.uncounted.load(Ordering::Relaxed)
    }

    /// Sets the duration of the audio that the answer has so far. Parts of a millisecond are
    /// dropped.
    pub fn set_audio(&self, duration: Duration) {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(NO_AUDIO - 1);
        let milliseconds = milliseconds.min(NO_AUDIO - 1);
        self.0.audio_ms.store(milliseconds, Ordering::Relaxed);
    }

    /// The duration of the audio of the answer in milliseconds. `None` if it is not known.
    #[must_use]
    pub fn audio_milliseconds(&self) -> Option<u64> {
        Some(self.0.audio_ms.load(Ordering::Relaxed)).filter(|audio| *audio != NO_AUDIO)
    }

    /// Adds what the vendor says that it charges, as it stands in an answer.
    pub fn add_billed(&self, field: AnswerField, text: &str) {
        self.names().billed.add(field, text);
    }

    /// What the vendor says that it charges. Quotas do not depend on it.
    #[must_use]
    pub fn billed(&self) -> Billed {
        self.names().billed.clone()
    }

    /// Sets where the request and its answers have their fields. The first call counts.
    #[cfg(feature = "speech")]
    pub(crate) fn set_reader(&self, reader: &Arc<Reader>) {
        let _ = self.0.reader.set(Arc::clone(reader));
    }

    /// Where the request and its answers have their fields, if the request is read.
    #[must_use]
    pub fn profile(&self) -> Option<&SpeechProfile> {
        self.0.reader.get().map(|reader| reader.profile())
    }

    /// Notes why the request, or a message of it, was refused after it had been accepted. The first
    /// reason counts.
    pub fn deny(&self, kind: DenialKind) {
        let _ = self.0.denied.set(kind);
    }

    /// Why the request, or a message of it, was refused after it had been accepted.
    #[must_use]
    pub fn denied(&self) -> Option<DenialKind> {
        self.0.denied.get().copied()
    }

    /// The characters counted so far.
    #[must_use]
    pub fn characters(&self) -> u64 {
        self.0.characters.load(Ordering::Relaxed)
    }

    /// The latest voice, if the request named one.
    #[must_use]
    pub fn voice(&self) -> Option<Arc<str>> {
        self.names().voice.clone()
    }

    /// Whether the request named more than one voice.
    #[must_use]
    pub fn has_several_voices(&self) -> bool {
        self.0.several_voices.load(Ordering::Relaxed)
    }

    /// The model, if the request named one.
    #[must_use]
    pub fn model(&self) -> Option<Arc<str>> {
        self.names().model.clone()
    }

    /// The language, if the request named one.
    #[must_use]
    pub fn language(&self) -> Option<Arc<str>> {
        self.names().language.clone()
    }

    /// The format of the audio, if the request named one.
    #[must_use]
    pub fn format(&self) -> Option<Arc<str>> {
        self.names().format.clone()
    }

    /// The sample rate of the audio in hertz, if the request named one.
    #[must_use]
    pub fn sample_rate(&self) -> Option<u32> {
        Some(self.0.sample_rate.load(Ordering::Relaxed)).filter(|hertz| *hertz > 0)
    }

    /// Whether text passed that could not be counted.
    #[must_use]
    pub fn is_unmetered(&self) -> bool {
        self.0.unmetered.load(Ordering::Relaxed)
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        // A panic leaves no half-changed name behind.
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set(name: &mut Option<Arc<str>>, text: &str) {
    let text = cut(text);
    if name.as_deref() != Some(text) {
        *name = Some(text.into());
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=LONGEST_NAME.min(text.len())).rev();
    let end = end.into_iter().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

impl fmt::Debug for SpeechMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechMeter")
            .field("characters", &self.characters())
            .field("unmetered", &self.is_unmetered())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_their_counts() {
        let meter = SpeechMeter::new();
        let clone = meter.clone();
        clone.add_characters(3);
        meter.add_characters(4);
        assert_eq!((meter.characters(), clone.characters()), (7, 7));
        meter.add_characters(u64::MAX);
        assert_eq!(clone.characters(), u64::MAX);
        assert!(!meter.is_unmetered());
        clone.mark_unmetered();
        assert!(meter.is_unmetered());
    }

    #[test]
    fn names_are_kept_and_cut() {
        let meter = SpeechMeter::new();
        assert_eq!((meter.voice(), meter.sample_rate()), (None, None));
        meter.set_voice("cove");
        meter.set_voice("cove");
        assert!(!meter.has_several_voices());
        meter.set_voice("other");
        assert!(meter.has_several_voices());
        assert_eq!(meter.voice().as_deref(), Some("other"));
        meter.set_model(&"é".repeat(100));
        assert_eq!(meter.model().as_deref(), Some(&*"é".repeat(64)));
        meter.set_sample_rate(24_000);
        assert_eq!(meter.sample_rate(), Some(24_000));
        assert_eq!(meter.audio_milliseconds(), None);
        meter.set_audio(Duration::from_micros(1_999));
        assert_eq!(meter.audio_milliseconds(), Some(1));
        meter.set_audio(Duration::MAX);
        assert_eq!(meter.audio_milliseconds(), Some(u64::MAX - 1));
    }
}
