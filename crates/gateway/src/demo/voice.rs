//! The voice of the sample TTS server.
//!
//! `espeak-ng` speaks when it is installed; otherwise a built-in tone voice
//! keeps the demo free of prerequisites.

mod espeak;
mod tone;

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fmt};

use tokio::sync::Semaphore;

use super::audio;

/// Longest text of one request, in characters.
pub(super) const MAX_TEXT_CHARS: usize = 2_000;
/// Sample rates the voice can produce.
pub(super) const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 8_000..=48_000;
/// How long `espeak-ng` may take for one request.
const ESPEAK_TIMEOUT: Duration = Duration::from_secs(10);
/// How many requests may be spoken at the same time; others wait.
static SPEAKING: Semaphore = Semaphore::const_new(4);

/// Something that turns text into samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Voice {
    /// The `espeak-ng` executable at this path.
    Espeak(PathBuf),
    /// The built-in tone voice.
    Tone,
}

/// Why a text could not be spoken.
#[derive(Debug)]
pub(super) enum SpeechError {
    /// The text is empty or white space.
    EmptyText,
    /// The text, or the speech it would give, is too long.
    TextTooLong,
    /// The sample rate is outside [`SAMPLE_RATES`].
    RateOutOfRange(u32),
    /// The engine itself failed; the request was fine.
    Engine(String),
}

impl SpeechError {
    /// Whether the request, rather than the engine, is at fault.
    pub(super) fn is_request_fault(&self) -> bool {
        !matches!(self, Self::Engine(_))
    }
}

impl fmt::Display for SpeechError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyText => f.write_str("text: is empty; send at least one word"),
            Self::TextTooLong => write!(
                f,
                "text: is too long; send at most {MAX_TEXT_CHARS} characters per request"
            ),
            Self::RateOutOfRange(rate) => write!(
                f,
                "samplingRate: {rate} is out of range; use {} to {}",
                SAMPLE_RATES.start(),
                SAMPLE_RATES.end()
            ),
            Self::Engine(reason) => write!(f, "the demo voice failed: {reason}"),
        }
    }
}

impl std::error::Error for SpeechError {}

impl Voice {
    /// Picks `espeak-ng` when an executable of that name is on `PATH`.
    pub(super) fn detect() -> Self {
        env::var_os("PATH")
            .and_then(|path| espeak::find_in(&path))
            .map_or(Self::Tone, Self::Espeak)
    }

    /// Describes the voice in one line for a human.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Espeak(path) => format!("espeak-ng ({})", path.display()),
            Self::Tone => "built-in tones (install espeak-ng to hear words)".to_owned(),
        }
    }

    /// Speaks `text` as mono samples at `sample_rate`; the answer is never empty.
    ///
    /// # Errors
    ///
    /// Fails on an empty or too long text, on a sample rate outside
    /// [`SAMPLE_RATES`], and when the engine breaks or takes too long.
    pub(super) async fn speak(
        &self,
        text: &str,
        sample_rate: u32,
    ) -> Result<Vec<i16>, SpeechError> {
        check(text, sample_rate)?;
        let _turn = SPEAKING.acquire().await.map_err(engine)?;
        let mut samples = match self {
            Self::Espeak(path) => {
                let spoken = tokio::time::timeout(ESPEAK_TIMEOUT, espeak::run(path, text));
                let file = spoken.await.map_err(|_| engine("espeak-ng timed out"))??;
                blocking(move || -> Result<_, SpeechError> {
                    let wav = audio::read_wav(&file).map_err(engine)?;
                    Ok(audio::resample(wav.samples, wav.sample_rate, sample_rate))
                })
                .await??
            }
            Self::Tone => {
                let text = text.to_owned();
                blocking(move || tone::render(&text, sample_rate)).await?
            }
        };
        if samples.is_empty() {
            // Nothing but punctuation: a short silence instead of no audio at all.
            samples.resize(sample_rate as usize / 10, 0);
        }
        Ok(samples)
    }
}

/// Checks what does not depend on the engine.
pub(super) fn check(text: &str, sample_rate: u32) -> Result<(), SpeechError> {
    if !SAMPLE_RATES.contains(&sample_rate) {
        return Err(SpeechError::RateOutOfRange(sample_rate));
    }
    if text.trim().is_empty() {
        return Err(SpeechError::EmptyText);
    }
    match text.chars().nth(MAX_TEXT_CHARS) {
        Some(_) => Err(SpeechError::TextTooLong),
        None => Ok(()),
    }
}

/// Runs work that keeps a core busy away from the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SpeechError> {
    tokio::task::spawn_blocking(work).await.map_err(engine)
}

/// Wraps a failure of the engine.
fn engine(reason: impl fmt::Display) -> SpeechError {
    SpeechError::Engine(reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_checked_before_any_engine_runs() {
        let long = "ä".repeat(MAX_TEXT_CHARS + 1);
        assert!(check(&long[2..], 8_000).is_ok());
        for (text, rate, field) in [
            ("", 8_000, "text: is empty"),
            (" \n\t", 8_000, "text: is empty"),
            (&long, 8_000, "at most 2000 characters"),
            ("hi", 7_999, "samplingRate: 7999"),
            ("hi", 48_001, "use 8000 to 48000"),
        ] {
            let error = check(text, rate).err();
            assert!(error.as_ref().is_some_and(SpeechError::is_request_fault));
            let shown = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(shown.contains(field), "{shown}");
        }
        assert!(!engine("x").is_request_fault());
    }

    #[tokio::test]
    async fn every_voice_speaks_at_every_rate() -> Result<(), SpeechError> {
        for voice in [Voice::Tone, Voice::detect()] {
            for rate in [8_000, 22_050, 48_000] {
                let samples = voice.speak("Hello, nice to meet you.", rate).await?;
                let seconds = samples.len() as f64 / f64::from(rate);
                assert!((0.5..5.0).contains(&seconds), "{}: {seconds}", voice.name());
                assert!(samples.iter().any(|sample| sample.unsigned_abs() > 1_000));
            }
            assert!(!voice.speak("-", 8_000).await?.is_empty());
        }
        Ok(())
    }

    #[tokio::test]
    async fn the_longest_text_stays_bounded() -> Result<(), SpeechError> {
        for text in ["a. ", "zzzz ", "."] {
            let text: String = text.chars().cycle().take(MAX_TEXT_CHARS).collect();
            let samples = Voice::Tone.speak(&text, 8_000).await?;
            assert!(samples.len() < 240 * 8_000, "{}", samples.len());
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_missing_engine_is_not_the_request_fault() {
        let gone = Voice::Espeak(PathBuf::from("/nonexistent/espeak-ng"));
        let error = gone.speak("hi", 8_000).await.err();
        assert!(error.is_some_and(|error| !error.is_request_fault()));
    }
}
