//! Redacted lines, and whether a key stands for them.

use super::walk::Walk;
use super::{Redaction, VerifyOutcome, VerifyProblem};
use crate::names;
use crate::redaction::{Redactions, Unusable};
use crate::scan::{End, Scan};

impl Walk<'_> {
    /// The list of redacted lines of a segment, if it has one.
    pub(super) fn redactions(&self, segment: u64) -> Result<Option<Redactions>, VerifyOutcome> {
        let problem =
            |line, what: String| VerifyProblem::new(names::redactions(segment), line, None, what);
        match Redactions::load(&self.path(segment)) {
            Ok(redactions) => Ok(redactions),
            Err(Unusable::Io(error)) => {
                Err(VerifyOutcome::Unreadable(problem(1, error.to_string())))
            }
            Err(Unusable::Invalid(invalid)) => Err(VerifyOutcome::Tampered(problem(
                invalid.line,
                "the list of redacted lines is not what was written".to_owned(),
            ))),
        }
    }

    /// A segment was read: whether its redactions are of this log, and signed.
    pub(super) fn redacted(&mut self, scan: &Scan, ended: End) -> Result<(), VerifyOutcome> {
        let Some(redactions) = scan.redactions() else {
            return Ok(());
        };
        let segment = self.at.segment;
        let mut lines = 0;
        for (statement, used) in redactions.statements.iter().zip(&redactions.used) {
            let tampered = |what: &str| {
                let file = names::redactions(segment);
                let problem = VerifyProblem::new(file, statement.last_line, None, what);
                Err(VerifyOutcome::Tampered(problem))
            };
            if statement.segment != segment || !self.origins.contains(&statement.origin) {
                return tampered("the redaction is of another segment or log");
            }
            let signer = statement.signer(&self.options.keys);
            if signer.is_none() && !self.options.keys.is_empty() {
                return tampered("the redaction is not signed by a key that was given");
            }
            lines += used;
            let redacted = &mut self.report.redacted;
            redacted.lines += used;
            redacted.unproven += if signer.is_none() { *used } else { 0 };
            let found = Redaction {
                time: statement.time.clone(),
                by: statement.by.clone(),
                reason: statement.reason.clone(),
                signer: signer.map(crate::VerifierKey::name_and_id),
                lines: 0,
            };
            // One redaction has a statement in each segment that it changed.
            let is_same = |it: &&mut Redaction| {
                let of = |it: &Redaction| (it.time.clone(), it.by.clone(), it.reason.clone());
                of(it) == of(&found) && it.signer == found.signer
            };
            match redacted.redactions.iter_mut().find(is_same) {
                Some(same) => same.lines += used,
                None => redacted.redactions.push(Redaction {
                    lines: *used,
                    ..found
                }),
            }
        }
        if ended == End::Whole {
            self.report.redacted.pending += redactions.lines().saturating_sub(lines);
        }
        Ok(())
    }

    /// The log was read to its end.
    pub(super) fn redacted_end(&mut self) {
        let redacted = &mut self.report.redacted;
        redacted.redactions.sort();
        if redacted.pending > 0 {
            self.report.notes.push(format!(
                "{} lines are named as redacted and still have their text: run `voxgate audit \
                 redact` again",
                redacted.pending
            ));
        }
        for name in names::all_unfinished(self.directory).unwrap_or_default() {
            self.report.notes.push(format!(
                "{name}: a redaction was interrupted; the file can contain the text that was \
                 removed: run `voxgate audit redact` again, which removes it"
            ));
        }
    }
}
