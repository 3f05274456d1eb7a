//! What a log takes, when it begins a segment, and when it signs.

use super::*;

#[test]
fn a_line_that_is_not_of_the_log_s_form_is_refused_with_its_batch() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(options(directory.path(), "i1"));
    let good = event("i1", 1);
    let long = format!(
        r#"{{"v":1,"seq":1,"instance":"i1","event":"e","x":"{}"}}"#,
        "x".repeat(4096)
    );
    let refused: [(&[u8], InvalidLine); 17] = [
        (long.as_bytes(), InvalidLine::TooLong),
        (b"", InvalidLine::Malformed),
        (b"{}", InvalidLine::Malformed),
        (
            br#"{"v":1,"seq":1,"instance":"i1","event":"e""#,
            InvalidLine::Malformed,
        ),
        (
            br#"{"v":2,"seq":1,"instance":"i1","event":"e"}"#,
            InvalidLine::Malformed,
        ),
        (
            br#"{"seq":1,"v":1,"instance":"i1","event":"e"}"#,
            InvalidLine::Malformed,
        ),
        (
            br#"{"v":1,"seq":"1","instance":"i1","event":"e"}"#,
            InvalidLine::Malformed,
        ),
        (
            br#"{"v":1,"seq":-1,"instance":"i1","event":"e"}"#,
            InvalidLine::Malformed,
        ),
        (br#"{"v":1,"seq":1,"event":"e"}"#, InvalidLine::Malformed),
        (
            br#"{"v":1,"seq":1,"instance":"i1"}"#,
            InvalidLine::Malformed,
        ),
        (
            br#"{"v":1,"seq":1,"instance":"i1","event":"gap","from":3,"to":2}"#,
            InvalidLine::Malformed,
        ),
        (
            b"{\"v\":1,\"seq\":1,\"instance\":\"i1\",\"event\":\"e\",\"x\":\"\n\"}",
            InvalidLine::Malformed,
        ),
        (
            "{\"v\":1,\"seq\":1,\"instance\":\"i1\",\"event\":\"e\",\"x\":\"\u{e4}\"}".as_bytes(),
            InvalidLine::Malformed,
        ),
        (
            br#"{"v":1,"event":"segment_seal","instance":"i1"}"#,
            InvalidLine::Malformed,
        ),
        (
            br#"{"v":1,"seq":1,"instance":"i2","event":"e"}"#,
            InvalidLine::Instance,
        ),
        (
            br#"{"v":1,"seq":1,"instance":"i1","event":"checkpoint"}"#,
            InvalidLine::Reserved,
        ),
        (
            br#"{"v":1,"seq":1,"instance":"i1","event":"segment_open"}"#,
            InvalidLine::Reserved,
        ),
    ];
    for (line, expected) in refused {
        let rejected = writer.log.append(&[&good, line], at(1)).unwrap_err();
        assert_eq!(rejected.taken, 0);
        let shown = String::from_utf8_lossy(line);
        assert!(
            matches!(rejected.error, LogError::Line(it) if it == expected),
            "{shown}: {rejected:?}"
        );
    }
    writer.write(1);
    writer.close();
    assert_eq!(events(directory.path()), numbered("i1", 1));
}

#[test]
fn wrong_options_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let changes: [fn(&mut LogOptions); 6] = [
        |it| it.instance = String::new(),
        |it| it.instance = "a\"b".to_owned(),
        |it| it.origin = "a b".to_owned(),
        |it| it.segment_bytes = 16 * 1024 - 1,
        |it| it.checkpoint_lines = 0,
        |it| it.checkpoint_lines = MAX_CHECKPOINT_LINES + 1,
    ];
    for change in changes {
        let mut its = options(directory.path(), "i1");
        change(&mut its);
        let error = Log::open(its, at(0)).unwrap_err();
        assert!(matches!(error, LogError::Options(_)), "{error}");
    }
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Log::open(options(&file, "i1"), at(0)).unwrap_err();
    assert!(error.to_string().starts_with("cannot open "), "{error}");
    let deep = directory.path().join("missing/audit");
    let error = Log::open(options(&deep, "i1"), at(0)).unwrap_err();
    assert!(error.to_string().starts_with("cannot create "), "{error}");
}

