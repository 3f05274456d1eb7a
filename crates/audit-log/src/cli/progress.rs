//! How far something has come, on a terminal.

use std::io::{IsTerminal as _, Write};

/// How many characters the bar has.
const WIDTH: u64 = 40;

/// A bar that is drawn again and again in one line, if somebody can see it.
pub(super) struct ProgressBar<W> {
    out: Option<W>,
    shown: Option<u64>,
}

impl ProgressBar<std::io::Stderr> {
    /// On standard error, if that is a terminal.
    pub(super) fn on_stderr() -> Self {
        let stderr = std::io::stderr();
        let out = stderr.is_terminal().then_some(stderr);
        Self { out, shown: None }
    }
}

impl<W: Write> ProgressBar<W> {
    /// Draws it anew, if there is something new to see.
    pub(super) fn show(&mut self, done: u64, total: u64) {
        let percent = done.min(total).saturating_mul(100) / total.max(1);
        if self.shown == Some(percent) {
            return;
        }
        if let Some(out) = &mut self.out {
            let full = (percent * WIDTH / 100) as usize;
            let empty = WIDTH as usize - full;
            let (full, empty) = ("#".repeat(full), "-".repeat(empty));
            // A bar that cannot be drawn is no reason to stop.
            let _ = write!(out, "\r[{full}{empty}] {percent:3} %");
            let _ = out.flush();
        }
        self.shown = Some(percent);
    }

    /// Leaves an empty line.
    pub(super) fn clear(mut self) {
        if let Some(out) = &mut self.out
            && self.shown.is_some()
        {
            let _ = write!(out, "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_drawn_once_for_each_percent() {
        let mut text = Vec::new();
        let mut bar = ProgressBar {
            out: Some(&mut text),
            shown: None,
        };
        for done in 0..=1000 {
            bar.show(done, 1000);
        }
        bar.clear();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.matches('\r').count(), 102);
        assert!(text.contains("\r[####################--------------------]  50 %\r"));
        assert!(text.ends_with("[########################################] 100 %\r\u{1b}[K"));
    }

    #[test]
    fn nothing_to_do_is_done() {
        let mut text = Vec::new();
        let mut bar = ProgressBar {
            out: Some(&mut text),
            shown: None,
        };
        bar.show(0, 0);
        bar.show(u64::MAX, 1);
        assert!(String::from_utf8(text).unwrap().ends_with("100 %"));
    }
}
