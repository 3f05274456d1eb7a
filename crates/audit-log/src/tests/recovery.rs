//! What a crash leaves, and how a log goes on after it.

use super::*;

/// Two starts, the second of which is not sealed; its segments, and what was acknowledged.
fn unsealed(signed: bool) -> TempDir {
    let directory = scratch();
    for instance in ["first", "second"] {
        let mut its = options(directory.path(), instance);
        its.signer = signed.then(signer);
        let mut writer = Writer::open(its);
        writer.write(5);
        if instance == "first" {
            writer.close();
        }
    }
    directory
}

fn reopen(directory: &Path) -> Recovered {
    let (log, recovered) = Log::open(options(directory, "third"), at(100)).unwrap();
    log.close(at(101)).unwrap();
    recovered
}

#[test]
fn a_log_cut_at_every_byte_goes_on_and_is_whole() {
    let original = unsealed(true);
    let text = fs::read(segment(original.path(), 2)).unwrap();
    for length in (0..text.len()).rev() {
        let cut = copy(original.path());
        let path = segment(cut.path(), 2);
        fs::write(&path, &text[..length]).unwrap();
        let whole = text[..length]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let line = text[..whole].iter().filter(|byte| **byte == b'\n').count() as u64;
        let torn = &text[whole..length];
        let events_before = events(cut.path());
        let before = verdict(&check(cut.path()));
        let is_torn = !torn.is_empty() || length == 0;
        let expected = is_torn.then(|| (2, format!("2:{}", line + 1)));
        assert_eq!(before, expected.unwrap_or_default(), "{length}");

        let recovered = reopen(cut.path());
        assert_eq!(recovered.torn_bytes, torn.len() as u64, "{length}");
        assert!(recovered.unsealed && recovered.damaged.is_none());
        let report = assert_whole(cut.path());
        assert_eq!(report.end.segment, if whole == 0 { 2 } else { 3 });
        assert_eq!(events(cut.path()), events_before);
        let aside = cut.path().join(names::torn(2, 1));
        if torn.is_empty() {
            assert!(!aside.exists());
        } else {
            assert_eq!(fs::read(&aside).unwrap(), torn);
            let notes = report.notes.concat();
            assert!(notes.contains(&names::torn(2, 1)), "{notes}");
            // What was moved aside is evidence, too.
            fs::write(&aside, b"x").unwrap();
            assert_eq!(check(cut.path()).outcome.exit_code(), 1);
            fs::remove_file(&aside).unwrap();
            assert_eq!(check(cut.path()).outcome.exit_code(), 1);
        }
        if whole > 0 {
            assert_eq!(fs::read(&path).unwrap(), &text[..whole]);
        }
    }
}