#[test]
fn segments_are_no_larger_than_they_may_be() {
    let directory = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    let mut its = options(directory.path(), "i1");
    notes.collect(&mut its);
    its.checkpoint_lines = 3;
    let mut writer = Writer::open(its);
    for _ in 0..20 {
        writer.write(17);
    }
    // One batch, larger than a segment.
    writer.write(200);
    writer.close();
    let numbers = names::segments(directory.path()).unwrap();
    assert!(numbers.len() > 8, "{numbers:?}");
    for number in &numbers {
        let length = fs::metadata(segment(directory.path(), *number))
            .unwrap()
            .len();
        assert!(length <= 16 * 1024, "{number}: {length}");
        let text = fs::read_to_string(segment(directory.path(), *number)).unwrap();
        let reason = if number == numbers.last().unwrap() {
            "stop"
        } else {
            "size"
        };
        assert!(
            text.lines()
                .last()
                .unwrap()
                .contains(&format!(r#""reason":"{reason}""#))
        );
    }
    assert_eq!(
        check_with(directory.path(), &with_key()).outcome,
        VerifyOutcome::Whole
    );
    assert_eq!(events(directory.path()), numbered("i1", 540));
}

#[test]
fn a_segment_is_as_old_as_it_may_be_if_something_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(options(directory.path(), "i1"));
    let day = 24 * 60 * 60;
    writer.log.tick(at(2 * day)).unwrap();
    assert_eq!(writer.log.status().synced.segment, 1);
    writer.write(1);
    writer.log.tick(at(day - 1)).unwrap();
    assert_eq!(writer.log.status().synced.segment, 1);
    writer.log.tick(at(day)).unwrap();
    assert_eq!(writer.log.status().synced.segment, 2);
    // A clock that was set back does no harm.
    writer.log.tick(at(0)).unwrap();
    writer
        .log
        .tick(UNIX_EPOCH - Duration::from_secs(1))
        .unwrap();
    assert_eq!(writer.log.status().synced.segment, 2);
    writer.close();
    assert_whole(directory.path());
}

#[test]
fn checkpoints_come_by_lines_and_by_time_and_only_with_something_new() {
    let directory = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    let mut its = options(directory.path(), "i1");
    notes.collect(&mut its);
    its.segment_bytes = 1024 * 1024;
    its.checkpoint_lines = 10;
    let count = || notes.0.lock().unwrap().len();
    let mut writer = Writer::open(its);
    assert_eq!(count(), 1, "each segment begins with one");
    writer.write(9);
    assert_eq!(count(), 1);
    writer.write(1);
    assert_eq!(count(), 2);
    writer.log.tick(at(59)).unwrap();
    writer.log.tick(at(1000)).unwrap();
    assert_eq!(count(), 2, "nothing is new");
    writer.batch(1).unwrap();
    writer.log.tick(at(62)).unwrap();
    assert_eq!(count(), 2, "a minute has not passed");
    writer.log.tick(at(65)).unwrap();
    assert_eq!(count(), 3);
    // A batch that is longer gets them in between, however late it is synced.
    writer.batch(35).unwrap();
    assert_eq!(count(), 6);
    writer.close();
    assert_eq!(count(), 7, "the seal is signed, too");
    let last = notes.checkpoints().0.pop().unwrap().checkpoint;
    let report = check_with(directory.path(), &with_key());
    assert_eq!(report.outcome, VerifyOutcome::Whole);
    assert_eq!(
        (last.lines, last.chain),
        (report.end.lines, report.end.chain)
    );
}

#[test]
fn no_checkpoint_names_a_line_that_is_not_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = segment(directory.path(), 1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut its = options(directory.path(), "i1");
    its.segment_bytes = 1024 * 1024;
    its.signer = Some(signer());
    let file = path.clone();
    let lines = Arc::clone(&seen);
    its.on_checkpoint = Some(Box::new(move |note| {
        let written = fs::read_to_string(&file).unwrap().lines().count();
        let said: usize = note.lines().nth(1).unwrap().parse().unwrap();
        lines.lock().unwrap().push((said, written));
    }));
    let mut writer = Writer::open(its);
    writer.batch(2500).unwrap();
    writer.close();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 4);
    assert!(
        seen.iter().all(|(said, written)| said == written),
        "{seen:?}"
    );
}

