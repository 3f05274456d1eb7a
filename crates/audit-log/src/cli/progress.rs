//! A progress bar on a terminal.

use std::io::{IsTerminal as _, Write};

/// Width of the bar in characters.
const WIDTH: u64 = 40;

/// A bar that is redrawn in one line, if the output is a terminal.
pub(super) struct ProgressBar<W> {
    out: Option<W>,
    shown: Option<u64>,
}

impl ProgressBar<std::io::Stderr> {
    /// Returns a bar that writes to standard error, if that is a terminal.
    pub(super) fn on_stderr() -> Self {
        let stderr = std::io::stderr();
        let out = stderr.is_terminal().then_some(stderr);
        Self { out, shown: None }
    }
}

impl<W: Write> ProgressBar<W> {
    /// Redraws the bar if its percentage has changed.
    pub(super) fn show(&mut self, done: u64, total: u64) {
        let percent = done.min(total).saturating_mul(100) / total.max(1);
        if self.shown == Some(percent) {
            return;
        }
        if let Some(out) = &mut self.out {
            let full = (percent * WIDTH / 100) as usize;
            let empty = WIDTH as usize - full;
            let (full, empty) = ("#".repeat(full), "-".repeat(empty));
            // The command continues if the bar cannot be drawn.
            let _ = write!(out, "\r[{full}{empty}] {percent:3} %");
            let _ = out.flush();
        }
        self.shown = Some(percent);
    }

    /// Clears the line.
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
    fn the_bar_is_drawn_once_for_each_percent() {
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
    fn a_total_of_zero_is_complete() {
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
