//! Removes text from records of closed segments.
//!
//! For each segment, the list of redacted lines is replaced first: until the segment is replaced,
//! too, its lines still are what the chain was made of. Both are written to other files, synced, and
//! renamed, so that the log can be verified whenever the process is killed.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::RedactError;
use super::mask::{self, Pseudonyms, Redactable};
use super::statement::{About, Draft};
use crate::chain::{Chain, claimed_chain};
use crate::content;
use crate::names;
use crate::note::{Note, Signer};
use crate::reading::{Event, Line};
use crate::record::Own;
use crate::scan::{End, Header, Scan, Step};
use crate::timestamp;
use crate::verify::{VerifyOptions, VerifyOutcome, verify};

/// Only one redaction of a directory runs at a time.
const LOCK: &str = "redaction.lock";

/// Which records are redacted, and how.
#[derive(Clone)]
#[non_exhaustive]
pub struct RedactOptions<'a> {
    /// Selects records. The other records of their requests are redacted, too.
    pub select: &'a dyn Fn(Redactable<'_>) -> bool,
    /// The fields whose text is removed, of [`REDACTABLE_FIELDS`](super::REDACTABLE_FIELDS). Others
    /// have no effect.
    pub fields: Vec<String>,
    /// The key that signs the log's checkpoints. It signs the redaction.
    pub signer: Option<Signer>,
    /// Who asks for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Whether to count only.
    pub dry_run: bool,
}

impl<'a> RedactOptions<'a> {
    /// Removes these fields of the selected records, without a signature.
    #[must_use]
    pub fn new(select: &'a dyn Fn(Redactable<'_>) -> bool, fields: &[&str]) -> Self {
        Self {
            select,
            fields: fields.iter().map(|name| (*name).to_owned()).collect(),
            signer: None,
            by: String::new(),
            reason: String::new(),
            dry_run: false,
        }
    }
}

impl fmt::Debug for RedactOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedactOptions")
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

/// What was redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedactReport {
    /// Records that were redacted.
    pub records: u64,
    /// Segments that have them.
    pub segments: u64,
    /// Selected records that were left, because they are in the segment that is being written, or
    /// because their request has a record there or may still get one.
    pub postponed: u64,
    /// Files beside the segments that may contain a part of such a record: what a crash has torn.
    pub others: Vec<String>,
}

/// A request with a selected record.
#[derive(Debug, Default)]
struct Selected {
    /// It was accepted by the process that writes the log now.
    goes_on: bool,
    completed: bool,
    in_open_segment: bool,
}

/// Removes the text of fields from the selected records of a log, so that the log can still be
/// verified. The gateway may write the log meanwhile: the segment that it writes is left.
///
/// If the process is killed, the log can be verified, and the same call completes the redaction.
///
/// # Errors
///
/// The log does not verify; it is signed, and the key is missing or is another one; another
/// redaction runs; or the file system refuses. What was redacted before stays so.
pub fn redact(directory: &Path, options: &RedactOptions<'_>) -> Result<RedactReport, RedactError> {
    redact_with(directory, options, &mut || Ok(()))
}

/// As [`redact`]. `step` is called before each change of the directory, and can end it there.
pub(crate) fn redact_with(
    directory: &Path,
    options: &RedactOptions<'_>,
    step: &mut dyn FnMut() -> io::Result<()>,
) -> Result<RedactReport, RedactError> {
    let mut files = Files { directory, step };
    let _lock = match options.dry_run {
        false => Some(files.lock()?),
        true => None,
    };
    let verdict = verify(directory, &VerifyOptions::default(), &mut |_| {});
    if let VerifyOutcome::Tampered(problem) | VerifyOutcome::Unreadable(problem) = verdict.outcome {
        return Err(RedactError::Refused(format!(
            "the log does not verify, and nothing was redacted: {problem}"
        )));
    }
    if !options.dry_run {
        files.remove_unfinished()?;
    }
    let plan = Plan::make(directory, options)?;
    if !options.dry_run {
        plan.check_signer(options.signer.as_ref())?;
    }
    let random = RedactError::io("read random bytes for", directory);
    let pseudonyms = Pseudonyms::new().map_err(|error| random(io::Error::other(error)))?;
    let time = timestamp::format_micros(SystemTime::now());
    let about = About {
        time: &time,
        by: &options.by,
        reason: &options.reason,
    };
    let bits = options.fields.iter().filter_map(|name| mask::bit(name));
    let work = Work {
        options,
        about,
        fields: bits.fold(0, |all, bit| all | bit),
        pseudonyms,
    };
    let mut report = RedactReport {
        postponed: plan.postponed,
        others: plan.others.clone(),
        ..RedactReport::default()
    };
    for closed in &plan.closed {
        let redacted = work.segment(&mut files, &plan, closed)?;
        report.records += redacted;
        report.segments += u64::from(redacted > 0);
    }
    Ok(report)
}

