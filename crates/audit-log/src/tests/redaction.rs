//! Redacted logs: they verify, what was removed is gone, and an edit is never taken for a redaction.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::sample::Index;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::redaction::redact_with;

const ALICE: &str = "203.0.113.9:5353";
const BOB: &str = "198.51.100.7:1234";
const FIELDS: [&str; 5] = ["request_id", "trace_id", "peer", "user_agent", "key_id"];

fn request_id(number: u64) -> String {
    format!("01a1fec5-6611-74f7-83d4-{number:012x}")
}

fn decision(instance: &str, seq: u64, request: u64, peer: &str) -> Vec<u8> {
    let id = request_id(request);
    format!(
        r#"{{"v":1,"seq":{seq},"ts":"2026-11-21T15:02:16.000000Z","instance":"{instance}","event":"decision","outcome":"accepted","request_id":"{id}","trace_id":"{request:032x}","key_id":"ivr","peer":"{peer}","path":"/a\"b","user_agent":"py\u00e4"}}"#
    )
    .into_bytes()
}

fn complete(instance: &str, seq: u64, request: u64) -> Vec<u8> {
    let id = request_id(request);
    format!(
        r#"{{"v":1,"seq":{seq},"ts":"2026-11-21T15:02:17.000000Z","instance":"{instance}","event":"complete","request_id":"{id}","trace_id":"{request:032x}","key_id":"ivr","status":200}}"#
    )
    .into_bytes()
}

impl Writer {
    fn append(&mut self, line: impl FnOnce(&str, u64) -> Vec<u8>) {
        self.seq += 1;
        let line = line(&self.instance, self.seq);
        let now = self.now();
        self.log.append(&[&line], now).unwrap();
    }
}

/// Three segments: requests 1 and 3 are Alice's, request 2 is Bob's.
fn log(notes: &Notes) -> (TempDir, Writer) {
    let directory = scratch();
    let mut signed = options(directory.path(), "i1");
    notes.collect(&mut signed);
    let mut writer = Writer::open(signed);
    writer.append(|instance, seq| decision(instance, seq, 1, ALICE));
    writer.append(|instance, seq| decision(instance, seq, 2, BOB));
    writer.append(|instance, seq| complete(instance, seq, 1));
    writer.rotate();
    writer.append(|instance, seq| decision(instance, seq, 3, ALICE));
    writer.append(|instance, seq| complete(instance, seq, 2));
    writer.append(|instance, seq| complete(instance, seq, 3));
    writer.rotate();
    (directory, writer)
}

fn is_alice(record: Redactable<'_>) -> bool {
    record.text("peer").as_deref() == Some(ALICE)
}

fn signed_options() -> RedactOptions<'static> {
    let mut options = RedactOptions::new(&is_alice, &FIELDS);
    options.signer = Some(signer());
    options.by = "ann@host".to_owned();
    options.reason = "ticket \"17\"".to_owned();
    options
}

fn texts(directory: &Path) -> String {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let texts = entries.map(|entry| fs::read(entry.path()).unwrap());
    String::from_utf8_lossy(&texts.collect::<Vec<_>>().concat()).into_owned()
}

#[track_caller]
fn assert_redacted(directory: &Path, notes: &Notes, lines: u64) {
    let mut options = with_key();
    options.checkpoints = Some(notes.checkpoints());
    let report = check_with(directory, &options);
    assert_eq!(report.outcome, VerifyOutcome::Whole, "{report:#?}");
    let redacted = report.redacted;
    assert_eq!(
        (redacted.lines, redacted.unproven, redacted.pending),
        (lines, 0, 0)
    );
    assert!(report.notes.is_empty(), "{:?}", report.notes);
}

