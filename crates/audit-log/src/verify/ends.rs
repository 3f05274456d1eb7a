//! How a segment ended, by what the next one says of it, and how the log ended.

use std::fs;
use std::io;
use std::path::Path;

use super::walk::Walk;
use super::{VerifyOutcome, VerifyProblem};
use crate::content::sha256;
use crate::names;
use crate::record::{Follows, Recovery};
use crate::scan::{End, Header};

impl Walk<'_> {
    /// A segment that was read up to where the next one says that it ends.
    pub(super) fn closed(
        &mut self,
        next: &Header,
        ended: End,
        sealed: bool,
    ) -> Result<(), VerifyOutcome> {
        if next.open.follows == Follows::Lost {
            return self.lost_end(next);
        }
        if let End::Damaged(seq) | End::Torn(seq) = ended {
            return Err(self.damaged(seq));
        }
        let length = self.length(&self.path(self.at.segment))?;
        let line = self.at.line + 1;
        let tampered = |what: &str| Err(self.tampered_at(self.at.segment, line, what));
        if self.at.bytes < next.open.end {
            return tampered("the end of the segment is missing");
        }
        if sealed != (next.open.follows == Follows::Sealed) {
            return tampered("the next segment says that this one ended in another way");
        }
        let rest = length.saturating_sub(self.at.bytes);
        match next.open.follows {
            Follows::Damaged => tampered("the segment was found damaged at this line"),
            Follows::Failed => {
                if rest > 0 {
                    self.report.notes.push(format!(
                        "{}: the last {rest} bytes are no part of the log: the disk failed, and \
                         what was in them and not synced is in the next segment again",
                        names::segment(self.at.segment)
                    ));
                }
                Ok(())
            }
            Follows::Unsealed if rest > 0 && !self.is_torn_here(next, rest) => {
                tampered("there are lines after the end of the segment")
            }
            Follows::Unsealed => {
                self.in_place = (rest > 0).then_some(self.at.segment);
                Ok(())
            }
            Follows::Nothing | Follows::Sealed | Follows::Lost if rest == 0 => Ok(()),
            Follows::Nothing | Follows::Sealed | Follows::Lost => {
                tampered("there are lines after the seal")
            }
        }
    }

    /// Whether the rest of this segment is what the next one says was left by a crash.
    fn is_torn_here(&self, next: &Header, rest: u64) -> bool {
        let path = self.path(self.at.segment);
        next.torn().is_some_and(|torn| {
            let place = (torn.offset, torn.bytes) == (self.at.bytes, rest);
            place && sha256(&path, torn.offset).is_ok_and(|hash| hash == torn.sha256)
        })
    }

    /// What a crash has left must still be there: where it was, or in the file it was copied to.
    pub(super) fn recovery(&mut self, torn: &Recovery) -> Result<(), VerifyOutcome> {
        let deleted = torn.segment < self.report.first_segment;
        if torn.file.is_empty() || deleted || self.in_place == Some(torn.segment) {
            return Ok(());
        }
        let name = Path::new(&torn.file).file_name().unwrap_or_default();
        let path = self.directory.join(name);
        let is_whole = || -> io::Result<bool> {
            let length = fs::metadata(&path)?.len();
            Ok(length == torn.bytes && sha256(&path, 0)? == torn.sha256)
        };
        let problem = |what: String| VerifyProblem::new(torn.file.clone(), 1, None, what);
        match is_whole() {
            Ok(true) => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(VerifyOutcome::Unreadable(problem(error.to_string())));
            }
            Ok(false) | Err(_) => {
                let what = "what was torn off here is no longer what it was, or is missing";
                return Err(VerifyOutcome::Tampered(problem(what.to_owned())));
            }
        }
        self.report.notes.push(format!(
            "{}: {} bytes of an interrupted write are no part of the log, and in {}",
            names::segment(torn.segment),
            torn.bytes,
            torn.file
        ));
        Ok(())
    }

    /// The verdict on a log that was read to its end.
    pub(super) fn conclude(&mut self) -> Result<(), VerifyOutcome> {
        let missing = self.missing(true)?;
        if let Some(problem) = self
            .not_signed
            .take()
            .filter(|_| !self.options.keys.is_empty())
        {
            return Err(VerifyOutcome::Tampered(problem));
        }
        self.time_stamps_end()?;
        if let Some(marks) = self.marks.take() {
            let compared = marks.compare(&self.at, &self.origins, &self.options.keys)?;
            self.report.compared = compared.matching;
            self.report.proven = compared.proven;
            if compared.earlier > 0 {
                self.report.notes.push(format!(
                    "{} checkpoints are of lines that have been deleted since",
                    compared.earlier
                ));
            }
            if compared.lost > 0 {
                self.report.notes.push(format!(
                    "{} checkpoints are of lines that are lost",
                    compared.lost
                ));
            }
        }
        self.instance_ended();
        if let Some(problem) = missing.or(self.gap.take()) {
            return Err(VerifyOutcome::Gap(problem));
        }
        if let Some(problem) = self.torn() {
            return Err(VerifyOutcome::Torn(problem));
        }
        Ok(())
    }

    fn length(&self, path: &Path) -> Result<u64, VerifyOutcome> {
        let metadata = fs::metadata(path).map_err(|error| self.unreadable(error))?;
        Ok(metadata.len())
    }
}
