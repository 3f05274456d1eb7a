//! Formats a record as a line of JSON.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use http::Version;

use super::entry::{
    CompletionFacts, DecisionFacts, Entry, Facts, KeyFacts, KeysFacts, LIMITS, PolicyFacts,
    SpeechFacts, Text, TokenFacts,
};
use super::json::Object;
use super::{Rejected, Start, Stop};
use crate::principal::{Principal, Validity};

/// The version of the schema (`docs/audit.schema.json`).
const SCHEMA: u64 = 1;
/// The longest line, without the chain.
pub(super) const MAX_LINE: usize = 4096 - CHAIN_BYTES;
/// `,"chain":"…"` and the newline.
const CHAIN_BYTES: usize = 80;
const MAX_ID_BYTES: usize = 320;
/// Of the issuer and of the identifier of a token.
const MAX_TOKEN_BYTES: usize = 128;
const MAX_LABEL_BYTES: usize = 256;
const MAX_SCOPES_BYTES: usize = 512;
const MAX_RIGHTS_BYTES: usize = 768;
/// A voice, a model or a language.
const MAX_NAME_BYTES: usize = 128;

/// Formats records with the common fields of a process.
pub(super) struct LineWriter {
    /// A random value for each start.
    instance: String,
}

impl LineWriter {
    pub(super) fn new(instance: String) -> Self {
        Self { instance }
    }

    /// Writes one record, without a newline. `texts` are the texts of its batch.
    pub(super) fn write(&self, line: &mut String, entry: &Entry, texts: &[u8]) {
        let start = line.len();
        // Escaped text is up to six times as long. If it is too long for a line, it is truncated
        // further.
        for share in [1, 2, 4, 16] {
            line.truncate(start);
            self.write_share(line, entry, texts, share);
            if line.len() - start <= MAX_LINE {
                return;
            }
        }
    }

    /// Writes a record of lost records.
    pub(super) fn write_gap(&self, line: &mut String, time: SystemTime, lost: RangeInclusive<u64>) {
        let mut object = self.begin(line, None, time, "gap");
        object.number("from", *lost.start());
        object.number("to", *lost.end());
        object.end();
    }

    fn begin<'a>(
        &self,
        line: &'a mut String,
        seq: Option<u64>,
        time: SystemTime,
        event: &str,
    ) -> Object<'a> {
        let mut object = Object::begin(line);
        object.number("v", SCHEMA);
        if let Some(seq) = seq {
            object.number("seq", seq);
        }
        object.word("ts", humantime::format_rfc3339_micros(time));
        object.literal("instance", &self.instance);
        object.literal("event", event);
        object
    }

    fn write_share(&self, line: &mut String, entry: &Entry, texts: &[u8], share: usize) {
        let event = match entry.facts {
            Facts::Start(_) => "start",
            Facts::Stop(_) => "stop",
            Facts::Rejected(_) => "rejected",
            Facts::Keys(_) => "keys",
            Facts::Key(_) => "key",
            Facts::PolicyChanged(_) => "policy_changed",
            Facts::Token(_) => "token",
            Facts::Decision(_) => "decision",
            Facts::Completion(_) => "complete",
        };
        let mut object = self.begin(line, Some(entry.seq), entry.time, event);
        match &entry.facts {
            Facts::Start(start) => write_start(&mut object, start),
            Facts::Stop(Stop { why, .. }) => object.text("why", why.as_bytes(), 64),
            Facts::Rejected(rejected) => write_rejected(&mut object, rejected),
            Facts::Keys(keys) => write_keys(&mut object, keys),
            Facts::Key(key) => write_key(&mut object, key, entry.time, share),
            Facts::PolicyChanged(changed) => write_policy_changed(&mut object, changed),
            Facts::Token(token) => write_token(&mut object, token, share),
            Facts::Decision(decision) => write_decision(&mut object, decision, texts, share),
            Facts::Completion(completion) => write_completion(&mut object, completion, share),
        }
        object.end();
    }
}

fn write_start(object: &mut Object<'_>, start: &Start) {
    object.word("version", env!("CARGO_PKG_VERSION"));
    object.word("mode", start.mode);
    object.literal("dialect", start.dialect);
    object.number("keys", start.keys as u64);
    if !start.key_ring.is_empty() {
        object.word("key_ring", &start.key_ring);
    }
    object.word("config", &start.config);
    if !start.policy.is_empty() {
        object.word("policy", &start.policy);
    }
    object.text("public", start.public.as_bytes(), 1024);
    object.text("listen", start.listen.as_bytes(), 1024);
    object.boolean("exposed", start.exposed);
    if let Some(changed) = &start.changed_settings {
        object.text("changed_settings", changed.as_bytes(), 1024);
    }
}

