//! What a vendor says that it charges.

use std::sync::Arc;

use voxgate_speech::AnswerField;

/// Greater numbers than any charge are mistakes.
const GREATEST: f64 = 1e15;

/// What the answers of a vendor say that it charges for a request. Nothing decides by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Billed {
    /// Characters, rounded up.
    pub characters: Option<u64>,
    /// Audio in milliseconds.
    pub audio_ms: Option<u64>,
    /// The price in millionths of the currency.
    pub cost_micros: Option<u64>,
    /// The code of the currency (ISO 4217).
    pub currency: Option<Arc<str>>,
}

impl Billed {
    /// Adds what a vendor wrote at a place of its answer. What is not understood is left out.
    pub fn add(&mut self, field: AnswerField, text: &str) {
        if field == AnswerField::Currency {
            let is_code = text.len() == 3 && text.bytes().all(|it| it.is_ascii_uppercase());
            if is_code {
                self.currency = Some(text.into());
            }
            return;
        }
        let number = text.trim().parse::<f64>().ok();
        let Some(number) = number.filter(|number| (0.0..GREATEST).contains(number)) else {
            return;
        };
        let (sum, number) = match field {
            AnswerField::Characters => (&mut self.characters, number.ceil()),
            AnswerField::AudioSeconds => (&mut self.audio_ms, (number * 1_000.0).round()),
            AnswerField::CostCents => (&mut self.cost_micros, (number * 10_000.0).round()),
            _ => return,
        };
        // The number is a whole one between zero and `GREATEST * 10_000`.
        *sum = Some(sum.unwrap_or(0).saturating_add(number as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_are_summed_and_nonsense_is_left_out() {
        let mut billed = Billed::default();
        for text in ["12", "0.5", "-1", "NaN", "inf", "1e300", "", "a"] {
            billed.add(AnswerField::Characters, text);
        }
        assert_eq!(billed.characters, Some(13));
        billed.add(AnswerField::AudioSeconds, "1.25");
        billed.add(AnswerField::CostCents, "0.35");
        for text in ["EUR", "eur", "EURO", "\u{e9}R"] {
            billed.add(AnswerField::Currency, text);
        }
        assert_eq!(billed.audio_ms, Some(1_250));
        assert_eq!(billed.cost_micros, Some(3_500));
        assert_eq!(billed.currency.as_deref(), Some("EUR"));
    }
}