/// A segment that gets no more lines.
struct Closed {
    number: u64,
    /// How much of it belongs to the log.
    end: u64,
    header: Header,
}

/// What was found in the log.
struct Plan {
    closed: Vec<Closed>,
    /// By their ids. Those that may get another record are not in it.
    requests: HashMap<String, Selected>,
    postponed: u64,
    /// The note of the last checkpoint.
    checkpoint: Option<String>,
    others: Vec<String>,
}

impl Plan {
    fn make(directory: &Path, options: &RedactOptions<'_>) -> Result<Self, RedactError> {
        let reading = |path: &Path| RedactError::io("read", path);
        let numbers = names::segments(directory).map_err(reading(directory))?;
        let mut plan = Self {
            closed: Vec::new(),
            requests: HashMap::new(),
            postponed: 0,
            checkpoint: None,
            others: Vec::new(),
        };
        let last = numbers.last().copied().unwrap_or_default();
        let path = |number| directory.join(names::segment(number));
        let last_header = Header::read(&path(last)).map_err(reading(&path(last)))?;
        // If it is sealed, none of its requests gets another record.
        let is_last_open = match &last_header {
            Some(header) => !is_sealed(&path(last), header).map_err(reading(&path(last)))?,
            None => true,
        };
        let open_instance = last_header.filter(|_| is_last_open).map(|it| it.instance);
        // Records of each unfinished request.
        let mut records: HashMap<String, u64> = HashMap::new();
        for number in numbers {
            let here = path(number);
            let Some(header) = Header::read(&here).map_err(reading(&here))? else {
                continue;
            };
            let next = Header::read(&path(number + 1)).ok().flatten();
            let next = next.filter(|next| next.open.segment == number + 1);
            let limit = next.as_ref().map_or(u64::MAX, |next| next.open.end);
            let scan = Scan::open_redacted(&here, header.open.start(), limit);
            let mut scan = scan.map_err(reading(&here))?;
            let is_open = number == last && is_last_open;
            loop {
                match scan.next().map_err(reading(&here))? {
                    Step::End(_) => break,
                    Step::Line(Line::Own { own, .. }, _) => {
                        if let Own::Checkpoint { note } = own {
                            plan.checkpoint = Some(note);
                        }
                    }
                    Step::Line(Line::Event(event), _) => {
                        let may_go_on = open_instance.as_deref() == Some(event.instance);
                        plan.see(options, &event, is_open, may_go_on, &mut records);
                    }
                }
            }
            let torn = names::torn_off(directory, number).map_err(reading(directory))?;
            plan.others.extend(torn);
            if is_open {
                continue;
            }
            if fs::metadata(&here).map_err(reading(&here))?.len() > scan.at().bytes {
                plan.others.push(names::segment(number));
            }
            plan.closed.push(Closed {
                number,
                end: scan.at().bytes,
                header,
            });
        }
        let may_get_more = |it: &Selected| it.in_open_segment || it.goes_on && !it.completed;
        plan.requests.retain(|id, request| {
            let is_postponed = may_get_more(request);
            if is_postponed {
                plan.postponed += records.get(id).copied().unwrap_or_default();
            }
            !is_postponed
        });
        Ok(plan)
    }

    fn see(
        &mut self,
        options: &RedactOptions<'_>,
        event: &Event<'_>,
        is_open: bool,
        may_go_on: bool,
        records: &mut HashMap<String, u64>,
    ) {
        let record = Redactable { body: event.body };
        let is_selected = (options.select)(record);
        let Some(id) = record.text("request_id") else {
            self.postponed += u64::from(is_selected && is_open);
            return;
        };
        if is_selected {
            self.requests.entry(id.clone()).or_default();
        }
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.in_open_segment |= is_open;
        let kind = record.text("event");
        request.completed |= kind.as_deref() == Some("complete");
        let is_accepted = record.text("outcome").as_deref() == Some("accepted");
        request.goes_on |= may_go_on && is_accepted && record.text("via").is_none();
        *records.entry(id).or_default() += 1;
    }