fn write_rejected(object: &mut Object<'_>, rejected: &Rejected) {
    object.literal("reason", rejected.reason);
    object.word("peer", rejected.peer);
    if let Some(client) = rejected.client {
        object.word("client", client);
    }
    object.number("bytes_received", rejected.bytes_received);
    if rejected.omitted > 0 {
        object.number("omitted", rejected.omitted);
    }
}

fn write_keys(object: &mut Object<'_>, facts: &KeysFacts) {
    object.number("generation", facts.generation);
    object.number("keys", facts.keys as u64);
    object.number("changes", facts.changes as u64);
    object.word("key_ring", &facts.digest);
}

fn write_key(object: &mut Object<'_>, facts: &KeyFacts, now: SystemTime, share: usize) {
    object.number("generation", facts.generation);
    object.word("change", facts.change);
    write_principal(object, &facts.principal, share);
    if let Some(note) = facts
        .principal
        .change_note()
        .filter(|_| facts.change != "removed")
    {
        for (name, text) in [("changed_by", &note.by), ("changed_reason", &note.reason)] {
            if let Some(text) = text {
                object.text(name, text.as_bytes(), MAX_LABEL_BYTES / share);
            }
        }
    }
    object.word("state", facts.principal.state(now).as_str());
    let Validity {
        not_before,
        expires,
    } = facts.principal.validity();
    for (name, time) in [("not_before", not_before), ("expires", expires)] {
        if let Some(time) = time {
            object.word(name, humantime::format_rfc3339_seconds(time));
        }
    }
    let rights = [
        ("rights_before", &facts.rights_before),
        ("rights", &facts.rights),
    ];
    for (name, rights) in rights {
        if let Some(rights) = rights {
            object.text(name, rights.as_bytes(), MAX_RIGHTS_BYTES / share);
        }
    }
}

fn write_policy_changed(object: &mut Object<'_>, facts: &PolicyFacts) {
    object.number("rules_before", facts.rules_before as u64);
    object.number("rules", facts.rules as u64);
    let digests = [
        ("policy_before", &facts.policy_before),
        ("policy", &facts.policy),
    ];
    for (name, digest) in digests {
        if let Some(digest) = digest {
            object.word(name, digest);
        }
    }
}

fn write_token(object: &mut Object<'_>, facts: &TokenFacts, share: usize) {
    object.word("request_id", facts.request_id);
    write_principal(object, &facts.principal, share);
    if let Some(voices) = facts.principal.voices() {
        let voices = voices.join(" ");
        object.text("voices", voices.as_bytes(), MAX_SCOPES_BYTES / share);
    }
    object.word("kind", facts.principal.kind().as_str());
    object.text("jti", facts.token_id.as_bytes(), 64);
    object.word("expires", humantime::format_rfc3339_seconds(facts.expires));
    object.boolean("single_use", facts.single_use);
}

fn write_decision(object: &mut Object<'_>, facts: &DecisionFacts, texts: &[u8], share: usize) {
    let refused = facts.denial.is_some();
    object.literal("outcome", if refused { "refused" } else { "accepted" });
    object.literal("reason", facts.denial.map_or("ok", |kind| kind.as_str()));
    if let Some(reason) = facts.token_error {
        object.literal("token_error", reason);
    }
    if let Some(limit) = facts.limit {
        object.literal("limit", limit.as_str());
    }
    if let Some(status) = facts.status {
        object.number("status", status.into());
    }
    write_queued(object, facts.queued);
    facts
        .request_id
        .with_text(|id| object.literal("request_id", id));
    if let Some(trace_id) = facts.trace_id {
        object.word("trace_id", trace_id);
    }
    write_text(object, "trace_parent", facts, Text::TraceParent, texts, 1);
    if let Some(via) = facts.via {
        object.literal("via", via);
    }
    object.literal("dialect", facts.dialect);
    if let Some(method) = facts.auth_method {
        object.literal("auth_method", method.as_str());
    }
    if let Some(principal) = &facts.principal {
        write_principal(object, principal, share);
    }
    if let Some(method) = facts.text(Text::RuleMethod, texts) {
        let path = facts.text(Text::RulePath, texts).unwrap_or_default();
        object.text("rule", &[method, b" ", path].concat(), 300 / share);
    }
    let required_scope = Text::RequiredScope;
    write_text(
        object,
        "required_scope",
        facts,
        required_scope,
        texts,
        share,
    );
    if let Some(credential) = facts.credential {
        object.word("cred_fp", credential);
    }
    if let Some(peer) = facts.peer {
        object.address("peer", peer);
    }
    if let Some(client) = facts.client {
        object.word("client", client);
    }
    write_text(
        object,
        "client_request_id",
        facts,
        Text::ClientRequestId,
        texts,
        1,
    );
    write_text(object, "host", facts, Text::Host, texts, share);
    write_text(object, "method", facts, Text::Method, texts, 1);
    write_text(object, "path", facts, Text::Path, texts, share);
    write_text(object, "query_names", facts, Text::QueryNames, texts, share);
    write_text(object, "user_agent", facts, Text::UserAgent, texts, share);
    object.literal("protocol", protocol(facts.version));
    if facts.truncated {
        object.was_cut();
    }
}