#[test]
fn checkpoints_are_read_from_notes_and_from_audit_lines() {
    let directory = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    let mut its = options(directory.path(), "i1");
    notes.collect(&mut its);
    let mut writer = Writer::open(its);
    writer.write(3);
    writer.rotate();
    writer.close();
    let in_log: String = (1..=2)
        .map(|number| fs::read_to_string(segment(directory.path(), number)).unwrap())
        .collect();
    let text = notes.text();
    // The process's log repeats a checkpoint in JSON, whose dash is not escaped.
    let in_process_log = |note: &str| {
        format!(
            "{{\"timestamp\":\"2026-01-01T00:00:00Z\",\"level\":\"INFO\",\"message\":\"audit checkpoint\",\
             \"note\":{},\"target\":\"voxgate\"}}\n",
            serde_json::to_string(note).unwrap()
        )
    };
    let signature = text.find("\n\u{2014}").unwrap() + 1;
    let length = text[signature..].find('\n').unwrap() + 1;
    let first_note = &text[..signature + length];
    let other_line = "{\"message\":\"listening\",\"café\":\"é\"}\n";
    for (text, count) in [
        (
            format!("{other_line}{}{other_line}", in_process_log(first_note)),
            1,
        ),
        (String::new(), 0),
        (text.clone(), 4),
        (text.replace("\n\nvoxgate", "\nvoxgate"), 4),
        (text.trim_end().to_owned(), 4),
        (in_log.clone(), 2),
        (format!("{in_log}\n{text}"), 6),
    ] {
        let checkpoints = Checkpoints::parse(&text).unwrap();
        assert_eq!(
            (checkpoints.len(), checkpoints.is_empty()),
            (count, count == 0),
            "{text}"
        );
        let options = VerifyOptions {
            checkpoints: Some(checkpoints),
            ..with_key()
        };
        let report = check_with(directory.path(), &options);
        let expected = if count == 0 { 3 } else { 0 };
        assert_eq!(report.outcome.exit_code(), expected, "{text}");
        assert_eq!(report.compared, count as u64);
    }
    for (text, line) in [
        ("hello\n".to_owned(), 1),
        ("\n{\"event\":\"checkpoint\"}\n".to_owned(), 2),
        ("{\"event\":\"checkpoint\",\"note\":\"x\"}\n".to_owned(), 1),
        ("{\"event\"\n".to_owned(), 1),
        (text.replacen("segment", "segmint", 1), 1),
        (
            format!("{text}\n{}", text.replacen("\n1\n", "\n01\n", 1)),
            29,
        ),
    ] {
        assert_eq!(
            Checkpoints::parse(&text).unwrap_err(),
            InvalidCheckpoints { line },
            "{text}"
        );
    }
}

#[test]
fn a_log_can_be_handed_to_another_thread_and_shows_no_secret() {
    fn is_send<T: Send>(_: &T) {}
    let directory = tempfile::tempdir().unwrap();
    let mut its = options(directory.path(), "i1");
    its.signer = Some(signer());
    let writer = Writer::open(its);
    is_send(&writer.log);
    let shown = format!("{:?}", writer.log);
    let seed = signer().expose();
    let seed = seed.rsplit_once('+').unwrap().1;
    assert!(
        shown.contains("i1") && !shown.contains(seed) && !shown.contains("7, 7"),
        "{shown}"
    );
}

#[test]
fn a_gap_without_a_number_is_taken_and_counts() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(options(directory.path(), "i1"));
    writer.write(1);
    let gap = br#"{"v":1,"ts":"2026-11-21T15:02:16.000000Z","instance":"i1","event":"gap","from":2,"to":4}"#;
    writer.log.append(&[gap], at(2)).unwrap();
    writer.seq = 4;
    writer.write(2);
    let other = br#"{"v":1,"ts":"2026-11-21T15:02:16.000000Z","instance":"i1","event":"decision"}"#;
    let refused = writer.log.append(&[other], at(3)).unwrap_err();
    assert!(matches!(
        refused.error,
        LogError::Line(InvalidLine::Malformed)
    ));
    writer.close();
    assert_whole(directory.path());
}