    /// Whether the record is redacted in this run.
    fn wants(&self, options: &RedactOptions<'_>, record: Redactable<'_>) -> bool {
        match record.text("request_id") {
            Some(id) => self.requests.contains_key(&id),
            None => (options.select)(record),
        }
    }

    /// A redaction of a signed log that its key does not sign would look like an edit.
    fn check_signer(&self, signer: Option<&Signer>) -> Result<(), RedactError> {
        let refused = |why: &str| Err(RedactError::Refused(why.to_owned()));
        let note = self.checkpoint.as_deref().and_then(Note::parse);
        match (note, signer) {
            (Some(_), None) => refused(
                "the log has signed checkpoints, so that its redaction must be signed, too: set \
                 VOXGATE_AUDIT_SIGNING_KEY_FILE, or pass --signing-key",
            ),
            (Some(note), Some(signer)) if !note.is_signed_by(&[signer.verifier()]) => refused(
                "the last checkpoint of the log is signed by another key: pass the key that the \
                 gateway signs with (--signing-key)",
            ),
            _ => Ok(()),
        }
    }
}

/// Whether a segment ends with its seal.
fn is_sealed(path: &Path, header: &Header) -> io::Result<bool> {
    let mut scan = Scan::open_redacted(path, header.open.start(), u64::MAX)?;
    loop {
        if let Step::End(end) = scan.next()? {
            return Ok(end == End::Whole && scan.is_sealed());
        }
    }
}

/// What is the same for all segments.
struct Work<'a> {
    options: &'a RedactOptions<'a>,
    about: About<'a>,
    fields: u32,
    pseudonyms: Pseudonyms,
}

/// A line that changes.
struct Change {
    offset: u64,
    line: u64,
    chain: Chain,
    /// The line without its newline.
    redacted: Vec<u8>,
    fields: u32,
}

impl Work<'_> {
    /// Redacts a segment, and returns how many of its records.
    fn segment(
        &self,
        files: &mut Files<'_>,
        plan: &Plan,
        closed: &Closed,
    ) -> Result<u64, RedactError> {
        let name = names::segment(closed.number);
        let path = files.directory.join(&name);
        let changes = match self.changes(plan, closed, &path) {
            // Retention has deleted it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            changes => changes.map_err(RedactError::io("read", &path))?,
        };
        if changes.is_empty() || self.options.dry_run {
            return Ok(changes.len() as u64);
        }
        let mut draft = Draft::new(&self.about, closed.number, &closed.header.open.origin);
        for change in &changes {
            draft.add(change.line, &change.chain, &change.redacted, change.fields);
        }
        let statement = draft.finish(self.options.signer.as_ref());
        match files.replace(closed.number, &statement, &changes)? {
            true => Ok(changes.len() as u64),
            false => Ok(0),
        }
    }

    fn changes(&self, plan: &Plan, closed: &Closed, path: &Path) -> io::Result<Vec<Change>> {
        let mut scan = Scan::open_redacted(path, closed.header.open.start(), closed.end)?;
        let file = content::open(path)?;
        let mut changes = Vec::new();
        loop {
            let before = scan.at();
            let (masked, fields, after) = match scan.next()? {
                Step::End(_) => return Ok(changes),
                Step::Line(Line::Event(event), after) if event.lost.is_none() => {
                    let record = Redactable { body: event.body };
                    if !plan.wants(self.options, record) {
                        continue;
                    }
                    let (masked, fields) = mask::mask(event.body, self.fields, &self.pseudonyms);
                    (masked, fields, after)
                }
                Step::Line(..) => continue,
            };
            if fields == 0 {
                continue;
            }
            let length = usize::try_from(after.bytes - before.bytes - 1).unwrap_or_default();
            let mut redacted = vec![0; length];
            file.read_exact_at(&mut redacted, before.bytes)?;
            let chain = claimed_chain(&redacted).ok_or(io::ErrorKind::InvalidData)?;
            redacted[..masked.len()].copy_from_slice(&masked);
            changes.push(Change {
                offset: before.bytes,
                line: after.line,
                chain,
                redacted,
                fields,
            });
        }
    }
}

/// Keeps other redactions away. It is unlocked and not only closed: a process that this one forks
/// meanwhile has the same lock until it runs its program.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // The end of the process unlocks it otherwise.
        let _ = self.0.unlock();
    }
}

