//! How hard a secret is to guess.

use std::collections::HashSet;

/// Below this a secret is worth a warning: a person made it, or it is too short.
const STRONG_BITS: f64 = 128.0;
/// So many letters in a row that are all small are a word, not chance.
const WORD: usize = 6;
const BITS_PER_LETTER_OF_A_WORD: f64 = 2.0;
/// Random text repeats itself, too; this much of it is not held against it.
const CHANCE: f64 = 0.6;

/// Whether `secret` has clearly less than 128 bits of randomness.
///
/// An estimate from above: each character counts as much as the alphabet that the whole seems to
/// be drawn from, one of words counts as in English, and whatever repeats itself counts less.
/// Random bytes as hexadecimal digits or base64 count as what they are.
pub(crate) fn is_weak(secret: &str) -> bool {
    let letters = secret.as_bytes();
    let character = f64::from(alphabet(letters)).log2();
    let runs = letters.chunk_by(|_, next| next.is_ascii_lowercase());
    let words: usize = runs.map(<[u8]>::len).filter(|length| *length >= WORD).sum();
    // Chance makes a word now and then, but not half of a secret.
    let words = if 2 * words >= letters.len() { words } else { 0 };
    let others = (letters.len() - words) as f64;
    let bits = others * character + words as f64 * BITS_PER_LETTER_OF_A_WORD;
    bits * variety(letters) < STRONG_BITS
}

/// How many different characters there might have been in each place.
fn alphabet(letters: &[u8]) -> u32 {
    let has = |class: fn(&u8) -> bool| letters.iter().any(class);
    let digits = |least: u8| {
        move |byte: &u8| {
            byte.is_ascii_digit() || (least..=least + 5).contains(byte) || *byte == b'-'
        }
    };
    if letters.iter().all(u8::is_ascii_digit) {
        return 10;
    }
    if letters.iter().all(digits(b'a')) || letters.iter().all(digits(b'A')) {
        return 16;
    }
    [
        (26, has(u8::is_ascii_lowercase)),
        (26, has(u8::is_ascii_uppercase)),
        (10, has(u8::is_ascii_digit)),
        (2, has(u8::is_ascii_punctuation)),
    ]
    .into_iter()
    .filter_map(|(size, used)| used.then_some(size))
    .sum()
}

/// How many different pairs of neighbours there are, out of as many as there would be by chance.
/// A step to the next letter, as in `abc` or `123`, is one pair wherever it is.
fn variety(letters: &[u8]) -> f64 {
    let pairs = letters.windows(2);
    let count = pairs.len() as f64;
    let different: HashSet<(u8, u8)> = pairs
        .map(|pair| match pair[1].wrapping_sub(pair[0]) {
            step @ (0 | 1 | 255) => (0, step),
            _ => (pair[0], pair[1]),
        })
        .collect();
    (different.len() as f64 / (count.max(1.0) * CHANCE)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    #[test]
    fn what_people_make_up_is_weak() {
        for secret in [
            "1234567890123456",
            "a-secret-of-a-person",
            "correct-horse-battery-staple",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "0123456789abcdef0123456789abcdef",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "secret-secret-secret-secret-secret-secret",
            "password-of-our-production-system",
            "qX7-short-random",
        ] {
            assert!(is_weak(secret), "{secret}");
        }
    }

    /// 128 random bits are strong in every usual form, but for one in many by bad luck.
    #[test]
    fn what_is_random_is_strong() {
        let mut weak = 0;
        for _ in 0..1000 {
            let mut random = [0; 32];
            getrandom::fill(&mut random).expect("randomness");
            let hexadecimal: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            let forms = [
                hexadecimal[..40].to_owned(),
                hexadecimal,
                URL_SAFE_NO_PAD.encode(random),
                URL_SAFE_NO_PAD.encode(&random[..18]),
            ];
            weak += forms.iter().filter(|form| is_weak(form)).count();
        }
        assert!(weak < 10, "{weak} of 4000");
    }
}
