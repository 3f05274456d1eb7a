//! Answers the six questions of an auditor over a log of one day, with the program itself. The page
//! docs/how-to/audit-transcript.md is what it says.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use voxgate_audit_log::{Log, LogOptions, Signer};

const INSTANCE: &str = "00ff00ff00ff00ff";

/// 2026-03-14T10:00:00Z.
fn morning() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_773_482_400)
}

/// A log as a gateway writes it: its lines have `seq` and `ts` in order.
struct Day {
    log: Log,
    seq: u64,
}

impl Day {
    fn record(&mut self, minute: u64, second: u64, fields: &str) {
        self.seq += 1;
        let line = format!(
            "{{\"v\":1,\"seq\":{},\"ts\":\"2026-03-14T10:{minute:02}:{second:02}.000000Z\",\
             \"instance\":\"{INSTANCE}\",{fields}}}",
            self.seq
        );
        let time = morning() + Duration::from_secs(60 * minute + second);
        self.log.append(&[line.as_bytes()], time).unwrap();
    }

    fn accepted(&mut self, minute: u64, request: &str, caller: [&str; 3], bytes: u64) {
        let [key, account, peer] = caller;
        self.record(
            minute,
            0,
            &format!(
                "\"event\":\"decision\",\"outcome\":\"accepted\",\"reason\":\"ok\",\"request_id\":\"{request}\",\
                 \"dialect\":\"rime\",\"auth_method\":\"api_key\",\"key_id\":\"{key}\",\"account\":\"{account}\",\
                 \"peer\":\"{peer}:50000\",\"host\":\"tts\",\"method\":\"POST\",\"path\":\"/v1/rime-tts\",\
                 \"protocol\":\"HTTP/1.1\""
            ),
        );
        self.record(
            minute,
            1,
            &format!(
                "\"event\":\"complete\",\"request_id\":\"{request}\",\"key_id\":\"{key}\",\"account\":\"{account}\",\
                 \"status\":200,\"ended\":\"ok\",\"duration_us\":950000,\"first_byte_us\":180000,\
                 \"bytes_sent\":{bytes},\"characters\":{},\"audio_ms\":{},\"voice\":\"cove\"",
                bytes / 800,
                bytes / 48
            ),
        );
    }

    fn refused(&mut self, minute: u64, request: &str, reason: &str, status: u16, more: &str) {
        self.record(
            minute,
            30,
            &format!(
                "\"event\":\"decision\",\"outcome\":\"refused\",\"reason\":\"{reason}\",\"status\":{status},\
                 \"request_id\":\"{request}\",\"dialect\":\"rime\",{more},\"host\":\"tts\",\"method\":\"POST\",\
                 \"path\":\"/v1/rime-tts\",\"protocol\":\"HTTP/1.1\""
            ),
        );
    }
}

/// Writes the log into `directory/audit`, and beside it the public key and the checkpoints that were
/// kept elsewhere.
fn write_log(directory: &Path) {
    let signer = Signer::new("audit", &[7; 32]).unwrap();
    fs::write(directory.join("audit.pub"), signer.verifier().to_string()).unwrap();
    let audit = directory.join("audit");
    let mut options = LogOptions::new(&audit, INSTANCE, "voxgate/tts-1");
    options.signer = Some(signer);
    options.low_space_bytes = 0;
    options.least_space_bytes = 0;
    let notes = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&notes);
    options.on_checkpoint = Some(Box::new(move |note| {
        let line = serde_json::json!({ "message": "audit checkpoint", "note": note });
        writeln!(kept.lock().unwrap(), "{line}").unwrap();
    }));
    let (log, _) = Log::open(options, morning()).unwrap();
    let mut day = Day { log, seq: 0 };
    day.record(
        0,
        0,
        "\"event\":\"start\",\"version\":\"0.1.0\",\"mode\":\"validate\",\"dialect\":\"rime\",\"keys\":3,\
         \"config\":\"0123456789ab\",\"public\":\"\",\"listen\":\"0.0.0.0:8080\",\"exposed\":false,\
         \"changed_settings\":\"\"",
    );
    let (ivr, web) = (
        ["ivr-prod", "acme", "10.1.2.3"],
        ["web", "initech", "10.9.8.7"],
    );
    day.accepted(4, "0198c0de-0000-7000-8000-000000000001", ivr, 48_000);
    day.accepted(9, "0198c0de-0000-7000-8000-000000000002", ivr, 96_000);
    day.accepted(11, "0198c0de-0000-7000-8000-000000000003", web, 12_000);
    let unknown = "\"cred_fp\":\"0011223344556677\",\"peer\":\"203.0.113.5:40000\"";
    for (minute, last) in [(12, 4), (13, 5), (14, 6)] {
        let id = format!("0198c0de-0000-7000-8000-00000000000{last}");
        day.refused(minute, &id, "unknown_credential", 401, unknown);
    }
    day.refused(
        15,
        "0198c0de-0000-7000-8000-000000000007",
        "missing_credential",
        401,
        "\"peer\":\"10.9.8.7:50001\"",
    );
    day.refused(
        20,
        "0198c0de-0000-7000-8000-000000000008",
        "insufficient_scope",
        403,
        "\"key_id\":\"reader\",\"account\":\"initech\",\"scopes\":\"voices:read\",\
         \"rule\":\"POST /v1/rime-tts\",\"required_scope\":\"tts:synthesize\",\"peer\":\"10.9.8.7:50002\"",
    );
    day.record(
        30,
        0,
        "\"event\":\"keys\",\"generation\":2,\"keys\":3,\"changes\":1,\"key_ring\":\"0123456789ab\"",
    );
    day.record(
        30,
        0,
        "\"event\":\"key\",\"generation\":2,\"change\":\"changed\",\"key_id\":\"web\",\"account\":\"initech\",\
         \"changed_by\":\"ann@build-1\",\"changed_reason\":\"ticket 17: the laptop was stolen\",\
         \"state\":\"disabled\",\"rights_before\":\"disabled=unset\",\"rights\":\"disabled=true\"",
    );
    day.record(50, 0, "\"event\":\"stop\",\"why\":\"SIGTERM\"");
    day.log
        .close(morning() + Duration::from_secs(3_000))
        .unwrap();
    fs::write(
        directory.join("checkpoints.jsonl"),
        notes.lock().unwrap().as_str(),
    )
    .unwrap();
}

