//! A copy on standard output, beside the files.

use std::fs::File;
use std::io;

use voxgate::audit::{Output as _, StreamOutput};

use super::courier::{Deliver, Failure};

/// Standard output. A reader that does not read keeps this copy's thread, and nobody else.
pub(super) struct Stdout(StreamOutput<File>);

impl Stdout {
    pub(super) fn new() -> io::Result<Self> {
        crate::auditing::stdout().map(StreamOutput::new).map(Self)
    }
}

impl Deliver for Stdout {
    fn deliver(&mut self, lines: &str) -> Result<u64, Failure> {
        self.0.write(lines)?;
        Ok(0)
    }
}
