//! Segments that are removed, replaced or changed while the log is written: that is noticed before
//! the next line counts as synced, and the log itself says what is missing.

use std::os::unix::fs::symlink;

use super::*;

/// A log with five synced lines, in a directory of its own below the other one.
struct Setup {
    parent: TempDir,
    writer: Writer,
    losses: Arc<Mutex<Vec<Loss>>>,
    notes: Notes,
}

impl Setup {
    fn new() -> Self {
        let parent = scratch();
        let losses = Arc::new(Mutex::new(Vec::new()));
        let notes = Notes::default();
        let mut its = options(&parent.path().join("audit"), "i1");
        notes.collect(&mut its);
        let taken = Arc::clone(&losses);
        its.on_event = Some(Box::new(move |event| {
            if let LogEvent::Lost(loss) = event {
                taken.lock().unwrap().push(*loss);
            }
        }));
        let mut writer = Writer::open(its);
        writer.write(5);
        Self {
            parent,
            writer,
            losses,
            notes,
        }
    }

    fn directory(&self) -> PathBuf {
        self.parent.path().join("audit")
    }

    fn aside(&self) -> PathBuf {
        self.parent.path().join("aside")
    }

    fn segment(&self, number: u64) -> PathBuf {
        segment(&self.directory(), number)
    }

    fn loss(&self) -> Loss {
        let losses = self.losses.lock().unwrap();
        assert_eq!(losses.len(), 1, "{losses:?}");
        losses[0]
    }

    fn check(&self) -> VerifyReport {
        let options = VerifyOptions {
            checkpoints: Some(self.notes.checkpoints()),
            ..with_key()
        };
        check_with(&self.directory(), &options)
    }
}