#[test]
fn what_is_removed_is_gone_and_the_log_still_verifies() {
    let notes = Notes::default();
    let (directory, mut writer) = log(&notes);
    let directory = directory.path();
    let before = copy(directory);
    let times = |directory: &Path| {
        [1, 2].map(|it| {
            fs::metadata(segment(directory, it))
                .unwrap()
                .modified()
                .unwrap()
        })
    };
    let written = times(directory);
    let report = redact(directory, &signed_options()).unwrap();
    assert_eq!((report.records, report.segments), (4, 2));
    assert_eq!((report.postponed, report.others.len()), (0, 0));
    assert_eq!(times(directory), written);
    assert_redacted(directory, &notes, 4);
    let text = texts(directory);
    for removed in [
        ALICE,
        &request_id(1),
        &request_id(3),
        &format!("{:032x}", 3),
    ] {
        assert!(!text.contains(removed), "{removed}");
    }
    // Records that belong together still do, and all others are what they were.
    for number in [1, 2] {
        let [old, new] = [before.path(), directory]
            .map(|directory| fs::read_to_string(segment(directory, number)).unwrap());
        assert_eq!(old.len(), new.len());
        for (old, new) in old.lines().zip(new.lines()) {
            let ours = [1, 3].iter().any(|it| old.contains(&request_id(*it)));
            assert_eq!(old != new, ours, "{new}");
            assert_eq!(old.len(), new.len());
            assert_eq!(&old[old.len() - 75..], &new[new.len() - 75..]);
        }
    }
    let ids = |number| -> Vec<String> {
        let text = fs::read_to_string(segment(directory, number)).unwrap();
        let found = text
            .lines()
            .filter_map(|line| line.split_once(r#""request_id":""#));
        found.map(|(_, rest)| rest[..36].to_owned()).collect()
    };
    let (first, second) = (ids(1), ids(2));
    assert_eq!((&first[0], &first[1]), (&first[2], &second[1]));
    assert_eq!(second[0], second[2]);
    assert!(first[0].starts_with("01a1fec5-6611-7") && first[0] != second[0]);

    let (code, said) = format::python(directory);
    assert!(
        code == 7 && said.contains("4 lines are redacted"),
        "{code} {said}"
    );

    // Nothing is selected any more, and the gateway goes on, also after a restart.
    assert_eq!(redact(directory, &signed_options()).unwrap().records, 0);
    writer.write(3);
    writer.close();
    let mut next = options(directory, "i2");
    notes.collect(&mut next);
    let mut next = Writer::open(next);
    next.write(2);
    next.close();
    assert_redacted(directory, &notes, 4);
}

#[test]
fn a_copy_of_a_removed_line_can_be_proven_to_be_the_one() {
    let notes = Notes::default();
    let (directory, _writer) = log(&notes);
    let text = fs::read_to_string(segment(directory.path(), 1)).unwrap();
    let at = text.lines().position(|line| line.contains(ALICE)).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    redact(directory.path(), &signed_options()).unwrap();
    let redacted = fs::read_to_string(segment(directory.path(), 1)).unwrap();
    let chain_of = |line: &str| line[line.len() - 66..line.len() - 2].to_owned();
    let before = chain::read_hex::<32>(chain_of(&lines[at - 1]).as_bytes()).unwrap();
    let body = chain::unchecked_body(lines[at].as_bytes()).unwrap();
    let hash = Sha256::new()
        .chain_update(before)
        .chain_update(body)
        .finalize();
    assert_eq!(
        chain::hex(&hash),
        chain_of(redacted.lines().nth(at).unwrap())
    );
}

#[test]
fn the_segment_that_is_written_is_left() {
    let notes = Notes::default();
    let (directory, mut writer) = log(&notes);
    let directory = directory.path();
    // This request began in a closed segment and ends in the open one; that one has not ended.
    writer.append(|instance, seq| decision(instance, seq, 4, ALICE));
    writer.append(|instance, seq| decision(instance, seq, 5, ALICE));
    writer.rotate();
    writer.append(|instance, seq| complete(instance, seq, 4));
    let now = writer.now();
    writer.log.sync(now).unwrap();
    let report = redact(directory, &signed_options()).unwrap();
    assert_eq!((report.records, report.postponed), (4, 3));
    assert_redacted(directory, &notes, 4);
    writer.append(|instance, seq| complete(instance, seq, 5));
    writer.rotate();
    let report = redact(directory, &signed_options()).unwrap();
    assert_eq!((report.records, report.postponed), (4, 0));
    assert_redacted(directory, &notes, 8);
    assert!(!texts(directory).contains(ALICE));
    // A closed log has no such segment.
    writer.append(|instance, seq| decision(instance, seq, 6, ALICE));
    writer.close();
    assert_eq!(redact(directory, &signed_options()).unwrap().records, 1);
    assert_redacted(directory, &notes, 9);
}

#[test]
fn a_redaction_that_is_killed_leaves_a_log_that_verifies_and_can_be_completed() {
    let notes = Notes::default();
    let (original, _writer) = log(&notes);
    let mut steps = 0;
    loop {
        let directory = copy(original.path());
        let mut left: u32 = steps;
        let killed = redact_with(directory.path(), &signed_options(), &mut || {
            left = left.checked_sub(1_u32).ok_or(io::ErrorKind::Interrupted)?;
            Ok(())
        });
        let mut options = with_key();
        options.checkpoints = Some(notes.checkpoints());
        let report = check_with(directory.path(), &options);
        assert_eq!(report.outcome, VerifyOutcome::Whole, "{report:#?}");
        assert_eq!(report.redacted.unproven, 0);
        // The gateway starts on it.
        let started = copy(directory.path());
        drop(Log::open(super::options(started.path(), "i2"), at(0)).unwrap());
        assert_eq!(check(started.path()).outcome, VerifyOutcome::Whole);

        redact(directory.path(), &signed_options()).unwrap();
        assert_redacted(directory.path(), &notes, 4);
        let text = texts(directory.path());
        assert!(!text.contains(ALICE) && !text.contains(&request_id(1)));
        assert_eq!(names::all_unfinished(directory.path()).unwrap(), [""; 0]);
        if killed.is_ok() {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 10, "{steps}");
}

#[test]
fn every_flipped_bit_of_a_redacted_log_is_found() {
    let notes = Notes::default();
    let (directory, writer) = log(&notes);
    writer.close();
    let directory = directory.path();
    redact(directory, &signed_options()).unwrap();
    for path in [segment(directory, 2), directory.join(names::redactions(2))] {
        let text = fs::read(&path).unwrap();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1 << (at % 7);
            fs::write(&path, &changed).unwrap();
            let report = check_with(directory, &with_key());
            let code = report.outcome.exit_code();
            // A list that is no longer text cannot be read.
            assert!(
                code == 1 || code == 4,
                "{}:{at}: {report:#?}",
                path.display()
            );
        }
        fs::write(&path, &text).unwrap();
    }
    assert_redacted(directory, &notes, 4);
}

/// Replaces text in a line of segment 1 and its list, as an attacker without the key would.
fn forge(directory: &Path, fields: &str, change: impl FnOnce(&str) -> String) {
    let path = segment(directory, 1);
    let text = fs::read_to_string(&path).unwrap();
    let at = text.lines().position(|line| line.contains(BOB)).unwrap();
    let line = text.lines().nth(at).unwrap();
    let forged = change(line);
    let chain = &line[line.len() - 66..line.len() - 2];
    let hash = |text: &str| chain::hex(&Sha256::digest(text));
    let mut list = format!(
        "{{\"v\":1,\"event\":\"redaction\",\"ts\":\"2026-11-21T15:02:16.000000Z\",\"segment\":1,\
         \"origin\":\"{ORIGIN}\",\"by\":\"\",\"reason\":\"\"}}\n\
         {{\"line\":{},\"chain\":\"{chain}\",\"sha256\":\"{}\",\"fields\":\"{fields}\"}}\n",
        at + 1,
        hash(&forged)
    );
    let sha256 = Sha256::digest(&list);
    let note = format!(
        "{ORIGIN}\nredaction\n{}\nsegment 1\n",
        STANDARD.encode(sha256)
    );
    let other = Signer::new(KEY_NAME, &[8; 32]).unwrap();
    let note = fields::escape(&other.sign(&note));
    list += &format!(
        "{{\"event\":\"redaction_end\",\"sha256\":\"{}\",\"note\":\"{note}\"}}\n",
        chain::hex(&sha256)
    );
    let list_path = directory.join(names::redactions(1));
    let old = fs::read_to_string(&list_path).unwrap_or_default();
    fs::write(list_path, old + &list).unwrap();
    fs::write(&path, text.replace(line, &forged)).unwrap();
}

#[test]
fn an_edit_that_pretends_to_be_a_redaction_is_found() {
    let notes = Notes::default();
    let (directory, writer) = log(&notes);
    writer.close();
    let masked = |line: &str| line.replace(BOB, &"*".repeat(BOB.len()));
    for is_redacted_before in [false, true] {
        let changed = copy(directory.path());
        if is_redacted_before {
            redact(changed.path(), &signed_options()).unwrap();
        }
        // An edit without a list, or one that the list does not name.
        let path = segment(changed.path(), 1);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, masked(&text)).unwrap();
        assert_eq!(check(changed.path()).outcome.exit_code(), 1);
        assert_eq!(format::python(changed.path()).0, 1);
        fs::write(&path, &text).unwrap();
        // With a list of its own: the key shows it. Without the key, it is not proven.
        forge(changed.path(), "peer", |line| {
            masked(line).replace("accepted", "refused_")
        });
        let report = check_with(changed.path(), &with_key());
        assert_eq!(report.outcome.exit_code(), 1, "{report:#?}");
        let report = check(changed.path());
        assert_eq!(report.outcome, VerifyOutcome::Whole);
        let lines = report.redacted.lines;
        assert_eq!(report.redacted.unproven, lines);
        assert_eq!(lines, if is_redacted_before { 5 } else { 1 });
    }
    // The fields that it names must be masked, and of those that can be removed.
    for (fields, from, to) in [
        ("peer", "accepted", "refused_"),
        ("outcome", "accepted", "********"),
        ("peer path", BOB, "****************"),
    ] {
        let changed = copy(directory.path());
        forge(changed.path(), fields, |line| line.replace(from, to));
        assert_eq!(check(changed.path()).outcome.exit_code(), 1, "{fields}");
        // Which fields may be removed is not known to it.
        let code = if fields == "outcome" { 7 } else { 1 };
        assert_eq!(format::python(changed.path()).0, code, "{fields}");
    }
}

#[test]
fn a_redaction_belongs_to_one_segment_of_one_log() {
    let notes = Notes::default();
    let (directory, writer) = log(&notes);
    writer.close();
    redact(directory.path(), &signed_options()).unwrap();
    let list = |directory: &Path, number| directory.join(names::redactions(number));
    let changes: [&dyn Fn(&Path); 3] = [
        &|it| fs::remove_file(list(it, 1)).unwrap(),
        &|it| _ = fs::copy(list(it, 2), list(it, 1)).unwrap(),
        &|it| fs::write(list(it, 1), "").unwrap(),
    ];
    for change in changes {
        let changed = copy(directory.path());
        change(changed.path());
        let (code, _) = verdict(&check_with(changed.path(), &with_key()));
        assert_eq!(code, 1);
    }
    // A list beside a segment that it is not of is found, too, when the segment is not redacted.
    let changed = copy(directory.path());
    fs::copy(list(changed.path(), 1), list(changed.path(), 3)).unwrap();
    let found = verdict(&check_with(changed.path(), &with_key()));
    assert_eq!(found.0, 1);
}

#[test]
fn a_signed_log_needs_its_key_and_a_changed_log_is_left() {
    let notes = Notes::default();
    let (directory, writer) = log(&notes);
    writer.close();
    let refused = |options: &RedactOptions<'_>| redact(directory.path(), options).unwrap_err();
    let mut options = signed_options();
    options.signer = None;
    let text = refused(&options).to_string();
    assert!(text.contains("VOXGATE_AUDIT_SIGNING_KEY_FILE"), "{text}");
    options.signer = Some(Signer::new(KEY_NAME, &[8; 32]).unwrap());
    let text = refused(&options).to_string();
    assert!(text.contains("signed by another key"), "{text}");
    let path = segment(directory.path(), 1);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("accepted", "refused_")).unwrap();
    let said = refused(&signed_options()).to_string();
    assert!(said.contains("does not verify"), "{said}");
    fs::write(&path, &text).unwrap();
    let mut options = signed_options();
    options.dry_run = true;
    options.signer = None;
    let before = texts(directory.path());
    assert_eq!(redact(directory.path(), &options).unwrap().records, 4);
    assert_eq!(texts(directory.path()), before);
}

