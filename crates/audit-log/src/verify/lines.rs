//! What each line has to say, beyond that its chain is right.

use super::sequence::{Repeated, Sequence};
use super::walk::Walk;
use super::{VerifyOutcome, VerifyProblem};
use crate::chain::{Chain, Position};
use crate::checkpoint::Checkpoint;
use crate::loss::Loss;
use crate::names;
use crate::note::Note;
use crate::options::MAX_CHECKPOINT_LINES;
use crate::reading::Event;
use crate::record::{Follows, Open, Own};

impl Walk<'_> {
    pub(super) fn event(&mut self, event: &Event<'_>) -> Result<(), VerifyOutcome> {
        self.report.events += 1;
        if self.at.line == 1 || self.recoveries_due > 0 {
            return Err(self.tampered_event(
                event,
                "the segment does not begin with its `segment_open` line",
            ));
        }
        if event.instance != self.instance {
            return Err(self.tampered_event(event, "the line belongs to another instance"));
        }
        let place = (self.at.segment, self.at.line);
        let saw = event.seq.map(|seq| self.sequence.saw(seq, place));
        if saw == Some(Err(Repeated)) {
            return Err(self.tampered_event(event, "the `seq` appears twice"));
        }
        if let Some((from, to)) = event.lost {
            self.sequence.lost(from, to);
        }
        self.unsigned += 1;
        if self.not_signed.is_none() && (!self.signed_here || self.unsigned > MAX_CHECKPOINT_LINES)
        {
            let what = "no signed checkpoint covers this line, but one is required";
            let file = names::segment(self.at.segment);
            let problem = VerifyProblem::new(file, self.at.line, event.seq, what);
            self.not_signed = Some(problem);
        }
        Ok(())
    }

    pub(super) fn own(
        &mut self,
        own: Own,
        instance: String,
        time: &str,
        before: &Position,
    ) -> Result<(), VerifyOutcome> {
        match &mut self.report.period {
            Some((_, last)) => time.clone_into(last),
            None => self.report.period = Some((time.to_owned(), time.to_owned())),
        }
        let is_open = matches!(own, Own::Open(_));
        if is_open != (before.line == 0) {
            return Err(self.tampered("a segment begins with `segment_open`, and only it does"));
        }
        if !is_open && instance != self.instance {
            return Err(self.tampered("the line belongs to another instance"));
        }
        if matches!(own, Own::Recovery(_)) != (self.recoveries_due > 0) {
            return Err(self.tampered("`recovery` lines are missing here, or too many"));
        }
        match own {
            Own::Open(open) => self.opened(open, instance, before),
            Own::Seal { line, .. } if line == self.at.line => Ok(()),
            Own::Seal { .. } => Err(self.tampered("the seal counts other lines")),
            Own::Checkpoint { note } => {
                self.checkpoint(&note, time, before)?;
                self.needs_time_stamp(&note, time, before);
                Ok(())
            }
            Own::TimeStamp { lines, token } => self.time_stamp(lines, &token),
            Own::Recovery(recovery) => {
                self.recoveries_due -= 1;
                self.recovery(&recovery)
            }
            Own::Retention {
                from,
                to,
                lines,
                last,
            } => self.retention(from, to, lines, last),
            Own::Lost(loss) => self.loss(loss),
        }
    }

    fn opened(
        &mut self,
        open: Open,
        instance: String,
        before: &Position,
    ) -> Result<(), VerifyOutcome> {
        let is_first = open.segment == 1;
        if open.start() != *before {
            return Err(self.tampered("the segment does not belong here"));
        }
        if is_first != (open.follows == Follows::Nothing) {
            return Err(self.tampered("the segment says that none came before it"));
        }
        self.recoveries_due = open.recoveries;
        self.origins.insert(open.origin);
        if instance != self.instance {
            self.instance_ended();
            self.sequence = Sequence::from_start();
            self.instance = instance;
        }
        Ok(())
    }

    /// After this line no more of the instance's numbers come.
    pub(super) fn instance_ended(&mut self) {
        if let Some((from, to, (segment, line))) = self.sequence.hole() {
            let what = format!("before this line, `seq` {from} to {to} are missing");
            let problem = VerifyProblem::new(names::segment(segment), line, Some(to + 1), what);
            self.gap.get_or_insert(problem);
        }
    }

    fn checkpoint(
        &mut self,
        note: &str,
        time: &str,
        before: &Position,
    ) -> Result<(), VerifyOutcome> {
        self.report.checkpoints += 1;
        let parsed = Note::parse(note);
        let parsed = parsed.and_then(|note| Some((Checkpoint::parse(note.text)?, note)));
        let Some((checkpoint, note)) = parsed else {
            return Err(self.tampered("this is no checkpoint"));
        };
        let is_ours = self.origins.contains(&checkpoint.origin);
        if !is_ours || checkpoint != Checkpoint::new(&checkpoint.origin, before) {
            return Err(self.tampered("the checkpoint is not of this place"));
        }
        if self.options.keys.is_empty() {
            return Ok(());
        }
        let Some(signer) = note.signer(&self.options.keys) else {
            return Err(self.tampered("the checkpoint is not signed by a key that was given"));
        };
        self.report.signers.insert(signer.name_and_id());
        self.report.signed_lines = Some(before.lines);
        self.report.signed_until = Some(time.to_owned());
        self.unsigned = 0;
        self.signed_here = true;
        self.not_signed = None;
        Ok(())
    }

    fn retention(
        &mut self,
        from: u64,
        to: u64,
        lines: u64,
        last: Chain,
    ) -> Result<(), VerifyOutcome> {
        if from > to || to >= self.at.segment {
            return Err(self.tampered("the line says that segments were deleted that were not"));
        }
        if to > self.deleted {
            (self.deleted, self.deleted_lines) = (to, lines);
        }
        match self.ends.get(&to) {
            Some(end) if (end.lines, end.chain) != (lines, last) => {
                Err(self.tampered("the segments that it says were deleted ended otherwise"))
            }
            _ => Ok(()),
        }
    }

    fn loss(&mut self, loss: Loss) -> Result<(), VerifyOutcome> {
        if loss.from > loss.to || loss.to >= self.at.segment {
            return Err(self.tampered("the line says that segments are lost that are not"));
        }
        if let Some((first, last)) = loss.seqs {
            self.sequence.lost(first, last);
        }
        if !self.losses.contains(&loss) {
            self.losses.push(loss);
        }
        Ok(())
    }

    fn tampered_event(&self, event: &Event<'_>, what: &str) -> VerifyOutcome {
        let file = names::segment(self.at.segment);
        VerifyOutcome::Tampered(VerifyProblem::new(file, self.at.line, event.seq, what))
    }
}
