//! What a report stands on: the head of the chain, and the verdict about the log.

use std::fmt;
use std::path::PathBuf;

use crate::{VerifyOptions, verify};

use super::super::verify::verdict;

/// The verdict about a whole log.
pub(super) struct Basis {
    pub(super) verdict: String,
    pub(super) lines: u64,
    /// The chain of the last line.
    pub(super) chain: String,
}

impl Basis {
    /// Verifies the log in a directory. `None` for files and standard input, whose chain may begin
    /// anywhere.
    pub(super) fn of(paths: &[PathBuf]) -> Option<Self> {
        let [directory] = paths else {
            return None;
        };
        if !directory.is_dir() {
            return None;
        }
        let options = VerifyOptions::default();
        let report = verify(directory, &options, &mut |_| ());
        Some(Self {
            verdict: verdict(&report, &options),
            lines: report.end.lines,
            chain: report.end.chain.to_string(),
        })
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verdict,
            lines,
            chain,
        } = self;
        write!(f, "The log of {lines} lines is {verdict}. Chain: {chain}")
    }
}
