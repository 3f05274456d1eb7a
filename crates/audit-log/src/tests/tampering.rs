//! Every way of changing a log is found, at its place.

use super::*;

/// Three segments with signed checkpoints, the last one sealed or not.
fn log(close: bool) -> (TempDir, Notes) {
    let directory = scratch();
    let notes = Notes::default();
    let mut with_notes = options(directory.path(), "i1");
    notes.collect(&mut with_notes);
    let mut writer = Writer::open(with_notes);
    for _ in 0..2 {
        writer.write(2);
        writer.rotate();
    }
    writer.write(2);
    if close {
        writer.close();
    }
    (directory, notes)
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

/// What `verify` says when this was done to a copy of the log.
fn after(directory: &Path, change: impl FnOnce(&Path)) -> (u8, String) {
    let changed = copy(directory);
    change(changed.path());
    verdict(&check(changed.path()))
}

fn with_lines(
    directory: &Path,
    number: u64,
    change: impl FnOnce(&mut Vec<String>),
) -> (u8, String) {
    after(directory, |changed| {
        let path = segment(changed, number);
        let mut all = lines(&path);
        change(&mut all);
        fs::write(path, all.concat()).unwrap();
    })
}

#[test]
fn every_flipped_bit_is_found_in_its_line() {
    for close in [true, false] {
        let (directory, _) = log(close);
        assert_whole(directory.path());
        for number in 1..=3 {
            let path = segment(directory.path(), number);
            let text = fs::read(&path).unwrap();
            let last_line = text.iter().filter(|byte| **byte == b'\n').count();
            let mut line = 1;
            for at in 0..text.len() {
                let mut changed = text.clone();
                changed[at] ^= 1 << (at % 8);
                fs::write(&path, &changed).unwrap();
                let found = verdict(&check(directory.path()));
                // The end of the log cannot be told from one that a crash has torn; and a bit
                // that makes a zero byte cannot be told from a block that was never written.
                let zero = number == 3 && changed[at] == 0;
                let code = if number == 3 && line == last_line || zero {
                    2
                } else {
                    1
                };
                assert_eq!(found, (code, format!("{number}:{line}")), "byte {at}");
                line += usize::from(text[at] == b'\n');
            }
            fs::write(&path, &text).unwrap();
        }
        assert_whole(directory.path());
    }
}

#[test]
fn every_deleted_doubled_or_swapped_line_is_found() {
    let (directory, _) = log(true);
    let directory = directory.path();
    for number in 1..=3 {
        let count = lines(&segment(directory, number)).len();
        for at in 0..count {
            let line = at + 1;
            let last = line == count;
            let found = with_lines(directory, number, |all| _ = all.remove(at));
            // Without its seal the last segment is one that is not sealed.
            let expected = match (number, last) {
                (3, true) => (0, String::new()),
                // What is left after the header can be an interrupted creation, but for its line.
                (3, false) if line == count - 1 => (2, format!("3:{line}")),
                _ => (1, format!("{number}:{line}")),
            };
            assert_eq!(found, expected, "{number}:{line} deleted");

            let found = with_lines(directory, number, |all| all.insert(at, all[at].clone()));
            assert_eq!(
                found,
                (1, format!("{number}:{}", line + 1)),
                "{number}:{line} doubled"
            );

            if !last {
                let found = with_lines(directory, number, |all| all.swap(at, at + 1));
                assert_eq!(
                    found,
                    (1, format!("{number}:{line}")),
                    "{number}:{line} swapped"
                );
            }
        }
    }
    let found = with_lines(directory, 2, |all| {
        all[2] = lines(&segment(directory, 1))[2].clone()
    });
    assert_eq!(found, (1, "2:3".to_owned()));
}

#[test]
fn the_seq_of_a_changed_line_is_named() {
    let (directory, _) = log(true);
    let changed = copy(directory.path());
    let path = segment(changed.path(), 2);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen(r#""seq":4,"#, r#""seq":9,"#, 1)).unwrap();
    let problem = check(changed.path()).outcome;
    let problem = problem.problem().unwrap().to_string();
    assert!(
        problem.starts_with("audit-000000000002.jsonl:4:9: "),
        "{problem}"
    );
}

#[test]
fn every_missing_renamed_or_doubled_segment_is_found() {
    let (directory, _) = log(true);
    let directory = directory.path();
    let remove = |number: u64| {
        after(directory, |it| {
            fs::remove_file(segment(it, number)).unwrap()
        })
    };
    assert_eq!(remove(1), (1, "2:1".to_owned()));
    assert_eq!(remove(2), (1, "2:1".to_owned()));
    // That is a cut tail: only a checkpoint shows it.
    assert_eq!(remove(3), (0, String::new()));

    let swap = |a: u64, b: u64| {
        after(directory, |it| {
            let [a, b] = [segment(it, a), segment(it, b)];
            let text = fs::read(&a).unwrap();
            fs::copy(&b, &a).unwrap();
            fs::write(&b, text).unwrap();
        })
    };
    assert_eq!(swap(1, 2), (1, "1:1".to_owned()));
    assert_eq!(swap(2, 3), (1, "2:1".to_owned()));
    assert_eq!(swap(1, 3), (1, "1:1".to_owned()));

    let place = |from: u64, to: u64| {
        after(directory, |it| {
            _ = fs::copy(segment(it, from), segment(it, to)).unwrap()
        })
    };
    assert_eq!(place(3, 4), (1, "4:1".to_owned()));
    assert_eq!(place(1, 4), (1, "4:1".to_owned()));
    assert_eq!(place(1, 6), (1, "4:1".to_owned()));
    let shifted = after(directory, |it| {
        for number in (1..=3).rev() {
            fs::rename(segment(it, number), segment(it, number + 1)).unwrap();
        }
    });
    assert_eq!(shifted, (1, "2:1".to_owned()));
}

#[test]
fn a_sealed_segment_takes_nothing_more() {
    let (directory, _) = log(true);
    let (directory, line) = (directory.path(), String::from_utf8(event("i1", 7)).unwrap());
    for (number, line_number) in [(1, 6), (3, 6)] {
        for more in [&line, "x", "\n", "\0\0"] {
            let found = with_lines(directory, number, |all| all.push(more.to_owned()));
            assert_eq!(found, (1, format!("{number}:{line_number}")), "{more:?}");
        }
    }
}

#[test]
fn a_shortened_segment_is_found_unless_it_is_the_last_one() {
    let (directory, _) = log(true);
    let directory = directory.path();
    for number in 1..=2 {
        let text = fs::read(segment(directory, number)).unwrap();
        for length in 0..text.len() {
            let line = text[..length].iter().filter(|byte| **byte == b'\n').count() + 1;
            let found = after(directory, |it| {
                fs::write(segment(it, number), &text[..length]).unwrap()
            });
            assert_eq!(found, (1, format!("{number}:{line}")), "{length}");
        }
    }
}

#[test]
fn a_cut_tail_is_found_against_a_checkpoint() {
    let (directory, notes) = log(true);
    let options = VerifyOptions {
        checkpoints: Some(notes.checkpoints()),
        ..with_key()
    };
    let report = check_with(directory.path(), &options);
    assert_eq!(report.outcome, VerifyOutcome::Whole);
    // At the begin and at the end of each segment.
    assert_eq!(report.compared, 6);

    let path = segment(directory.path(), 3);
    let all = lines(&path);
    for kept in 1..all.len() {
        fs::write(&path, all[..kept].concat()).unwrap();
        assert_eq!(verdict(&check(directory.path())), (0, String::new()));
        let found = verdict(&check_with(directory.path(), &options));
        assert_eq!(found, (3, format!("3:{}", kept + 1)));
        let torn = all[..kept].concat();
        fs::write(&path, &torn[..torn.len() - 1]).unwrap();
        // That the log is too short says more than that its end is torn.
        assert_eq!(
            check_with(directory.path(), &options).outcome.exit_code(),
            3
        );
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(
        verdict(&check_with(directory.path(), &options)),
        (3, "2:6".to_owned())
    );
    for number in 1..=2 {
        fs::remove_file(segment(directory.path(), number)).unwrap();
    }
    assert_eq!(
        check_with(directory.path(), &options).outcome.exit_code(),
        4
    );
}

/// A log of other events, as a person without the key would write it.
fn rewritten(with_checkpoints: bool) -> TempDir {
    let directory = scratch();
    let mut forged = options(directory.path(), "i1");
    if with_checkpoints {
        forged.signer = Some(Signer::new(KEY_NAME, &[8; 32]).unwrap());
    }
    let mut writer = Writer::open(forged);
    writer.write(9);
    writer.rotate();
    writer.write(9);
    writer.rotate();
    writer.write(9);
    writer.close();
    directory
}

#[test]
fn a_wholly_rewritten_log_is_found_against_checkpoints_and_against_the_key() {
    let (_kept, notes) = log(true);
    let [bare, signed] = [rewritten(false), rewritten(true)];
    for forged in [bare.path(), signed.path()] {
        assert_whole(forged);
        let options = VerifyOptions {
            checkpoints: Some(notes.checkpoints()),
            ..Default::default()
        };
        assert_eq!(check_with(forged, &options).outcome.exit_code(), 1);
    }
    // No line of the bare one is signed, and the first event would have to be.
    assert_eq!(
        verdict(&check_with(bare.path(), &with_key())),
        (1, "1:2".to_owned())
    );
    assert_eq!(
        verdict(&check_with(signed.path(), &with_key())),
        (1, "1:2".to_owned())
    );
    // A rewritten end, without the checkpoint that it began with.
    let (directory, _) = log(true);
    forge(directory.path(), 3, |lines| {
        lines.retain(|line| !line.contains("checkpoint") && !line.contains("segment_seal"));
    });
    assert_eq!(
        verdict(&check_with(directory.path(), &with_key())),
        (1, "3:2".to_owned())
    );
}

#[test]
fn checkpoints_of_another_key_or_log_do_not_count() {
    let (directory, notes) = log(true);
    let other = Signer::new(KEY_NAME, &[9; 32]).unwrap();
    let keys = vec![other.verifier()];
    let options = VerifyOptions {
        keys: keys.clone(),
        ..Default::default()
    };
    assert_eq!(
        verdict(&check_with(directory.path(), &options)),
        (1, "1:2".to_owned())
    );
    let keys = vec![other.verifier(), signer().verifier()];
    let options = VerifyOptions {
        keys,
        ..Default::default()
    };
    let report = check_with(directory.path(), &options);
    assert_eq!(report.outcome, VerifyOutcome::Whole);
    assert!(
        report
            .signed_lines
            .is_some_and(|lines| lines + 4 == report.end.lines)
    );

    let sign = |origin: &str, key: &Signer| {
        let at = Position {
            segment: 1,
            line: 1,
            lines: 1,
            ..report.end
        };
        let note = checkpoint::Checkpoint::new(origin, &at).sign(key);
        Checkpoints::parse(&note).unwrap()
    };
    let compare = |checkpoints| {
        let options = VerifyOptions {
            checkpoints: Some(checkpoints),
            ..with_key()
        };
        check_with(directory.path(), &options).outcome
    };
    // The chain in it is wrong, if it is signed or not.
    assert_eq!(compare(sign(ORIGIN, &signer())).exit_code(), 1);
    assert_eq!(compare(sign(ORIGIN, &other)).exit_code(), 1);
    // Not of this log: nothing is left to compare with.
    assert_eq!(
        compare(sign("voxgate.example/other", &signer())).exit_code(),
        3
    );
    let mut mixed = notes.checkpoints();
    mixed.0.extend(sign("voxgate.example/other", &other).0);
    assert_eq!(compare(mixed), VerifyOutcome::Whole);
}

/// Rewrites a segment with other lines. Each line is correct in itself, but not in its chain.
fn forge(directory: &Path, number: u64, change: impl FnOnce(&mut Vec<String>)) {
    let path = segment(directory, number);
    let mut position = scan::Header::read(&path).unwrap().unwrap().open.start();
    let bodies = lines(&path)
        .into_iter()
        .map(|line| line[..line.len() - 77].to_owned());
    let mut bodies: Vec<String> = bodies.collect();
    change(&mut bodies);
    let mut text = Vec::new();
    for body in bodies {
        position = position.push(body.as_bytes(), &mut text);
    }
    fs::write(&path, text).unwrap();
}

#[test]
fn a_forged_segment_has_to_belong_where_it_is() {
    let (directory, _) = log(false);
    let open = |from: &'static str, to: &'static str| {
        after(directory.path(), |it| {
            forge(it, 3, |lines| {
                assert!(lines[0].contains(from));
                lines[0] = lines[0].replacen(from, to, 1);
            });
        })
    };
    assert_eq!(open(r#""ts""#, r#""ts""#), (0, String::new()));
    assert_eq!(
        open(r#""segment":3"#, r#""segment":4"#),
        (1, "3:1".to_owned())
    );
    assert_eq!(open(r#""lines":10"#, r#""lines":9"#), (1, "3:1".to_owned()));
    assert_eq!(
        open(r#""recoveries":0"#, r#""recoveries":1"#),
        (1, "3:2".to_owned())
    );
    assert_eq!(open("sealed", "unsealed"), (1, "2:6".to_owned()));
    assert_eq!(open("sealed", "failed"), (1, "2:6".to_owned()));
    assert_eq!(open("sealed", "nothing"), (1, "2:6".to_owned()));
    assert_eq!(open("sealed", "ended"), (1, "3:1".to_owned()));
    assert_eq!(open(r#""end":"#, r#""end":1"#), (1, "2:6".to_owned()));
    assert_eq!(
        open(r#""instance":"i1""#, r#""instance":"i2""#),
        (1, "3:2".to_owned())
    );

    let line = |at: usize, body: String| {
        after(directory.path(), |it| {
            forge(it, 3, |lines| lines.insert(at, body))
        })
    };
    let own = |own: record::Own| own.body(at(0), "i1");
    let seal = |line| {
        own(record::Own::Seal {
            reason: "stop".to_owned(),
            line,
        })
    };
    assert_eq!(line(4, seal(5)), (0, String::new()));
    assert_eq!(line(4, seal(4)), (1, "3:5".to_owned()));
    let recovery = own(record::Own::Recovery(record::Recovery {
        segment: 2,
        state: "unsealed".to_owned(),
        line: 1,
        offset: 0,
        bytes: 0,
        sha256: [0; 32],
        file: String::new(),
    }));
    assert_eq!(line(1, recovery), (1, "3:2".to_owned()));
    let retention = |to, lines| {
        let last = Chain::START;
        own(record::Own::Retention {
            from: 1,
            to,
            lines,
            last,
        })
    };
    assert_eq!(line(4, retention(1, 5)), (1, "3:5".to_owned()));
    assert_eq!(line(4, retention(3, 5)), (1, "3:5".to_owned()));
    assert_eq!(line(4, retention(0, 0)), (1, "3:5".to_owned()));
    assert_eq!(line(4, "{}".to_owned()), (1, "3:5".to_owned()));
    assert_eq!(
        line(4, r#"{"v":1,"event":"x""#.to_owned()),
        (1, "3:5".to_owned())
    );
    let first = after(directory.path(), |it| {
        forge(it, 1, |lines| {
            lines[0] = lines[0].replacen("nothing", "sealed", 1)
        });
    });
    assert_eq!(first, (1, "1:1".to_owned()));
    let first = after(directory.path(), |it| {
        forge(it, 1, |lines| _ = lines.remove(0))
    });
    assert_eq!(first, (1, "1:1".to_owned()));
}

#[test]
fn a_thousand_events_may_follow_a_signed_checkpoint_and_no_more() {
    let (directory, _) = log(false);
    for (count, expected) in [(994, (0, String::new())), (1000, (1, "3:1003".to_owned()))] {
        let longer = copy(directory.path());
        forge(longer.path(), 3, |lines| {
            lines.truncate(2);
            for seq in 5..=6 + count {
                let line = String::from_utf8(event("i1", seq)).unwrap();
                lines.push(line[..line.len() - 1].to_owned());
            }
        });
        assert_whole(longer.path());
        assert_eq!(verdict(&check_with(longer.path(), &with_key())), expected);
    }
}

#[test]
fn a_checkpoint_that_says_something_else_is_found() {
    let (directory, _) = log(true);
    // Somebody who has the key signs another place.
    let position = scan::Header::read(&segment(directory.path(), 2))
        .unwrap()
        .unwrap()
        .open
        .start();
    forge(directory.path(), 2, |lines| {
        let wrong = checkpoint::Checkpoint::new(ORIGIN, &position.next_segment());
        let note = wrong.sign(&signer());
        lines[1] = record::Own::Checkpoint { note }.body(at(0), "i1");
    });
    assert_eq!(verdict(&check(directory.path())), (1, "2:2".to_owned()));
}

#[test]
fn what_cannot_be_read_is_said_in_its_turn() {
    let (directory, _) = log(true);
    let path = segment(directory.path(), 2);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(verdict(&check(directory.path())), (4, "2:1".to_owned()));
    let first = segment(directory.path(), 1);
    let text = fs::read_to_string(&first).unwrap();
    fs::write(&first, text.replace(r#""seq":2"#, r#""seq":3"#)).unwrap();
    assert_eq!(verdict(&check(directory.path())), (1, "1:4".to_owned()));
    let report = check(&directory.path().join("missing"));
    assert_eq!(report.outcome.exit_code(), 4);
}

#[test]
fn files_of_other_names_are_none_of_the_log() {
    let (directory, _) = log(true);
    let names = [
        "audit-000000000000.jsonl",
        "audit-4.jsonl",
        "audit-00000000000x.jsonl",
        "notes",
    ];
    for name in names {
        fs::write(directory.path().join(name), "x\n").unwrap();
    }
    assert_eq!(assert_whole(directory.path()).end.segment, 3);
}

#[test]
fn a_missing_seq_has_to_be_accounted_for() {
    let outcome = |lines: &[Vec<u8>]| {
        let directory = scratch();
        let (mut log, _) = Log::open(options(directory.path(), "i1"), at(0)).unwrap();
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        log.append(&lines, at(1)).unwrap();
        log.close(at(2)).unwrap();
        let report = check(directory.path());
        (
            verdict(&report),
            report.outcome.problem().and_then(|problem| problem.seq),
        )
    };
    let whole = ((0, String::new()), None);
    let event = |seq| event("i1", seq);
    let gap = |seq, from, to| gap("i1", seq, from, to);
    assert_eq!(
        outcome(&[event(1), event(4)]),
        ((5, "1:3".to_owned()), Some(4))
    );
    assert_eq!(outcome(&[event(2)]), ((5, "1:2".to_owned()), Some(2)));
    assert_eq!(outcome(&[event(1), gap(4, 2, 3), event(5)]), whole);
    assert_eq!(outcome(&[event(1), event(4), gap(5, 2, 3)]), whole);
    assert_eq!(outcome(&[event(1), gap(2, 3, 4), event(5)]), whole);
    assert_eq!(
        outcome(&[event(1), gap(5, 2, 3), event(6)]),
        ((5, "1:3".to_owned()), Some(5))
    );
    assert_eq!(outcome(&[event(1), gap(5, 2, 2), gap(6, 3, 4)]), whole);
    // They may come in another order than they were numbered in, but not twice.
    assert_eq!(outcome(&[event(1), event(3), event(2), event(4)]), whole);
    assert_eq!(outcome(&[event(0), event(1)]), whole);
    assert_eq!(
        outcome(&[event(1), event(2), event(2)]),
        ((1, "1:4".to_owned()), Some(2))
    );
    assert_eq!(
        outcome(&[event(1), event(1)]),
        ((1, "1:3".to_owned()), Some(1))
    );
}