fn write_text(
    object: &mut Object<'_>,
    name: &str,
    facts: &DecisionFacts,
    which: Text,
    texts: &[u8],
    share: usize,
) {
    if let Some(text) = facts.text(which, texts) {
        object.text(name, text, LIMITS[which as usize] / share);
    }
}

fn write_principal(object: &mut Object<'_>, principal: &Principal, share: usize) {
    // A subject of another issuer can be longer than a key id.
    object.text("key_id", principal.id().as_bytes(), MAX_ID_BYTES / share);
    if let Some(account) = principal.account() {
        object.text("account", account.id().as_bytes(), 64);
    }
    if let Some(label) = principal.label() {
        object.text("label", label.as_bytes(), MAX_LABEL_BYTES / share);
    }
    if let Some(token) = principal.token() {
        let issuer = token.issuer().as_bytes();
        object.text("token_issuer", issuer, MAX_TOKEN_BYTES / share);
        if let Some(id) = token.id() {
            object.text("token_id", id.as_bytes(), MAX_TOKEN_BYTES / share);
        }
    }
    if let Some(scopes) = principal.scopes() {
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        object.text(
            "scopes",
            scopes.join(" ").as_bytes(),
            MAX_SCOPES_BYTES / share,
        );
    }
}

fn write_completion(object: &mut Object<'_>, facts: &CompletionFacts, share: usize) {
    facts
        .request_id
        .with_text(|id| object.literal("request_id", id));
    if let Some(trace_id) = facts.trace_id {
        object.word("trace_id", trace_id);
    }
    write_principal(object, &facts.principal, share);
    if let Some(status) = facts.status {
        object.number("status", status.into());
    }
    if let Some(failure) = facts.failure {
        object.literal("failure", failure.as_str());
    }
    object.literal("ended", facts.ended.as_str());
    object.number("duration_us", microseconds(facts.duration));
    write_queued(object, facts.queued);
    if let Some(first_byte) = facts.first_byte {
        object.number("first_byte_us", microseconds(first_byte));
    }
    object.number("bytes_sent", facts.bytes_sent);
    if let Some(received) = facts.bytes_received {
        object.number("bytes_received", received);
    }
    if let Some(speech) = &facts.speech {
        write_speech(object, speech, share);
    }
}

fn write_speech(object: &mut Object<'_>, speech: &SpeechFacts, share: usize) {
    object.number("characters", speech.characters);
    if speech.unmetered {
        object.boolean("unmetered", true);
    }
    if speech.uncounted {
        object.boolean("uncounted", true);
    }
    if let Some(audio) = speech.audio_ms {
        object.number("audio_ms", audio);
    }
    let billed = &speech.billed;
    for (name, number) in [
        ("characters_billed", billed.characters),
        ("audio_billed_ms", billed.audio_ms),
        ("cost_micros", billed.cost_micros),
    ] {
        if let Some(number) = number {
            object.number(name, number);
        }
    }
    if let Some(currency) = &billed.currency {
        object.text("cost_currency", currency.as_bytes(), MAX_NAME_BYTES / share);
    }
    for (name, text) in [
        ("voice", &speech.voice),
        ("model", &speech.model),
        ("language", &speech.language),
    ] {
        if let Some(text) = text {
            object.text(name, text.as_bytes(), MAX_NAME_BYTES / share);
        }
    }
    if speech.several_voices {
        object.boolean("several_voices", true);
    }
}

fn write_queued(object: &mut Object<'_>, queued: Option<Duration>) {
    if let Some(queued) = queued {
        object.number("queued_us", microseconds(queued));
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