#[test]
fn retention_deletes_what_belongs_to_a_segment() {
    let notes = Notes::default();
    let (directory, writer) = log(&notes);
    writer.close();
    redact(directory.path(), &signed_options()).unwrap();
    let mut short = options(directory.path(), "i2");
    notes.collect(&mut short);
    short.retention.max_bytes = Some(1);
    let mut writer = Writer::open(short);
    writer.write(1);
    writer.rotate();
    for number in [1, 2] {
        assert!(!segment(directory.path(), number).exists());
        assert!(!directory.path().join(names::redactions(number)).exists());
    }
    writer.close();
    let report = check_with(directory.path(), &with_key());
    assert_eq!(
        (report.outcome, report.redacted.lines),
        (VerifyOutcome::Whole, 0)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_log_can_be_redacted_again_and_again(
        requests in prop::collection::vec((0..4_u8, any::<bool>(), any::<bool>()), 1..30),
        order in prop::collection::vec(0..4_u8, 1..4),
        flip: Index,
    ) {
        let notes = Notes::default();
        let directory = scratch();
        let mut signed = options(directory.path(), "i1");
        notes.collect(&mut signed);
        let mut writer = Writer::open(signed);
        let peer = |who: u8| format!("203.0.113.{who}:{}", 1000 + u16::from(who));
        for (number, (who, ends, rotates)) in requests.iter().enumerate() {
            let number = number as u64 + 1;
            writer.append(|instance, seq| decision(instance, seq, number, &peer(*who)));
            if *rotates {
                writer.rotate();
            }
            if *ends {
                writer.append(|instance, seq| complete(instance, seq, number));
            }
        }
        writer.close();
        let mut all = std::collections::BTreeSet::new();
        for who in order {
            let wanted = peer(who);
            let select = |record: Redactable<'_>| record.text("peer") == Some(wanted.clone());
            let mut options = RedactOptions::new(&select, &FIELDS);
            options.signer = Some(signer());
            let report = redact(directory.path(), &options).unwrap();
            let theirs = requests.iter().filter(|(it, ..)| *it == who);
            let count = theirs.map(|(_, ends, _)| 1 + u64::from(*ends)).sum::<u64>();
            prop_assert_eq!(report.records, if all.insert(who) { count } else { 0 });
            prop_assert!(!texts(directory.path()).contains(&wanted));
        }
        let report = check_with(directory.path(), &with_key());
        prop_assert_eq!(&report.outcome, &VerifyOutcome::Whole);
        let lines = requests.iter().filter(|(who, ..)| all.contains(who));
        let lines = lines.map(|(_, ends, _)| 1 + u64::from(*ends)).sum::<u64>();
        prop_assert_eq!((report.redacted.lines, report.redacted.pending), (lines, 0));
        // Any change of a segment that is not the last one is found.
        let number = 1;
        if report.end.segment > number {
            let path = segment(directory.path(), number);
            let mut text = fs::read(&path).unwrap();
            let at = flip.index(text.len());
            text[at] ^= 1;
            fs::write(&path, &text).unwrap();
            prop_assert_eq!(check_with(directory.path(), &with_key()).outcome.exit_code(), 1);
        }
    }
}