type Fault = (&'static str, LossCause, fn(&Setup));

const FAULTS: [Fault; 11] = [
    ("removed", LossCause::Removed, |it| {
        fs::remove_file(it.segment(1)).unwrap();
    }),
    ("renamed", LossCause::Removed, |it| {
        fs::rename(it.segment(1), it.aside()).unwrap();
    }),
    ("replaced", LossCause::Replaced, |it| {
        fs::rename(it.segment(1), it.aside()).unwrap();
        fs::write(it.segment(1), "").unwrap();
    }),
    ("copied over", LossCause::Replaced, |it| {
        fs::rename(it.segment(1), it.aside()).unwrap();
        fs::copy(it.aside(), it.segment(1)).unwrap();
        fs::write(it.segment(1), "{}\n{}\n").unwrap();
    }),
    ("replaced by a link", LossCause::Replaced, |it| {
        fs::rename(it.segment(1), it.aside()).unwrap();
        symlink("nowhere", it.segment(1)).unwrap();
        fs::remove_file(it.aside()).unwrap();
    }),
    ("emptied", LossCause::Shortened, |it| {
        fs::write(it.segment(1), "").unwrap();
    }),
    ("shortened", LossCause::Shortened, |it| {
        let file = fs::OpenOptions::new().write(true).open(it.segment(1));
        file.unwrap().set_len(700).unwrap();
    }),
    ("directory removed", LossCause::DirectoryRemoved, |it| {
        fs::remove_dir_all(it.directory()).unwrap()
    }),
    ("directory renamed", LossCause::DirectoryRemoved, |it| {
        fs::rename(it.directory(), it.aside()).unwrap()
    }),
    ("directory replaced", LossCause::DirectoryReplaced, |it| {
        fs::rename(it.directory(), it.aside()).unwrap();
        fs::create_dir(it.directory()).unwrap();
    }),
    ("directory restored", LossCause::DirectoryReplaced, |it| {
        fs::rename(it.directory(), it.aside()).unwrap();
        fs::create_dir(it.directory()).unwrap();
        let text = fs::read(segment(&it.aside(), 1)).unwrap();
        fs::write(it.segment(1), &text[..text.len() / 2]).unwrap();
    }),
];

#[test]
fn a_lost_segment_is_noticed_before_the_next_line_counts() {
    for (name, cause, fault) in FAULTS {
        let mut it = Setup::new();
        fault(&it);
        it.writer.write(3);
        let loss = it.loss();
        assert_eq!(
            (loss.cause, loss.from, loss.to, loss.seqs),
            (cause, 1, 1, Some((1, 5))),
            "{name}"
        );
        let status = it.writer.log.status();
        assert_eq!((status.lost_segments, status.synced.segment), (1, 2));
        let text = fs::read_to_string(it.segment(2)).unwrap();
        let record = format!(
            r#""cause":"{}","from":1,"to":1,"first_seq":1,"last_seq":5"#,
            cause.as_str()
        );
        assert!(text.contains(r#""follows":"lost""#), "{name}: {text}");
        assert!(text.contains(&record), "{name}: {text}");
        let kept = events(&it.directory());
        let kept = &kept[kept.len() - 3..];
        assert_eq!(kept, &numbered("i1", 8)[5..], "{name}");
        let report = it.check();
        assert_eq!(report.outcome.exit_code(), 5, "{name}: {report:#?}");
        let problem = report.outcome.problem().unwrap().to_string();
        assert!(
            problem.starts_with("audit-000000000001.jsonl:"),
            "{problem}"
        );
        assert!(problem.contains("within `seq` 1 to 5"), "{problem}");
        // It stays that one gap, whatever comes later.
        it.writer.rotate();
        it.writer.write(2);
        let directory = it.directory();
        it.writer.log.close(at(200_000)).unwrap();
        let again = check(&directory);
        assert_eq!(again.outcome, report.outcome, "{name}");
        let (code, text) = format::python(&directory);
        assert_eq!(code, 5, "{name}: {text}");
        // And after the next start.
        let mut next = Writer::open(options(&directory, "i2"));
        next.write(1);
        next.close();
        let again = check(&directory);
        assert_eq!(again.outcome, report.outcome, "{name}");
    }
}

#[test]
fn a_lost_segment_is_noticed_without_any_line() {
    for (name, cause, fault) in FAULTS {
        let mut it = Setup::new();
        fault(&it);
        let now = it.writer.now();
        it.writer.log.tick(now).unwrap();
        assert_eq!(it.loss().cause, cause, "{name}");
        it.writer.close();
        let report = check(&it.parent.path().join("audit"));
        assert_eq!(report.outcome.exit_code(), 5, "{name}: {report:#?}");
    }
}

#[test]
fn what_was_not_synced_when_the_segment_was_lost_is_written_again() {
    for (name, _, fault) in FAULTS {
        let mut it = Setup::new();
        it.writer.batch(4).unwrap();
        fault(&it);
        it.writer.batch(2).unwrap();
        let now = it.writer.now();
        it.writer.log.sync(now).unwrap();
        assert_eq!(it.loss().seqs, Some((1, 5)), "{name}");
        it.writer.close();
        let kept = events(&it.parent.path().join("audit"));
        assert_eq!(&kept[kept.len() - 6..], &numbered("i1", 11)[5..], "{name}");
    }
}

#[test]
fn what_another_process_appends_is_no_part_of_the_log() {
    let mut it = Setup::new();
    let mut text = fs::read(it.segment(1)).unwrap();
    text.extend_from_slice(b"not ours\n");
    fs::write(it.segment(1), &text).unwrap();
    it.writer.write(3);
    assert_eq!(it.loss().cause, LossCause::Lengthened);
    let report = it.check();
    // Nothing of the log is missing.
    assert_eq!(report.outcome, VerifyOutcome::Whole, "{report:#?}");
    let changed = fs::read_to_string(it.segment(1)).unwrap();
    fs::write(it.segment(1), changed.replace("seq\":4,", "seq\":9,")).unwrap();
    assert_eq!(verdict(&it.check()), (5, "1:6".to_owned()));
}

#[test]
fn a_file_that_is_put_back_closes_the_gap() {
    let mut it = Setup::new();
    fs::rename(it.segment(1), it.aside()).unwrap();
    it.writer.write(3);
    assert_eq!(verdict(&it.check()), (5, "1:1".to_owned()));
    fs::rename(it.aside(), it.segment(1)).unwrap();
    let report = it.check();
    assert_eq!(report.outcome, VerifyOutcome::Whole, "{report:#?}");
    assert!(report.notes.concat().contains("is there again"));
    // Only the file that was written closes it.
    let text = fs::read_to_string(it.segment(1)).unwrap();
    fs::write(it.segment(1), text.replace("seq\":4,", "seq\":9,")).unwrap();
    assert_eq!(verdict(&it.check()), (5, "1:6".to_owned()));
}

#[test]
fn while_no_directory_can_be_made_nothing_counts_and_nothing_is_lost() {
    let mut it = Setup::new();
    fs::remove_dir_all(it.directory()).unwrap();
    fs::write(it.directory(), "in the way").unwrap();
    it.writer.batch(2).unwrap();
    let now = it.writer.now();
    let error = it.writer.log.sync(now).unwrap_err();
    assert!(error.to_string().starts_with("cannot open"), "{error}");
    let now = it.writer.now();
    assert!(it.writer.log.tick(now).is_err());
    assert!(!it.writer.log.status().open);
    fs::remove_file(it.directory()).unwrap();
    it.writer.now += 1;
    it.writer.write(1);
    assert_eq!(events(&it.directory()), numbered("i1", 8)[5..]);
    assert_eq!(it.loss().seqs, Some((1, 5)));
    assert_eq!(verdict(&it.check()), (5, "1:1".to_owned()));
}

#[test]
fn a_directory_that_another_process_writes_is_not_taken() {
    let mut it = Setup::new();
    fs::rename(it.directory(), it.aside()).unwrap();
    let other = Writer::open(options(&it.directory(), "other"));
    let refused = it.writer.log.tick(at(10)).unwrap_err();
    assert!(matches!(refused, LogError::InUse(_)), "{refused}");
    other.close();
    // Nor is a segment of another log continued or overwritten.
    it.writer.now += 20;
    it.writer.write(1);
    assert!(it.segment(2).exists());
    assert_eq!(check(&it.directory()).outcome.exit_code(), 5);
}

#[test]
fn closed_segments_that_are_removed_are_noticed() {
    let mut it = Setup::new();
    for _ in 0..3 {
        it.writer.rotate();
        it.writer.write(2);
    }
    for gone in [1, 3] {
        fs::remove_file(it.segment(gone)).unwrap();
        it.writer.now += 2;
        let now = it.writer.now();
        it.writer.log.tick(now).unwrap();
    }
    let losses = it.losses.lock().unwrap().clone();
    let ranges: Vec<_> = losses.iter().map(|it| (it.from, it.to, it.seqs)).collect();
    assert_eq!(
        ranges,
        [(1, 1, Some((1, 5))), (3, 3, Some((8, 9)))],
        "{losses:?}"
    );
    let report = it.check();
    assert_eq!(verdict(&report), (5, "1:1".to_owned()), "{report:#?}");
    // A loss that was not noticed is a problem.
    it.writer.log.close(at(500_000)).unwrap();
    let directory = it.parent.path().join("audit");
    fs::remove_file(segment(&directory, 2)).unwrap();
    assert_eq!(verdict(&check(&directory)), (1, "4:1".to_owned()));
}

#[test]
fn a_record_of_a_loss_that_is_lost_is_written_again() {
    let mut it = Setup::new();
    let file = fs::OpenOptions::new().write(true).open(it.segment(1));
    file.unwrap().set_len(700).unwrap();
    it.writer.write(3);
    fs::remove_file(it.segment(2)).unwrap();
    it.writer.write(3);
    let text = fs::read_to_string(it.segment(3)).unwrap();
    assert_eq!(text.matches("segments_lost").count(), 2, "{text}");
    let report = it.check();
    assert_eq!(report.outcome.exit_code(), 5, "{report:#?}");
    assert_eq!(events(&it.directory()).last().unwrap().1, 11);
}

#[test]
fn an_unnoticed_change_beside_a_noticed_one_is_tampering() {
    let mut it = Setup::new();
    it.writer.rotate();
    it.writer.write(3);
    fs::remove_file(it.segment(2)).unwrap();
    it.writer.write(3);
    it.writer.rotate();
    it.writer.write(1);
    assert_eq!(verdict(&it.check()), (5, "2:1".to_owned()));
    for (number, expected) in [(1, "1:3"), (3, "3:4")] {
        let changed = copy(&it.directory());
        let path = segment(changed.path(), number);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("decision", "decisive", 1)).unwrap();
        assert_eq!(
            verdict(&check(changed.path())),
            (1, expected.to_owned()),
            "{number}"
        );
    }
    let removed = copy(&it.directory());
    fs::remove_file(segment(removed.path(), 3)).unwrap();
    assert_eq!(check(removed.path()).outcome.exit_code(), 1);
}

#[test]
fn a_symbolic_link_is_no_segment() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(options(directory.path(), "i1"));
    writer.write(3);
    drop(writer);
    let aside = tempfile::tempdir().unwrap();
    let target = aside.path().join("target");
    let path = segment(directory.path(), 1);
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"torn");
    fs::write(&target, &text).unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&target, &path).unwrap();
    let report = check(directory.path());
    assert_eq!(report.outcome.exit_code(), 4, "{report:?}");
    let problem = report.outcome.problem().unwrap().to_string();
    assert!(problem.contains("symbolic link"), "{problem}");
    let error = Log::open(options(directory.path(), "i2"), at(0)).unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert_eq!(fs::read(&target).unwrap(), text);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = Log::open(options(directory.path(), "i2"), at(0)).unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
}