/// The command's output, or its error.
fn ask(directory: &Path, command: &str) -> String {
    let words = command
        .split(' ')
        .skip(1)
        .map(|word| word.trim_matches('\''));
    let output = Command::new(env!("CARGO_BIN_EXE_voxgate"))
        .args(words)
        .current_dir(directory)
        .env_clear()
        .env("VOXGATE_AUDIT_DIR", "audit")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap()
}

const QUESTIONS: [(&str, &str, &[&str]); 6] = [
    (
        "Who used the key `ivr-prod` in this hour?",
        "Each row is a request: from which address, with which result.",
        &["voxgate audit query --key ivr-prod --since 2026-03-14T10:00Z --until 2026-03-14T11:00Z"],
    ),
    (
        "Which addresses failed to authenticate?",
        "The report lists the addresses and the fingerprints of unknown credentials. Three attempts from one \
         address with one fingerprint are one client with a wrong key.",
        &["voxgate audit report --since 2026-03-14 --until 2026-03-14 --by hour --outcome refused"],
    ),
    (
        "What was refused, and why?",
        "The reasons are in the query; `voxgate explain` says what to change.",
        &[
            "voxgate audit query --outcome refused --since 2026-03-14 --until 2026-03-14",
            "voxgate explain --request-id 0198c0de-0000-7000-8000-000000000008",
        ],
    ),
    (
        "How much was spoken for each account?",
        "Characters and audio of a month; `audit query --by day` has the requests and bytes of each day.",
        &[
            "voxgate usage --month 2026-03 --by account",
            "voxgate audit query --account acme --outcome accepted --by day",
        ],
    ),
    (
        "Who revoked the key `web`?",
        "`voxgate key revoke` writes who ran it, and `--reason`, into the keys file; the gateway records both.",
        &["voxgate audit query --event key --key web"],
    ),
    (
        "Can you prove it?",
        "The public key and the checkpoints were kept in another place. The first word is what is proven.",
        &["voxgate audit verify --pubkey audit.pub --checkpoints checkpoints.jsonl"],
    ),
];

#[test]
fn the_reference_transcript_of_an_auditors_questions_is_current() {
    let directory = tempfile::tempdir().unwrap();
    write_log(directory.path());
    let mut page = "<!-- Generated by crates/gateway/tests/it/transcript.rs. To update this page, run `make \
                    reference`. -->\n# Six questions of an auditor\n\nOne hour of a gateway's audit log, and what the \
                    commands answer. Times are in UTC; `--tz Europe/Berlin` shows those of another zone. How to write \
                    such a log is in [Answer an auditor](answer-an-auditor.md).\n\n"
        .to_owned();
    for (number, (question, about, commands)) in QUESTIONS.iter().enumerate() {
        let number = number + 1;
        writeln!(page, "## {number}. {question}\n\n{about}\n\n```text").unwrap();
        for command in *commands {
            let answer = ask(directory.path(), command);
            assert!(!answer.trim().is_empty(), "{command}");
            writeln!(page, "$ {command}\n{}\n", answer.trim_end()).unwrap();
        }
        page.truncate(page.trim_end().len());
        page.push_str("\n```\n\n");
    }
    let page = page.trim_end().to_owned() + "\n";
    // The page answers, whatever its layout is.
    for wanted in [
        "10.1.2.3",
        "203.0.113.5",
        "unknown_credential",
        "requires the scope tts:synthesize, and reader has only voices:read",
        "144.0 kB",
        "ann@build-1",
        "\nwhole\n",
    ] {
        assert!(page.contains(wanted), "no {wanted} in {page}");
    }
    super::reference::compare("../how-to/audit-transcript.md", &page);
}
