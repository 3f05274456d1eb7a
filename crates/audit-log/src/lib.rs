//! The audit log's files: lines that are chained to each other, in segments that are never
//! rewritten, with signed checkpoints, and what verifies them.
//!
//! A [`Log`] takes lines of JSON, adds the chain, and says when they are on the disk;
//! [`verify()`] reads a directory again. The format is described in `docs/reference/audit-log.md`.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod chain;
mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
mod content;
mod disk;
mod fields;
mod names;
mod note;
mod options;
mod pending;
mod reading;
mod record;
mod recover;
mod retention;
mod scan;
mod segment;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use self::chain::{Chain, Position};
pub use self::checkpoint::{Checkpoints, InvalidCheckpoints};
pub use self::disk::{Disk, LocalDisk, SegmentFile};
pub use self::note::{Signer, VerifierKey};
pub use self::options::{
    InvalidKey, InvalidLine, LogError, LogOptions, MAX_CHECKPOINT_LINES, MAX_LINE_BYTES,
    OnCheckpoint, Retention,
};
pub use self::recover::Recovered;
pub use self::verify::{Outcome, Problem, Progress, Report, VerifyOptions, verify};
pub use self::writer::{Log, Rejected, Space, Status};