/// Changes the directory.
struct Files<'a> {
    directory: &'a Path,
    step: &'a mut dyn FnMut() -> io::Result<()>,
}

impl Files<'_> {
    fn lock(&mut self) -> Result<Lock, RedactError> {
        let path = self.directory.join(LOCK);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(&path).map_err(RedactError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(fs::TryLockError::WouldBlock) => Err(RedactError::Refused(format!(
                "another redaction of {} runs; wait for its end",
                self.directory.display()
            ))),
            Err(fs::TryLockError::Error(error)) => Err(RedactError::io("lock", &path)(error)),
        }
    }

    /// What an earlier redaction has left can be the text that it had removed.
    fn remove_unfinished(&mut self) -> Result<(), RedactError> {
        let found = names::all_unfinished(self.directory);
        let found = found.map_err(RedactError::io("list", self.directory))?;
        if found.is_empty() {
            return Ok(());
        }
        for name in found {
            self.remove(&self.directory.join(name))?;
        }
        self.sync()
    }

    /// Replaces the list and the segment. `false` if the segment has been deleted meanwhile.
    fn replace(
        &mut self,
        number: u64,
        statement: &str,
        changes: &[Change],
    ) -> Result<bool, RedactError> {
        let path = self.directory.join(names::segment(number));
        let list = self.directory.join(names::redactions(number));
        let [new_path, new_list] = names::unfinished(number).map(|it| self.directory.join(it));
        let (segment, owner) = match content::open(&path).and_then(|it| Ok((it.metadata()?, it))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => {
                let (metadata, file) = opened.map_err(RedactError::io("open", &path))?;
                (file, metadata)
            }
        };

        let old = match content::open(&list) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            opened => opened.and_then(io::read_to_string),
        };
        let old = old.map_err(RedactError::io("read", &list))?;
        self.write(&new_list, &owner, |file| {
            file.write_all(old.as_bytes())?;
            file.write_all(statement.as_bytes())
        })?;
        self.step("replace", &list)?;
        fs::rename(&new_list, &list).map_err(RedactError::io("replace", &list))?;
        self.sync()?;

        self.write(&new_path, &owner, |file| {
            io::copy(&mut &segment, file)?;
            for change in changes {
                file.write_all_at(&change.redacted, change.offset)?;
            }
            // Retention counts from this time.
            file.set_modified(owner.modified()?)
        })?;
        self.step("replace", &path)?;
        let replaced = self.exchange(&new_path, &path)?;
        self.sync()?;
        // This is the old text, or the new one of a segment that is no longer there.
        self.remove(&new_path)?;
        if !replaced {
            self.remove(&list)?;
        }
        self.sync()?;
        Ok(replaced)
    }

    /// Gives each of two files the name of the other. `false` if the second one does not exist: a
    /// rename would bring back a segment that retention has deleted.
    fn exchange(&self, new: &Path, path: &Path) -> Result<bool, RedactError> {
        let replacing = RedactError::io("replace", path);
        match rustix::fs::renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                // Nothing deletes segments while this process has the gateway's lock.
                let directory =
                    File::open(self.directory).map_err(RedactError::io("open", self.directory))?;
                if directory.try_lock().is_err() {
                    return Err(RedactError::Refused(format!(
                        "the file system of {} cannot exchange two files: stop the gateway, and run \
                         this command again",
                        self.directory.display()
                    )));
                }
                if !path.exists() {
                    return Ok(false);
                }
                fs::rename(new, path).map_err(replacing)?;
                Ok(true)
            }
            Err(errno) => Err(replacing(errno.into())),
        }
    }

    /// Creates a file of the same owner, which is on the disk afterwards.
    fn write(
        &mut self,
        path: &Path,
        owner: &fs::Metadata,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), RedactError> {
        self.step("write", path)?;
        let write = || {
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(path)?;
            let now = file.metadata()?;
            if (now.uid(), now.gid()) != (owner.uid(), owner.gid()) {
                std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
            }
            fill(&mut file)?;
            file.sync_all()
        };
        write().map_err(RedactError::io("write", path))
    }

    fn remove(&mut self, path: &Path) -> Result<(), RedactError> {
        self.step("remove", path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(RedactError::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    fn sync(&mut self) -> Result<(), RedactError> {
        let synced = File::open(self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(RedactError::io("sync", self.directory))
    }

    fn step(&mut self, what: &'static str, path: &Path) -> Result<(), RedactError> {
        (self.step)().map_err(RedactError::io(what, path))
    }
}