#[test]
fn retention_passes_a_hole_that_is_on_record() {
    let mut it = Setup::new();
    it.writer.rotate();
    it.writer.write(3);
    fs::remove_file(it.segment(2)).unwrap();
    it.writer.write(3);
    it.writer.close();
    let mut its = options(&it.parent.path().join("audit"), "i2");
    its.retention = Retention {
        max_bytes: Some(0),
        ..Retention::default()
    };
    drop(Log::open(its, at(0)).unwrap());
    let directory = it.parent.path().join("audit");
    assert_eq!(names::segments(&directory).unwrap(), [4]);
    assert_whole(&directory);
}

#[test]
fn what_was_deleted_before_a_hole_is_not_missing() {
    let mut it = Setup::new();
    it.writer.rotate();
    it.writer.write(3);
    it.writer.close();
    let directory = it.parent.path().join("audit");
    let mut its = options(&directory, "i2");
    its.retention = Retention {
        max_bytes: Some(0),
        ..Retention::default()
    };
    let mut writer = Writer::open(its);
    assert_eq!(names::segments(&directory).unwrap(), [3]);
    writer.write(2);
    // The line about the deletion is lost with the file, and the next one says it again.
    fs::remove_file(segment(&directory, 3)).unwrap();
    writer.write(1);
    let report = check(&directory);
    assert_eq!(verdict(&report), (5, "3:1".to_owned()), "{report:#?}");
    let problem = report.outcome.problem().unwrap().to_string();
    assert!(problem.contains("lines 15 to 18 "), "{problem}");
    // So does every later one, after the next start, too, and without its directory.
    writer.close();
    let mut writer = Writer::open(options(&directory, "i3"));
    writer.write(2);
    fs::remove_dir_all(&directory).unwrap();
    writer.write(1);
    writer.close();
    let report = check(&directory);
    assert_eq!(verdict(&report), (5, "3:1".to_owned()), "{report:#?}");
    assert_eq!(format::python(&directory).0, 5);
}
