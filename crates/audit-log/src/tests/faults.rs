//! A disk that fails: what was not synced is written again, elsewhere, and nothing twice.

use std::io;
use std::sync::MutexGuard;

use super::*;

/// What goes wrong, each entry for one call: the next one first.
#[derive(Default)]
struct Plan {
    writes: Vec<Write>,
    syncs: Vec<bool>,
    creates: Vec<i32>,
    directory_syncs: Vec<bool>,
    removes: Vec<bool>,
    free: Option<u64>,
    synced: u64,
}

#[derive(Clone, Copy)]
enum Write {
    Whole,
    /// Only so many bytes.
    Short(usize),
    /// So many bytes, and then this error.
    Error(usize, i32),
}

const EIO: i32 = 5;
const EINTR: i32 = 4;
const ENOSPC: i32 = 28;

#[derive(Clone, Default)]
struct Faulty(Arc<Mutex<Plan>>);

impl Faulty {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap()
    }
}

fn next<T>(planned: &mut Vec<T>) -> Option<T> {
    (!planned.is_empty()).then(|| planned.remove(0))
}

fn fail(planned: &mut Vec<bool>) -> io::Result<()> {
    match next(planned) {
        Some(true) => Err(io::Error::from_raw_os_error(EIO)),
        _ => Ok(()),
    }
}

impl Disk for Faulty {
    fn create(&self, path: &Path, reserve: u64) -> io::Result<Box<dyn SegmentFile>> {
        match next(&mut self.plan().creates) {
            Some(errno) if errno != 0 => Err(io::Error::from_raw_os_error(errno)),
            _ => {
                let file = LocalDisk.create(path, reserve)?;
                Ok(Box::new(FaultyFile(file, self.clone())))
            }
        }
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        fail(&mut self.plan().directory_syncs)?;
        LocalDisk.sync_directory(path)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        match self.plan().free {
            Some(free) => Ok(free),
            None => LocalDisk.free_bytes(directory),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fail(&mut self.plan().removes)?;
        LocalDisk.remove(path)
    }
}

struct FaultyFile(Box<dyn SegmentFile>, Faulty);

impl SegmentFile for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let planned = next(&mut self.1.plan().writes).unwrap_or(Write::Whole);
        match planned {
            Write::Whole => self.0.write(bytes),
            Write::Short(length) => self.0.write(&bytes[..length.min(bytes.len())]),
            Write::Error(length, errno) => {
                // It comes with what was written before it, as a signal or a limit does.
                disk::write_all(&mut *self.0, &bytes[..length.min(bytes.len())])?;
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let planned = fail(&mut self.1.plan().syncs);
        planned?;
        self.1.plan().synced += 1;
        self.0.sync()
    }

    fn trim(&mut self) -> io::Result<()> {
        self.0.trim()
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        self.0.identity()
    }
}

struct Setup {
    directory: TempDir,
    disk: Faulty,
    writer: Writer,
    notes: Notes,
}

/// A log with five synced lines.
fn setup(signed: bool) -> Setup {
    let directory = scratch();
    let notes = Notes::default();
    let mut its = options(directory.path(), "i1");
    if signed {
        notes.collect(&mut its);
    }
    let disk = Faulty::default();
    let (log, _) = Log::open_on(Arc::new(disk.clone()), its, at(0)).unwrap();
    let mut writer = Writer {
        log,
        instance: "i1".to_owned(),
        seq: 0,
        now: 0,
    };
    writer.write(5);
    Setup {
        directory,
        disk,
        writer,
        notes,
    }
}

impl Setup {
    /// Closes the log. Every line that was taken must be in it, once, and in order.
    #[track_caller]
    fn finish(self) -> VerifyReport {
        let up_to = self.writer.seq;
        self.writer.close();
        assert_eq!(events(self.directory.path()), numbered("i1", up_to));
        let text = self.notes.text();
        let checkpoints = (!text.is_empty()).then(|| self.notes.checkpoints());
        let keys = if text.is_empty() {
            vec![]
        } else {
            with_key().keys
        };
        let report = check_with(
            self.directory.path(),
            &VerifyOptions {
                checkpoints,
                keys,
                ..VerifyOptions::default()
            },
        );
        assert_eq!(report.outcome, VerifyOutcome::Whole, "{report:#?}");
        report
    }

