//! The sink on standard output, beside the files.

use std::fs::File;
use std::io;

use voxgate::audit::{Output as _, StreamOutput};

use super::worker::{DeliveryError, Sink};

/// Writes to standard output. A pipe that is not read blocks only this sink's worker.
pub(super) struct StdoutSink(StreamOutput<File>);

impl StdoutSink {
    pub(super) fn new() -> io::Result<Self> {
        crate::auditing::stdout().map(StreamOutput::new).map(Self)
    }
}

impl Sink for StdoutSink {
    fn deliver(&mut self, lines: &str) -> Result<u64, DeliveryError> {
        self.0.write(lines)?;
        Ok(0)
    }
}
