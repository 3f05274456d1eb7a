//! A tamper-evident audit log in a directory of files.
//!
//! Each line is a JSON object that carries a hash of all lines before it. A [`Log`] writes the
//! lines into segments, which it never rewrites, and adds signed checkpoints. [`verify()`] reads
//! the directory and reports the first line that was changed, removed or added.
//! `docs/reference/audit-log.md` in the repository specifies the format.
//!
//! # Example
//!
//! Open a log, append a line, sync it, and verify the directory against the checkpoints that were
//! kept in another place:
//!
//! ```
//! use std::sync::mpsc;
//! use std::time::SystemTime;
//!
//! use voxgate_audit_log::{
//!     Checkpoints, Log, LogOptions, Signer, VerifyOptions, VerifyOutcome, verify,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let parent = tempfile::tempdir()?;
//! # let directory = parent.path().join("audit");
//! let signer = Signer::new("voxgate.example/key", &[7; 32])?; // take the seed from a secret store
//! let public_key = signer.verifier();
//! let (sender, notes) = mpsc::channel();
//!
//! let mut options = LogOptions::new(&directory, "start-1", "voxgate.example/audit");
//! options.signer = Some(signer);
//! options.on_checkpoint = Some(Box::new(move |note| {
//!     let _ = sender.send(note.to_owned());
//! }));
//! # options.least_space_bytes = 0;
//! let (mut log, _recovered) = Log::open(options, SystemTime::now())?;
//!
//! let line = br#"{"v":1,"seq":1,"instance":"start-1","event":"start"}"#;
//! log.append(&[line], SystemTime::now())?;
//! log.sync(SystemTime::now())?; // the line is on the disk
//! log.close(SystemTime::now())?; // writes the last checkpoint and seals the segment
//!
//! let notes: Vec<String> = notes.iter().collect();
//! let mut options = VerifyOptions::default();
//! options.checkpoints = Some(Checkpoints::parse(&notes.join("\n"))?);
//! options.keys.push(public_key);
//! let report = verify(&directory, &options, &mut |_progress| {});
//! assert_eq!(report.outcome, VerifyOutcome::Whole);
//! assert_eq!(report.events, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `time-stamp`: requests to time-stamp authorities (RFC 3161), and the check of their answers.
//! - `cli`: the `voxgate audit` commands, in the module `cli`, for a program built with `clap`.

#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod chain;
mod checkpoint;
#[cfg(feature = "cli")]
#[cfg_attr(docsrs, doc(cfg(feature = "cli")))]
pub mod cli;
mod content;
mod disk;
mod fields;
mod loss;
mod names;
mod note;
mod options;
mod pending;
mod reading;
mod record;
mod recover;
mod redaction;
mod retention;
mod scan;
mod segment;
mod time_stamp;
mod timestamp;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use self::chain::{Chain, Position};
pub use self::checkpoint::{Checkpoints, InvalidCheckpoints};
pub use self::disk::{Disk, FileIdentity, LocalDisk, SegmentFile};
pub use self::loss::{Loss, LossCause};
pub use self::note::{Signer, VerifierKey};
pub use self::options::{
    InvalidKey, InvalidLine, LogError, LogEvent, LogOptions, MAX_CHECKPOINT_LINES, MAX_LINE_BYTES,
    OnCheckpoint, OnEvent, Retention,
};
pub use self::recover::Recovered;
pub use self::redaction::{
    REDACTABLE_FIELDS, RedactError, RedactOptions, RedactReport, Redactable, redact,
};
pub use self::time_stamp::{
    CheckTimeStamp, InvalidTimeStamp, MAX_TOKEN_BYTES, RequiredTimeStamps, TimeStamp,
};
#[cfg(feature = "time-stamp")]
#[cfg_attr(docsrs, doc(cfg(feature = "time-stamp")))]
pub use self::time_stamp::{TimeStampAuthority, TimeStampRequest};
pub use self::verify::{
    Redacted, Redaction, VerifyOptions, VerifyOutcome, VerifyProblem, VerifyProgress, VerifyReport,
    verify,
};
pub use self::writer::{AppendError, DiskSpace, Log, LogStatus};