    fn text(&self, number: u64) -> String {
        fs::read_to_string(segment(self.directory.path(), number)).unwrap()
    }
}

#[test]
fn a_failed_sync_is_never_taken_for_success() {
    for signed in [false, true] {
        let mut it = setup(signed);
        it.writer.batch(3).unwrap();
        it.disk.plan().syncs = vec![true];
        let now = it.writer.now();
        it.writer.log.sync(now).unwrap();
        let status = it.writer.log.status();
        assert_eq!((status.failed_segments, status.synced.segment), (1, 2));
        // They are written into the next segment, after the last line that was synced, and
        // nothing more goes into the failed one.
        let failed = it.text(1);
        assert!(failed.contains(r#""seq":8,"#));
        let open = it.text(2);
        assert!(
            open.contains(r#""follows":"failed""#) && open.contains(r#""seq":6,"#),
            "{open}"
        );
        it.writer.write(2);
        assert_eq!(it.text(1), failed);
        let directory = it.directory.path().to_owned();
        let report = it.finish();
        assert!(
            report.notes.concat().contains("the disk failed"),
            "{:?}",
            report.notes
        );
        assert_eq!(report.events, 10);
        drop(directory);
    }
}

#[test]
fn what_comes_after_the_end_of_a_failed_segment_is_no_part_of_the_log() {
    let mut it = setup(false);
    it.writer.batch(3).unwrap();
    it.disk.plan().syncs = vec![true];
    let now = it.writer.now();
    it.writer.log.sync(now).unwrap();
    it.writer.write(1);
    let path = segment(it.directory.path(), 1);
    let end = scan::Header::read(&segment(it.directory.path(), 2))
        .unwrap()
        .unwrap()
        .open
        .end;
    let text = fs::read(&path).unwrap();
    let directory = copy(it.directory.path());
    it.finish();
    // A disk that has failed may hold anything there.
    let path = segment(directory.path(), 1);
    for rest in [&b""[..], b"x", b"{}\n{}\n", &[0; 5000]] {
        fs::write(&path, [&text[..end as usize], rest].concat()).unwrap();
        assert_whole(directory.path());
    }
    // But what was synced has to be there.
    for (length, line) in [(end - 1, 6), (10, 1), (0, 1)] {
        fs::write(&path, &text[..length as usize]).unwrap();
        assert_eq!(verdict(&check(directory.path())), (1, format!("1:{line}")));
    }
}

#[test]
fn a_failed_write_is_made_good_in_another_segment() {
    let errors = [
        Write::Error(0, EIO),
        Write::Error(100, ENOSPC),
        Write::Error(500, EIO),
        Write::Short(0),
    ];
    for error in errors {
        for signed in [false, true] {
            let mut it = setup(signed);
            it.writer.batch(2).unwrap();
            it.disk.plan().writes = vec![error];
            it.writer.batch(4).unwrap();
            it.writer.write(3);
            assert_eq!(it.writer.log.status().failed_segments, 1);
            it.finish();
        }
    }
}

#[test]
fn a_short_write_is_continued() {
    let mut it = setup(true);
    it.disk.plan().writes = vec![Write::Short(1), Write::Error(0, EINTR), Write::Short(300)];
    it.writer.write(4);
    assert_eq!(it.writer.log.status().failed_segments, 0);
    it.finish();
}

#[test]
fn while_no_segment_can_be_opened_lines_are_refused_and_none_is_lost() {
    let mut it = setup(true);
    it.writer.batch(2).unwrap();
    {
        let mut plan = it.disk.plan();
        plan.syncs = vec![true];
        plan.creates = vec![ENOSPC, EIO];
    }
    let now = it.writer.now();
    let error = it.writer.log.sync(now).unwrap_err();
    assert!(error.to_string().starts_with("cannot create"), "{error}");
    assert!(!it.writer.log.status().open);
    // Within a second it is not tried again.
    let refused = it.writer.log.append(&[&event("i1", 8)], now).unwrap_err();
    assert_eq!(refused.taken, 0);
    assert!(matches!(refused.error, LogError::Waiting));
    assert_eq!(it.disk.plan().creates, [EIO]);
    let rejected = it.writer.batch(3).unwrap_err();
    assert_eq!(rejected.taken, 0);
    assert_eq!(it.writer.seq, 7);
    // Then the disk is well again, and the two lines are still there.
    it.writer.batch(3).unwrap();
    it.writer.write(1);
    assert_eq!(it.writer.log.status().synced.segment, 2);
    it.finish();
}

#[test]
fn a_segment_that_cannot_be_begun_is_none() {
    let begins: [fn(&mut Plan); 4] = [
        |plan| plan.writes = vec![Write::Whole, Write::Error(50, EIO)],
        |plan| plan.syncs = vec![true, true],
        |plan| plan.directory_syncs = vec![true],
        |plan| {
            plan.syncs = vec![true, true];
            plan.removes = vec![true, true];
        },
    ];
    for (at, begin) in begins.into_iter().enumerate() {
        let mut it = setup(false);
        it.writer.batch(2).unwrap();
        begin(&mut it.disk.plan());
        if at == 0 {
            it.disk.plan().writes.remove(0);
            it.disk.plan().syncs = vec![true];
        } else if at == 2 {
            it.disk.plan().syncs = vec![true];
        }
        let now = it.writer.now();
        it.writer.log.sync(now).unwrap_err();
        let left = segment(it.directory.path(), 2).exists();
        assert_eq!(left, at == 3, "{at}");
        if left {
            // It could not be removed, and cannot be a second time.
            let now = it.writer.now();
            it.writer.log.sync(now).unwrap_err();
        }
        it.writer.write(2);
        assert_eq!(it.writer.log.status().synced.segment, 2);
        it.finish();
    }
}

#[test]
fn a_batch_that_a_segment_does_not_hold_is_taken_in_part() {
    let mut it = setup(false);
    let before = it.writer.seq;
    // The first segment gets full, and there is no second one.
    it.disk.plan().creates = vec![ENOSPC];
    let rejected = it.writer.batch(200).unwrap_err();
    assert!((20..150).contains(&rejected.taken), "{}", rejected.taken);
    assert_eq!(it.writer.seq, before + rejected.taken as u64);
    it.writer.now += 1;
    it.writer.write(200);
    it.finish();
}

#[test]
fn failures_at_any_call_lose_nothing_and_double_nothing() {
    for signed in [false, true] {
        for fault in 0..40 {
            let mut it = setup(signed);
            {
                let mut plan = it.disk.plan();
                let skip = fault / 2;
                plan.writes = vec![Write::Whole; skip];
                plan.syncs = vec![false; skip];
                match fault % 2 {
                    0 => plan.writes.push(Write::Error(70, EIO)),
                    _ => plan.syncs.push(true),
                }
            }
            for count in [30, 1, 50, 7] {
                it.writer.now += 2;
                let refused = it
                    .writer
                    .batch(count)
                    .map_or_else(|it| it.taken as u64, |()| count);
                if refused < count {
                    it.writer.now += 2;
                    it.writer.batch(count - refused).unwrap();
                }
                let now = it.writer.now();
                if it.writer.log.sync(now).is_err() {
                    it.writer.now += 2;
                    let now = it.writer.now();
                    it.writer.log.sync(now).unwrap();
                }
            }
            assert_eq!(it.writer.seq, 93);
            it.finish();
        }
    }
}

#[test]
fn too_little_room_refuses_the_next_segment_and_keeps_the_old_one() {
    let directory = scratch();
    let disk = Faulty::default();
    let open = |free: u64, instance: &str| {
        disk.plan().free = Some(free);
        let mut its = options(directory.path(), instance);
        its.low_space_bytes = 2000;
        its.least_space_bytes = 1000;
        Log::open_on(Arc::new(disk.clone()), its, at(0))
    };
    assert!(matches!(
        open(999, "i0"),
        Err(LogError::NoSpace {
            free: 999,
            least: 1000
        })
    ));
    let (log, _) = open(2000, "i1").unwrap();
    let mut writer = Writer {
        log,
        instance: "i1".to_owned(),
        seq: 0,
        now: 0,
    };
    assert_eq!(writer.log.status().space, DiskSpace::Ample);
    disk.plan().free = Some(1999);
    writer.log.tick(at(1)).unwrap();
    assert_eq!(writer.log.status().space, DiskSpace::Low);
    disk.plan().free = Some(999);
    writer.write(1);
    let error = writer.log.tick(at(100_000)).unwrap_err();
    assert!(matches!(error, LogError::NoSpace { .. }), "{error}");
    assert_eq!(writer.log.status().space, DiskSpace::Exhausted);
    // There is still room in the old one.
    writer.write(10);
    assert_eq!(writer.log.status().synced.segment, 1);
    let rejected = writer.batch(200).unwrap_err();
    assert!(matches!(rejected.error, LogError::NoSpace { .. }));
    assert!(rejected.taken > 0);
    let now = writer.now();
    writer.log.sync(now).unwrap();
    disk.plan().free = Some(1000);
    writer.write(200);
    let up_to = writer.seq;
    writer.close();
    assert_whole(directory.path());
    assert_eq!(events(directory.path()), numbered("i1", up_to));
}

#[test]
fn nothing_is_synced_twice_for_nothing() {
    let mut it = setup(false);
    let before = it.disk.plan().synced;
    for _ in 0..3 {
        let now = it.writer.now();
        it.writer.log.sync(now).unwrap();
    }
    assert_eq!(it.disk.plan().synced, before);
    it.finish();
}
