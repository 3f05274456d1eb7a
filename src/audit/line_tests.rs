use std::sync::{Arc, LazyLock};

use http::{Method, StatusCode};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::Value;
use voxgate_core::denial::{Denial, DenialKind};
use voxgate_core::request_id::RequestId;
use voxgate_core::trace::TraceContext;
use voxgate_limits::Limits;

use super::*;
use crate::audit::{
    AuditRecord, Completion, Decision, Ended, KeyRecord, Keys, Pepper, PolicyChanged, QueryNames,
    Rejected, TokenRecord,
};
use crate::principal::{Account, AuthMethod, Scope};
use crate::secret::RawCredential;
use crate::speech::{AnswerField, SpeechMeter};

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = include_str!("../../docs/audit.schema.json");
    let schema = serde_json::from_str(schema).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
});

fn line(record: &AuditRecord<'_>) -> String {
    let mut text = Vec::new();
    let entry = Entry::copy(7, record, &mut text);
    let mut line = String::new();
    LineWriter::new("0123456789abcdef".to_owned()).write(&mut line, &entry, &text);
    let read: Value = serde_json::from_str(&line).expect("JSON");
    if let Err(error) = SCHEMA.validate(&read) {
        panic!("{error}: {line}");
    }
    assert!(line.len() <= MAX_LINE, "{} bytes", line.len());
    assert!(
        line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{line}"
    );
    line
}

fn request_id() -> RequestId {
    RequestId::new(Duration::from_secs(1))
}

fn decision<'a>(method: &'a Method, path: &'a str) -> Decision<'a> {
    Decision {
        time: SystemTime::UNIX_EPOCH,
        request_id: request_id(),
        trace: None,
        via: None,
        dialect: "rime",
        auth_method: Some(AuthMethod::ApiKey),
        principal: None,
        denial: None,
        limit: None,
        queued: None,
        status: None,
        http_method: method,
        path,
        peer: None,
        client: None,
        client_request_id: None,
        user_agent: None,
        host: None,
        query: None,
        version: Version::HTTP_11,
        trace_parent: None,
        rule: None,
        required_scope: None,
        credential: None,
    }
}

#[test]
fn a_decision_has_all_fields_in_a_fixed_order() {
    let account = Arc::new(Account::new("acme", Limits::default()));
    let principal = Principal::new("ivr")
        .with_label("IVR, \"production\"")
        .with_scopes(["a", "b"].map(|scope| Scope::new(scope).expect("a scope")))
        .with_account(account);
    let pepper = Pepper::new(b"0123456789abcdef").expect("a pepper");
    let denial = Denial::new(DenialKind::InsufficientScope);
    let record = Decision {
        via: Some("nginx"),
        auth_method: None,
        principal: Some(&principal),
        denial: Some(&denial),
        status: Some(StatusCode::FORBIDDEN),
        peer: Some(([127, 0, 0, 1], 80).into()),
        client: Some([203, 0, 113, 7].into()),
        client_request_id: Some(b"theirs \"1\""),
        user_agent: Some(b"curl"),
        host: Some(b"tts"),
        query: Some(QueryNames::of("speaker=cove&hunter2&api_key=hunter2")),
        trace: TraceContext::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        trace_parent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        rule: Some(("POST", "/v1/*")),
        required_scope: Some("tts:synthesize"),
        credential: Some(pepper.fingerprint(RawCredential::new(b"hunter2"))),
        ..decision(&Method::POST, "/v1/rime-tts")
    };
    let line = line(&AuditRecord::Decision(record));
    let id = request_id().to_string();
    let shown = line.replace(
        line.split("\"request_id\":\"")
            .nth(1)
            .map_or("", |at| &at[..id.len()]),
        "ID",
    );
    let fingerprint = pepper.fingerprint(RawCredential::new(b"hunter2"));
    assert_eq!(
        shown,
        format!(
            "{{\"v\":1,\"seq\":7,\"ts\":\"1970-01-01T00:00:00.000000Z\",\"instance\":\"0123456789abcdef\",\
             \"event\":\"decision\",\"outcome\":\"refused\",\"reason\":\"insufficient_scope\",\"status\":403,\
             \"request_id\":\"ID\",\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\",\"trace_parent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\",\
             \"via\":\"nginx\",\"dialect\":\"rime\",\"key_id\":\"ivr\",\"account\":\"acme\",\"label\":\"IVR, \\\"production\\\"\",\
             \"scopes\":\"a b\",\"rule\":\"POST /v1/*\",\"required_scope\":\"tts:synthesize\",\"cred_fp\":\"{fingerprint}\",\"peer\":\"127.0.0.1:80\",\
             \"client\":\"203.0.113.7\",\"client_request_id\":\"theirs \\\"1\\\"\",\
             \"host\":\"tts\",\"method\":\"POST\",\"path\":\"/v1/rime-tts\",\
             \"query_names\":\"speaker&*&api_key\",\"user_agent\":\"curl\",\"protocol\":\"HTTP/1.1\"}}"
        )
    );
}

