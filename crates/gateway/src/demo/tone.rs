//! The voice of the sample server: one soft tone per syllable.
//!
//! The voice has the rhythm of speech: about [`LETTER_MILLIS`] per letter, pauses between words and
//! sentences, and a pitch that depends on the letters and falls at the end of a sentence. The same
//! text always gives the same samples.

/// How long one letter sounds.
const LETTER_MILLIS: u32 = 60;
/// Frequency of the lowest note in hertz.
const BASE_HERTZ: f32 = 165.0;
/// Notes a syllable can have, in semitones above the base (a pentatonic scale).
const SCALE: [f32; 6] = [0.0, 2.0, 4.0, 7.0, 9.0, 12.0];
/// Strength of the first harmonics; the sum keeps the signal below full scale.
const HARMONICS: [f32; 4] = [0.34, 0.16, 0.08, 0.03];
/// Longest attack in milliseconds.
const ATTACK_MILLIS: f32 = 18.0;

/// A stretch of the melody.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Beat {
    /// A syllable.
    Note {
        /// How many letters it has.
        letters: u32,
        /// Its pitch above the base.
        semitones: f32,
    },
    /// Silence in milliseconds.
    Rest(u32),
}

/// Renders `text` as samples at `sample_rate`.
pub(super) fn render(text: &str, sample_rate: u32) -> Vec<i16> {
    let mut samples = Vec::new();
    for beat in score(text) {
        match beat {
            Beat::Rest(millis) => {
                samples.resize(samples.len() + count(millis, sample_rate), 0);
            }
            Beat::Note { letters, semitones } => {
                let length = count(letters.saturating_mul(LETTER_MILLIS), sample_rate);
                let hertz = BASE_HERTZ * (semitones / 12.0).exp2();
                samples.extend((0..length).map(|at| sample(at, length, hertz, sample_rate)));
            }
        }
    }
    samples
}

/// Number of samples in `millis` milliseconds.
fn count(millis: u32, sample_rate: u32) -> usize {
    usize::try_from(u64::from(millis) * u64::from(sample_rate) / 1000).unwrap_or_default()
}

/// One sample of a note: harmonics under a soft attack and a long decay.
fn sample(at: usize, length: usize, hertz: f32, sample_rate: u32) -> i16 {
    let rate = sample_rate as f32;
    let (now, whole) = (at as f32 / rate, length as f32 / rate);
    let attack = (ATTACK_MILLIS / 1000.0).min(whole / 4.0);
    let rising = (now / attack).min(1.0);
    let falling = ((whole - now) / (whole - attack)).clamp(0.0, 1.0);
    let envelope = (rising * std::f32::consts::FRAC_PI_2).sin().powi(2) * falling.sqrt();
    let turn = std::f32::consts::TAU * hertz * now;
    let wave: f32 = (1u8..)
        .zip(HARMONICS)
        .map(|(order, strength)| strength * (turn * f32::from(order)).sin())
        .sum();
    // A float to integer cast saturates, so this cannot wrap.
    (wave * envelope * f32::from(i16::MAX)) as i16
}

/// Turns text into beats: syllables, and at most one rest between two of them.
fn score(text: &str) -> Vec<Beat> {
    let mut beats = Vec::new();
    for word in text.split_whitespace() {
        let mut syllable = Syllable::default();
        for letter in word.chars().filter(|letter| letter.is_alphanumeric()) {
            if syllable.ends_before(letter) {
                beats.extend(std::mem::take(&mut syllable).note(0.0));
            }
            syllable.push(letter);
        }
        let (millis, bend) = match word.chars().next_back() {
            Some('.' | '!' | '…') => (260, -3.0),
            Some('?') => (260, 4.0),
            Some(',' | ';' | ':') => (150, 0.0),
            _ => (70, 0.0),
        };
        beats.extend(syllable.note(bend));
        match beats.last_mut() {
            Some(Beat::Rest(rest)) => *rest = (*rest).max(millis),
            _ => beats.push(Beat::Rest(millis)),
        }
    }
    beats
}

/// Letters collected for the next note.
#[derive(Debug, Default)]
struct Syllable {
    /// How many there are.
    letters: u32,
    /// A checksum over them, which selects the note.
    sum: u32,
    /// Whether one of them is a vowel.
    has_vowel: bool,
}

impl Syllable {
    /// Adds a letter.
    fn push(&mut self, letter: char) {
        self.letters += 1;
        self.sum = self.sum.wrapping_mul(31).wrapping_add(u32::from(letter));
        self.has_vowel |= is_vowel(letter);
    }

    /// Whether `letter` starts a new syllable: a consonant after a vowel, or a
    /// syllable that is long enough already.
    fn ends_before(&self, letter: char) -> bool {
        self.letters >= 5 || (self.letters >= 2 && self.has_vowel && !is_vowel(letter))
    }

    /// The note for the letters collected so far, if there are any.
    fn note(self, bend: f32) -> Option<Beat> {
        let index = self.sum as usize % SCALE.len();
        let semitones = SCALE.get(index).copied().unwrap_or_default() + bend;
        let letters = self.letters;
        (letters > 0).then_some(Beat::Note { letters, semitones })
    }
}

/// Whether a letter carries a syllable in most Latin spellings.
fn is_vowel(letter: char) -> bool {
    "aeiouyäöüáéíóúàèìòùâêîôûåæø".contains(letter.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_syllables_and_rests() {
        let beats = score("Hello,  world!?");
        let letters: Vec<_> = beats
            .iter()
            .map(|beat| match beat {
                Beat::Note { letters, .. } => *letters,
                Beat::Rest(millis) => *millis,
            })
            .collect();
        assert_eq!(letters, [2, 3, 150, 2, 3, 260]);
        assert_eq!(score("-- ... --"), [Beat::Rest(260)]);
        assert!(score(" \n").is_empty());
    }

    #[test]
    fn length_follows_the_letters_at_every_rate() {
        for rate in [8_000, 22_050, 48_000] {
            let millis = 10 * LETTER_MILLIS + 150 + 260;
            let wanted = millis as usize * rate as usize / 1000;
            let got = render("Hello, world!", rate).len();
            assert!(got.abs_diff(wanted) < 10, "{rate}: {got} for {wanted}");
        }
    }

    #[test]
    fn sound_is_deterministic_soft_edged_and_below_full_scale() {
        let samples = render("Hallo Welt, wie geht es dir?", 24_000);
        assert!(samples == render("Hallo Welt, wie geht es dir?", 24_000));
        let peak = samples.iter().map(|sample| sample.unsigned_abs()).max();
        assert!(
            peak.is_some_and(|peak| (8_000..24_000).contains(&peak)),
            "{peak:?}"
        );
        let steepest = samples.windows(2).map(|pair| pair[0].abs_diff(pair[1]));
        assert!(steepest.max() < Some(3_000), "an audible click");
        assert!(render("one", 8_000) != render("tea", 8_000));
    }
}
