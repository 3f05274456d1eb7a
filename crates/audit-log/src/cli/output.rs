//! Standard output.

use std::io::{self, BufWriter, IsTerminal as _, StdoutLock};

use rustix::termios::tcgetwinsize;
use voxgate_terminal::color::Colors;

/// Buffered standard output. It is written when it is flushed.
pub(super) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// Whether standard output has colours.
pub(super) fn colors() -> Colors {
    Colors::of_stdout()
}

pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Returns the width of the terminal, if there is one.
pub(super) fn terminal_width() -> Option<usize> {
    let size = is_terminal().then(|| tcgetwinsize(io::stdout()).ok());
    let width = usize::from(size.flatten()?.ws_col);
    (width > 0).then_some(width)
}