#[test]
fn other_records_match_the_schema() {
    let principal = Principal::new("ivr");
    let time = SystemTime::UNIX_EPOCH;
    let completion = Completion {
        time,
        request_id: request_id(),
        trace: None,
        via: None,
        principal: &principal,
        status: Some(StatusCode::SERVICE_UNAVAILABLE),
        failure: Some(DenialKind::Unavailable),
        ended: Ended::Revoked,
        duration: Duration::MAX,
        queued: Some(Duration::from_micros(1_500)),
        first_byte: Some(Duration::from_micros(5)),
        bytes_sent: u64::MAX,
        bytes_received: Some(0),
        speech: None,
    };
    line(&AuditRecord::Completion(completion.clone()));
    let meter = SpeechMeter::new();
    meter.add_characters(12);
    meter.mark_unmetered();
    meter.mark_uncounted();
    meter.set_audio(Duration::from_millis(3_400));
    meter.add_billed(AnswerField::Characters, "11.5");
    meter.add_billed(AnswerField::AudioSeconds, "3.4");
    meter.add_billed(AnswerField::CostCents, "0.12");
    meter.add_billed(AnswerField::Currency, "EUR");
    meter.set_voice("first");
    meter.set_voice("vxg_a-token-in-the-wrong-place");
    meter.set_model("mist\"v2");
    meter.set_language("en");
    let spoken = Completion {
        speech: Some(&meter),
        ..completion.clone()
    };
    let shown = line(&AuditRecord::Completion(spoken));
    let expected = "\"characters\":12,\"unmetered\":true,\"uncounted\":true,\"audio_ms\":3400,\
                    \"characters_billed\":12,\"audio_billed_ms\":3400,\"cost_micros\":1200,\
                    \"cost_currency\":\"EUR\",\"voice\":\"***\",\
                    \"model\":\"mist\\\"v2\",\"language\":\"en\",\"several_voices\":true";
    assert!(shown.contains(expected), "{shown}");
    let silent = SpeechMeter::new();
    let silent = Completion {
        speech: Some(&silent),
        ..completion
    };
    assert!(!line(&AuditRecord::Completion(silent)).contains("characters"));
    line(&AuditRecord::Start(Start {
        time,
        mode: "validate",
        dialect: "rime",
        keys: 3,
        key_ring: "0123456789ab".to_owned(),
        config: "0123456789ab".to_owned(),
        policy: "ab".repeat(32),
        public: "GET /health".to_owned(),
        listen: "127.0.0.1:80".to_owned(),
        exposed: false,
        changed_settings: Some("VOXGATE_LISTEN VOXGATE_LOG".to_owned()),
    }));
    line(&AuditRecord::Stop(Stop {
        time,
        why: "SIGTERM",
    }));
    line(&AuditRecord::Keys(Keys {
        time,
        generation: 2,
        digest: "0123456789ab",
        keys: 1,
        changes: 1,
    }));
    let rejected = |omitted| Rejected {
        time,
        peer: ([192, 0, 2, 1], 80).into(),
        client: None,
        reason: "malformed",
        bytes_received: 12,
        omitted,
    };
    let shown = line(&AuditRecord::Rejected(rejected(0)));
    let fields = "\"event\":\"rejected\",\"reason\":\"malformed\",\"peer\":\"192.0.2.1:80\",\"bytes_received\":12";
    assert!(shown.ends_with(&format!("{fields}}}")), "{shown}");
    let shown = line(&AuditRecord::Rejected(rejected(3)));
    assert!(
        shown.ends_with(&format!("{fields},\"omitted\":3}}")),
        "{shown}"
    );
    let validity = Validity {
        not_before: Some(time),
        expires: Some(time + Duration::from_secs(1)),
    };
    line(&AuditRecord::Key(KeyRecord {
        time,
        generation: 2,
        change: "added",
        principal: &principal.clone().with_validity(validity),
        before: None,
    }));
    let shown = |before: Option<&Principal>, change| {
        line(&AuditRecord::Key(KeyRecord {
            time,
            generation: 2,
            change,
            principal: &Principal::new("ivr")
                .with_scopes(["a"])
                .with_voices(["cove"]),
            before,
        }))
    };
    let before = Principal::new("ivr").with_scopes(["a", "b"]);
    let told = shown(Some(&before.with_voices(["cove"])), "changed");
    let rights = ",\"rights_before\":\"scopes=a b\",\"rights\":\"scopes=a\"}";
    assert!(told.ends_with(rights), "{told}");
    let told = shown(None, "added");
    assert!(
        told.ends_with(",\"rights\":\"scopes=a; voices=cove\"}"),
        "{told}"
    );
    let told = shown(Some(&Principal::new("ivr")), "removed");
    assert!(told.ends_with(",\"rights_before\":\"unset\"}"), "{told}");
    let many = Principal::new("ivr").with_voices((0..500).map(|at| format!("\u{e9}{at}")));
    let told = shown(Some(&many), "changed");
    assert!(told.ends_with("\"truncated\":true}"), "{told}");
    let shown = line(&AuditRecord::PolicyChanged(PolicyChanged {
        time,
        rules: 4,
        rules_before: 3,
        policy: Some(&"ab".repeat(32)),
        policy_before: None,
    }));
    assert!(
        shown.contains(
            "\"event\":\"policy_changed\",\"rules_before\":3,\"rules\":4,\"policy\":\"abab"
        ),
        "{shown}"
    );
    let noted = principal
        .clone()
        .with_change_note(Some("ann@host"), Some("ticket \"17\""));
    let note = ",\"changed_by\":\"ann@host\",\"changed_reason\":\"ticket \\\"17\\\"\",\"state\":";
    for (change, has_note) in [("changed", true), ("removed", false)] {
        let shown = line(&AuditRecord::Key(KeyRecord {
            time,
            generation: 2,
            change,
            principal: &noted,
            before: None,
        }));
        assert_eq!(shown.contains(note), has_note, "{shown}");
    }
    let token = |principal: &Principal| {
        line(&AuditRecord::Token(TokenRecord {
            time,
            request_id: RequestId::new(Duration::ZERO),
            principal,
            token_id: "t-1",
            expires: time + Duration::from_secs(30),
            single_use: true,
        }))
    };
    let shown = token(&principal);
    assert!(shown.contains("\"event\":\"token\""), "{shown}");
    assert!(
        shown.contains("\"kind\":\"standard\",\"jti\":\"t-1\","),
        "{shown}"
    );
    assert!(!shown.contains("\"voices\""), "{shown}");
    let limited = Principal::new("ivr").with_voices(["cove", "team-*"]);
    let shown = token(&limited.with_kind(crate::principal::KeyKind::Realtime));
    assert!(
        shown.contains("\"voices\":\"cove team-*\",\"kind\":\"realtime\""),
        "{shown}"
    );
    let mut gap = String::new();
    LineWriter::new("0123456789abcdef".to_owned()).write_gap(&mut gap, time, 3..=5);
    let gap: Value = serde_json::from_str(&gap).expect("JSON");
    assert!(SCHEMA.is_valid(&gap), "{gap}");
    assert_eq!((&gap["from"], &gap["to"]), (&3.into(), &5.into()));
}

proptest! {
    /// Any input makes one line of ASCII within the maximum length that matches the schema.
    #[test]
    fn any_input_makes_one_valid_line(
        host in prop::collection::vec(any::<u8>(), 0..600),
        agent in prop::collection::vec(any::<u8>(), 0..600),
        path in "[\\x00-\\x1f\"\\\\é\u{2028}\u{202e}🦀a]{0,700}",
        query in "[\\x00\"&;=é🦀a]{0,400}",
        label in "[\u{7f}é🦀\"]{0,300}",
    ) {
        let principal = Principal::new("ivr").with_label(&label);
        let method = Method::from_bytes(&[b'M'; 60]).expect("a method");
        let record = Decision {
            principal: Some(&principal),
            user_agent: Some(&agent),
            host: Some(&host),
            query: Some(QueryNames::of(&query)),
            rule: Some(("POST", &path)),
            ..decision(&method, &path)
        };
        let line = line(&AuditRecord::Decision(record));
        if path.len() > 512 || agent.len() > 256 || host.len() > 255 {
            prop_assert!(line.contains("\"truncated\":true"));
        }
    }
}
