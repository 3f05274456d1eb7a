//! Checkpoints from another place, each looked for where it must be in the log.

use std::collections::BTreeSet;

use crate::chain::Position;
use crate::checkpoint::{Checkpoints, Kept};
use crate::names;
use crate::note::VerifierKey;

use super::{VerifyOutcome, VerifyProblem};

/// What the checkpoints' file is called in a [`VerifyProblem`].
const FILE: &str = "checkpoints";

/// The checkpoints, by the number of lines before them.
pub(super) struct Marks {
    kept: Vec<Kept>,
    /// Where the log is at each of them, as far as it was read.
    /// `None` for a checkpoint of lines that are lost.
    found: Vec<Option<Mark>>,
    /// Checkpoints of lines that were deleted before.
    skipped: usize,
}

/// A place in the log, and the time of the log's own line before it.
struct Mark {
    place: Position,
    time: String,
}

/// What the comparison has shown.
pub(super) struct Compared {
    pub(super) matching: u64,
    /// The lines before the last matching one, and the time of the log's own line before it.
    pub(super) proven: Option<(u64, String)>,
    /// Those of lines that were deleted before.
    pub(super) earlier: u64,
    /// Those of lines that are lost.
    pub(super) lost: u64,
}

impl Marks {
    pub(super) fn new(checkpoints: &Checkpoints) -> Self {
        let mut kept = checkpoints.0.clone();
        kept.sort_by_key(|kept| kept.checkpoint.lines);
        Self {
            kept,
            found: Vec::new(),
            skipped: 0,
        }
    }

    /// The log begins here.
    pub(super) fn begin(&mut self, at: &Position, time: &str) {
        let earlier = |kept: &&Kept| kept.checkpoint.lines < at.lines;
        self.skipped = self.kept.iter().take_while(earlier).count();
        self.pass(at, time);
    }

    /// The log goes on from here. `time` is that of the log's own line before.
    pub(super) fn pass(&mut self, at: &Position, time: &str) {
        while let Some(next) = self.kept.get(self.skipped + self.found.len())
            && next.checkpoint.lines == at.lines
        {
            self.found.push(Some(Mark {
                place: *at,
                time: time.to_owned(),
            }));
        }
    }

    /// The log goes on from here, and what is before it is lost.
    pub(super) fn skip(&mut self, at: &Position, time: &str) {
        while let Some(next) = self.kept.get(self.skipped + self.found.len())
            && next.checkpoint.lines < at.lines
        {
            self.found.push(None);
        }
        self.pass(at, time);
    }

    /// Compares, when the log has been read to its end.
    pub(super) fn compare(
        self,
        end: &Position,
        origins: &BTreeSet<String>,
        keys: &[VerifierKey],
    ) -> Result<Compared, VerifyOutcome> {
        let is_ours = |kept: &Kept| origins.contains(&kept.checkpoint.origin);
        let mut cut = None;
        let mut compared = Compared {
            matching: 0,
            proven: None,
            earlier: 0,
            lost: 0,
        };
        for (at, kept) in self
            .kept
            .iter()
            .enumerate()
            .filter(|(_, kept)| is_ours(kept))
        {
            if !keys.is_empty() && !kept.is_signed_by(keys) {
                let what = "this checkpoint is not signed by a key that was given";
                let problem = VerifyProblem::new(FILE.to_owned(), kept.line, None, what);
                return Err(VerifyOutcome::Tampered(problem));
            }
            let checkpoint = &kept.checkpoint;
            let Some(at) = at.checked_sub(self.skipped) else {
                compared.earlier += 1;
                continue;
            };
            match self.found.get(at) {
                Some(None) => compared.lost += 1,
                Some(Some(mark)) if mark.place.chain == checkpoint.chain => {
                    compared.matching += 1;
                    compared.proven = Some((checkpoint.lines, mark.time.clone()));
                }
                Some(Some(Mark { place, .. })) => {
                    let what = format!(
                        "the checkpoint of {} lines has another chain: this line, or one before \
                         it, was changed after it had been signed",
                        checkpoint.lines
                    );
                    let file = names::segment(place.segment);
                    return Err(VerifyOutcome::Tampered(VerifyProblem::new(
                        file, place.line, None, what,
                    )));
                }
                None => cut = Some(checkpoint),
            }
        }
        let file = names::segment(end.segment);
        let short = |what: String| {
            let problem = VerifyProblem::new(file, end.line + 1, None, what);
            Err(VerifyOutcome::Cut(problem))
        };
        match cut {
            Some(checkpoint) => short(format!(
                "the log ends after {} lines; at a checkpoint it had {}",
                end.lines, checkpoint.lines
            )),
            None if !self.kept.iter().any(is_ours) => {
                short("none of the checkpoints is of this log".to_owned())
            }
            None => Ok(compared),
        }
    }
}