#[test]
fn a_last_line_whose_chain_is_wrong_is_torn() {
    let directory = unsealed(false);
    let path = segment(directory.path(), 2);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(r#""seq":5"#, r#""seq":6"#)).unwrap();
    assert_eq!(verdict(&check(directory.path())), (2, "2:6".to_owned()));
    let recovered = reopen(directory.path());
    assert!(recovered.torn_bytes > 100);
    assert_whole(directory.path());
    assert_eq!(
        events(directory.path()).last(),
        Some(&("second".to_owned(), 4))
    );
}

#[test]
fn blocks_that_were_never_written_are_torn() {
    let directory = unsealed(false);
    let path = segment(directory.path(), 2);
    let text = fs::read(&path).unwrap();
    let middle = text.len() / 2;
    for zeroes in [
        middle..middle + 40,
        middle..text.len(),
        text.len()..text.len() + 4096,
    ] {
        let torn = copy(directory.path());
        let mut holed = text.clone();
        holed.resize(text.len().max(zeroes.end), 0);
        holed[zeroes.clone()].fill(0);
        fs::write(segment(torn.path(), 2), &holed).unwrap();
        assert_eq!(check(torn.path()).outcome.exit_code(), 2, "{zeroes:?}");
        let recovered = reopen(torn.path());
        assert!(
            recovered.torn_bytes > 0 && recovered.damaged.is_none(),
            "{zeroes:?}"
        );
        assert_whole(torn.path());
    }
}

#[test]
fn what_is_torn_may_stay_where_it_was() {
    let directory = unsealed(false);
    let path = segment(directory.path(), 2);
    let text = fs::read(&path).unwrap();
    let torn = &text[..text.len() - 9];
    fs::write(&path, torn).unwrap();
    reopen(directory.path());
    assert_whole(directory.path());
    // As if the file could not be shortened.
    fs::write(&path, torn).unwrap();
    assert_whole(directory.path());
    fs::remove_file(directory.path().join(names::torn(2, 1))).unwrap();
    assert_whole(directory.path());
    let mut changed = torn.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let longer = [torn, b"x"].concat();
    for other in [&text[..], &torn[..torn.len() - 1], &longer, &changed] {
        fs::write(&path, other).unwrap();
        assert_eq!(verdict(&check(directory.path())), (1, "2:6".to_owned()));
    }
}

#[test]
fn damage_is_never_appended_to_and_never_forgotten() {
    for (line, replaced) in [(3, r#""seq":2"#), (1, r#""segment":2"#)] {
        let directory = unsealed(false);
        let path = segment(directory.path(), 2);
        let text = fs::read_to_string(&path).unwrap();
        let damaged = text.replacen(replaced, &replaced.replace('2', "7"), 1);
        assert_ne!(text, damaged);
        fs::write(&path, &damaged).unwrap();
        let place = (1, format!("2:{line}"));
        assert_eq!(verdict(&check(directory.path())), place);
        for _ in 0..3 {
            reopen(directory.path());
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
            assert_eq!(verdict(&check(directory.path())), place);
        }
        let recovery = fs::read_to_string(segment(directory.path(), 3)).unwrap();
        let expected = format!(r#""segment":2,"state":"damaged","line":{line},"#);
        assert!(recovery.contains(&expected), "{recovery}");
        // Not even by removing the damaged part.
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        fs::write(&path, lines[..line - 1].concat()).unwrap();
        assert_eq!(check(directory.path()).outcome.exit_code(), 1);
    }
}

#[test]
fn damage_in_a_sealed_segment_is_noticed_at_the_start() {
    let directory = unsealed(false);
    reopen(directory.path());
    let path = segment(directory.path(), 3);
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"more\n");
    fs::write(&path, &text).unwrap();
    let recovered = reopen(directory.path());
    assert_eq!(recovered.damaged, Some((3, 4)));
    assert_eq!(verdict(&check(directory.path())), (1, "3:4".to_owned()));
}

#[test]
fn a_log_that_was_closed_needs_no_recovery() {
    let directory = scratch();
    for _ in 0..3 {
        let recovered = reopen(directory.path());
        assert!(!recovered.unsealed && recovered.damaged.is_none());
        assert_eq!(recovered.torn_bytes, 0);
        let newest = names::segments(directory.path()).unwrap().pop().unwrap();
        let text = fs::read_to_string(segment(directory.path(), newest)).unwrap();
        assert!(!text.contains("recovery"));
    }
    assert_whole(directory.path());
}

#[test]
fn only_the_newest_segment_can_be_one_whose_creation_was_interrupted() {
    let directory = unsealed(false);
    reopen(directory.path());
    for number in 2..=3 {
        fs::write(segment(directory.path(), number), "").unwrap();
    }
    let recovered = reopen(directory.path());
    assert_eq!(recovered.damaged, Some((2, 1)));
    assert_eq!(verdict(&check(directory.path())), (1, "2:1".to_owned()));
    assert_eq!(fs::read(segment(directory.path(), 2)).unwrap(), b"");
    assert_eq!(events(directory.path()), numbered("first", 5));
}

#[test]
fn a_second_writer_is_refused() {
    let directory = scratch();
    let mut writer = Writer::open(options(directory.path(), "i1"));
    writer.write(1);
    let error = Log::open(options(directory.path(), "i2"), at(1)).unwrap_err();
    assert!(matches!(error, LogError::InUse(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("another process writes the audit log")
    );
    let report = assert_whole(directory.path());
    assert!(report.live && !report.sealed);
    writer.close();
    assert!(!assert_whole(directory.path()).live);
    Log::open(options(directory.path(), "i2"), at(1)).unwrap();
}

#[test]
fn a_crash_amid_recovery_is_recovered_from() {
    let directory = unsealed(true);
    let path = segment(directory.path(), 2);
    let text = fs::read(&path).unwrap();
    let torn = &text[..text.len() - 9];
    fs::write(&path, torn).unwrap();
    let before = events(directory.path());
    drop(Log::open(options(directory.path(), "third"), at(100)).unwrap());
    // As if the process had died before it shortened the old segment, and amid the new one.
    fs::write(&path, torn).unwrap();
    let header = fs::read(segment(directory.path(), 3)).unwrap();
    assert_eq!(header.iter().filter(|byte| **byte == b'\n').count(), 2);
    for length in 0..=header.len() {
        let died = copy(directory.path());
        fs::write(segment(died.path(), 3), &header[..length]).unwrap();
        let expected = if length == header.len() { 0 } else { 2 };
        assert_eq!(check(died.path()).outcome.exit_code(), expected, "{length}");
        reopen(died.path());
        assert_whole(died.path());
        assert_eq!(events(died.path()), before);
        let expected = if length == header.len() { 4 } else { 3 };
        assert_eq!(
            names::segments(died.path()).unwrap().len(),
            expected,
            "{length}"
        );
    }
}

#[test]
fn a_log_can_be_verified_while_it_is_written() {
    let directory = scratch();
    let mut writer = Writer::open(options(directory.path(), "i1"));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| (0..500).for_each(|_| writer.write(9)));
        while !writing.is_finished() {
            let report = check(directory.path());
            let code = report.outcome.exit_code();
            assert!(code == 0 || code == 2, "{report:?}");
        }
    });
    writer.close();
    assert_eq!(assert_whole(directory.path()).events, 4500);
}
