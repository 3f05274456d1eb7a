//! What stands in the files, read by other means than the log's own.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::*;

#[test]
fn every_line_is_chained_to_the_one_before_it_across_segments_and_starts() {
    let directory = tempfile::tempdir().unwrap();
    for instance in ["first", "second"] {
        let mut writer = Writer::open(options(directory.path(), instance));
        writer.write(3);
        writer.rotate();
        writer.write(2);
        writer.close();
    }
    let mut chain = [0; 32];
    for number in 1..=4 {
        let text = fs::read_to_string(segment(directory.path(), number)).unwrap();
        assert!(text.is_ascii() && text.ends_with('\n'));
        for line in text.lines() {
            let (body, rest) = line.rsplit_once(r#","chain":""#).unwrap();
            chain = Sha256::new()
                .chain_update(chain)
                .chain_update(body)
                .finalize()
                .into();
            assert_eq!(rest, format!("{}\"}}", chain::hex(&chain)));
        }
    }
    let report = assert_whole(directory.path());
    assert!(report.sealed && !report.live);
    assert_eq!(
        (report.events, report.end.segment, report.end.chain),
        (10, 4, report.end.chain)
    );
    assert_eq!(report.end.chain.as_bytes(), &chain);
    let expected = [numbered("first", 5), numbered("second", 5)].concat();
    assert_eq!(events(directory.path()), expected);
}

#[test]
fn the_log_s_own_lines_are_as_documented() {
    let directory = tempfile::tempdir().unwrap();
    let mut with_notes = options(directory.path(), "i1");
    Notes::default().collect(&mut with_notes);
    let mut writer = Writer::open(with_notes);
    writer.write(1);
    writer.close();
    let text = fs::read_to_string(segment(directory.path(), 1)).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| &line[..line.len() - 76]).collect();
    let zeroes = "0".repeat(64);
    let open = format!(
        r#"{{"v":1,"event":"segment_open","ts":"2023-11-14T22:13:20.000000Z","instance":"i1","segment":1,"origin":"voxgate.example/audit","follows":"nothing","recoveries":0,"end":0,"lines":0,"previous":"{zeroes}""#
    );
    assert_eq!(lines[0], open);
    let note = r#"{"v":1,"event":"checkpoint","ts":"2023-11-14T22:13:20.000000Z","instance":"i1","note":"voxgate.example/audit\n1\n"#;
    assert!(lines[1].starts_with(note), "{}", lines[1]);
    let signature = r"\nsegment 1 line 1\n\n\u2014 voxgate.example/key ";
    assert!(lines[1].contains(signature), "{}", lines[1]);
    assert_eq!(
        lines[2].as_bytes(),
        event("i1", 1).strip_suffix(b"}").unwrap()
    );
    let seal = r#"{"v":1,"event":"segment_seal","ts":"2023-11-14T22:13:23.000000Z","instance":"i1","reason":"stop","line":4"#;
    assert_eq!(lines[3], seal);
}

#[test]
fn files_are_for_their_owner_and_reserve_nothing_once_sealed() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("audit");
    let mut large = options(&directory, "i1");
    large.segment_bytes = 4 * 1024 * 1024;
    let mut writer = Writer::open(large);
    writer.write(1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let file = segment(&directory, 1);
    assert_eq!(mode(&file), 0o600);
    let reserved = fs::metadata(&file).unwrap();
    assert!(reserved.len() < 2048, "the length is that of its lines");
    let probe = fs::File::create(parent.path().join("probe")).unwrap();
    let keep_size = rustix::fs::FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(&probe, keep_size, 0, 4096) {
        Ok(()) => assert!(reserved.blocks() * 512 >= 4 * 1024 * 1024),
        Err(_) => skipped("reserving room for the audit log", "the file system cannot"),
    }
    writer.close();
    let kept = fs::metadata(&file).unwrap().blocks() * 512;
    assert!(kept <= 64 * 1024, "{kept}");

    let mut large = options(&directory, "i2");
    large.segment_bytes = 4 * 1024 * 1024;
    Writer::open(large).write(1);
    // Its writer was killed; the next one tidies up.
    drop(Log::open(options(&directory, "i3"), at(0)).unwrap());
    let kept = fs::metadata(segment(&directory, 2)).unwrap().blocks() * 512;
    assert!(kept <= 64 * 1024, "{kept}");
}

/// The status and the output of the verifier in Python.
pub(super) fn python(directory: &Path) -> (i32, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/audit_verify.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(directory)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn python_comes_to_the_same_verdict() {
    let directory = tempfile::tempdir().unwrap();
    for instance in ["a", "b", "c"] {
        let mut with_notes = options(directory.path(), instance);
        Notes::default().collect(&mut with_notes);
        let mut writer = Writer::open(with_notes);
        writer.write(90);
        match instance {
            "b" => {
                drop(writer);
                // As a crash leaves it.
                let path = segment(directory.path(), 4);
                let text = fs::read(&path).unwrap();
                fs::write(&path, &text[..text.len() - 5]).unwrap();
            }
            _ => writer.close(),
        }
    }
    let report = assert_whole(directory.path());
    let (code, text) = python(directory.path());
    assert_eq!(code, 0, "{text}");
    let expected = format!("{} lines, chain {}\n", report.end.lines, report.end.chain);
    assert_eq!(text, expected);

    for number in 1..=report.end.segment {
        let changed = copy(directory.path());
        let path = segment(changed.path(), number);
        let text = fs::read_to_string(&path).unwrap();
        let second = text.find('\n').unwrap() + 1;
        let (before, after) = text.split_at(second);
        fs::write(&path, [before, &after.replacen(":1,", ":2,", 1)].concat()).unwrap();
        let (code, text) = python(changed.path());
        let ours = verdict(&check(changed.path()));
        assert_eq!((code, text), (1, format!("audit-{number:012}.jsonl:2\n")));
        assert_eq!(ours, (1, format!("{number}:2")));
    }
}
