//! Colours of the commands' output.

use std::borrow::Cow;
use std::io;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// What a text means. Its colour only repeats what the text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// The title of a column.
    Heading,
    /// It was accepted, or counts.
    Good,
    /// It did not end as it should, or does not count yet.
    Warning,
    /// It was refused, or counts no more.
    Bad,
}

impl Tone {
    /// The tone of a decision or a state, by its first word.
    #[must_use]
    pub fn of_state(text: &str) -> Option<Self> {
        let word = text.split([' ', ':']).next().unwrap_or_default();
        match word {
            "accepted" | "active" => Some(Self::Good),
            "not" | "expires" => Some(Self::Warning),
            "refused" | "disabled" | "expired" | "revoked" => Some(Self::Bad),
            _ => None,
        }
    }

    /// The tone of a status of HTTP.
    #[must_use]
    pub fn of_status(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [b'4', _, _] => Some(Self::Warning),
            [b'5', _, _] => Some(Self::Bad),
            _ => None,
        }
    }

    fn style(self) -> Style {
        let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Self::Heading => Style::new().bold(),
            Self::Good => color(AnsiColor::Green),
            Self::Warning => color(AnsiColor::Yellow),
            Self::Bad => color(AnsiColor::Red),
        }
    }
}

/// Whether the output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Colors(bool);

impl Colors {
    /// No colours.
    pub const NONE: Self = Self(false);

    /// Colours, whatever the output is.
    pub const ALWAYS: Self = Self(true);

    /// Standard output is coloured if it is a terminal that has colours, unless `NO_COLOR` is set
    /// (<https://no-color.org>). `CLICOLOR=0` and `CLICOLOR_FORCE` count as well
    /// (<https://bixense.com/clicolors/>).
    #[must_use]
    pub fn of_stdout() -> Self {
        Self(AutoStream::choice(&io::stdout()) != ColorChoice::Never)
    }

    /// Whether there are any.
    #[must_use]
    pub fn any(self) -> bool {
        self.0
    }

    /// The text in the colour of this tone.
    #[must_use]
    pub fn paint<'t>(self, tone: Option<Tone>, text: &'t str) -> Cow<'t, str> {
        match tone.filter(|_| self.0 && !text.is_empty()) {
            Some(tone) => {
                let style = tone.style();
                format!("{style}{text}{style:#}").into()
            }
            None => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_and_the_status_have_colours() {
        let paint = |text| Colors::ALWAYS.paint(Tone::of_state(text), text);
        assert_eq!(paint("accepted"), "\u{1b}[32maccepted\u{1b}[0m");
        assert_eq!(
            paint("refused: no_rule"),
            "\u{1b}[31mrefused: no_rule\u{1b}[0m"
        );
        assert_eq!(paint("not yet valid"), "\u{1b}[33mnot yet valid\u{1b}[0m");
        assert_eq!(paint("acceptedly"), "acceptedly");
        let told = ["200", "404", "503", "-", "4xx4"].map(Tone::of_status);
        let expected = [None, Some(Tone::Warning), Some(Tone::Bad), None, None];
        assert_eq!(told, expected);
        assert_eq!(Colors::NONE.paint(Some(Tone::Bad), "x"), "x");
    }
}
