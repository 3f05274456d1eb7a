//! Deleting the oldest segments, so that it shows that they were.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Six segments of a day each.
fn log(directory: &Path, retention: Retention) -> Writer {
    let mut its = options(directory, "i1");
    its.retention = retention;
    let mut writer = Writer::open(its);
    for _ in 0..5 {
        writer.write(4);
        writer.rotate();
    }
    writer.write(4);
    writer
}

fn kept(directory: &Path) -> Vec<u64> {
    names::segments(directory).unwrap()
}

#[test]
fn by_default_nothing_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path(), Retention::default()).close();
    assert_eq!(kept(directory.path()), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_is_too_old_is_deleted_and_the_rest_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let retention = Retention {
        max_age: Some(2 * DAY),
        max_bytes: None,
    };
    log(directory.path(), retention).close();
    // A segment is as old as the time at which it was closed.
    assert_eq!(kept(directory.path()), [4, 5, 6]);
    let report = assert_whole(directory.path());
    assert_eq!((report.first_segment, report.events), (4, 12));
    let text = fs::read_to_string(segment(directory.path(), 6)).unwrap();
    assert!(
        text.contains(r#""event":"retention""#) && text.contains(r#""from":3,"to":3,"lines":"#)
    );
}

#[test]
fn what_is_too_much_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let retention = Retention {
        max_age: None,
        max_bytes: Some(4000),
    };
    log(directory.path(), retention).close();
    let total: u64 = kept(directory.path())
        .iter()
        .map(|number| {
            fs::metadata(segment(directory.path(), *number))
                .unwrap()
                .len()
        })
        .sum();
    assert!(kept(directory.path())[0] > 1 && total < 8000, "{total}");
    assert_whole(directory.path());
    let nothing = Retention {
        max_age: None,
        max_bytes: Some(0),
    };
    let mut its = options(directory.path(), "i2");
    its.retention = nothing;
    let (log, _) = Log::open(its, at(0)).unwrap();
    // The one that is open stays.
    assert_eq!(kept(directory.path()), [7]);
    assert_whole(directory.path());
    drop(log);
}

#[test]
fn what_was_not_deleted_by_the_log_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let retention = Retention {
        max_age: Some(2 * DAY),
        max_bytes: None,
    };
    log(directory.path(), retention).close();
    fs::remove_file(segment(directory.path(), 4)).unwrap();
    assert_eq!(verdict(&check(directory.path())), (1, "5:1".to_owned()));
}

#[test]
fn a_deletion_that_was_interrupted_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path(), Retention::default()).close();
    let all = copy(directory.path());
    let mut its = options(directory.path(), "i2");
    its.retention = Retention {
        max_age: None,
        max_bytes: Some(0),
    };
    drop(Log::open(its, at(0)).unwrap());
    assert_eq!(kept(directory.path()), [7]);
    // Segments that the line says are deleted, and that still are there.
    for first in (1..=6).rev() {
        fs::copy(segment(all.path(), first), segment(directory.path(), first)).unwrap();
        let report = assert_whole(directory.path());
        assert_eq!(report.first_segment, first);
    }
    // They must be those that it means.
    let path = segment(directory.path(), 6);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replacen(r#""status":200"#, r#""status":201"#, 1),
    )
    .unwrap();
    assert_eq!(check(directory.path()).outcome.exit_code(), 1);
}

#[test]
fn a_checkpoint_of_deleted_lines_cannot_be_compared() {
    let directory = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    let mut its = options(directory.path(), "i1");
    notes.collect(&mut its);
    its.retention = Retention {
        max_age: None,
        max_bytes: Some(0),
    };
    let mut writer = Writer::open(its);
    for _ in 0..3 {
        writer.write(4);
        writer.rotate();
    }
    writer.close();
    let options = VerifyOptions {
        checkpoints: Some(notes.checkpoints()),
        ..with_key()
    };
    let report = check_with(directory.path(), &options);
    assert_eq!(report.outcome, VerifyOutcome::Whole, "{report:?}");
    assert!(report.compared > 0 && report.notes.concat().contains("have been deleted since"));
}

#[test]
fn what_was_torn_off_goes_with_its_segment() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(options(directory.path(), "i1"));
    writer.write(3);
    drop(writer);
    let path = segment(directory.path(), 1);
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() - 3]).unwrap();
    drop(Log::open(options(directory.path(), "i2"), at(0)).unwrap());
    assert!(directory.path().join(names::torn(1, 1)).exists());
    let mut its = options(directory.path(), "i3");
    its.retention = Retention {
        max_age: None,
        max_bytes: Some(0),
    };
    drop(Log::open(its, at(0)).unwrap());
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_whole(directory.path());
}

#[test]
fn a_damaged_segment_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(options(directory.path(), "i1"));
    writer.write(3);
    drop(writer);
    let path = segment(directory.path(), 1);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replacen(r#""status":200"#, r#""status":201"#, 1),
    )
    .unwrap();
    let mut its = options(directory.path(), "i2");
    its.retention = Retention {
        max_age: None,
        max_bytes: Some(0),
    };
    drop(Log::open(its, at(0)).unwrap());
    assert_eq!(kept(directory.path()), [1, 2]);
}
