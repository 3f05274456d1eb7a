//! A record that waits to be written: copied from the request, but not formatted yet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Version;
use voxgate_core::denial::DenialKind;
use voxgate_core::request_id::RequestId;
use voxgate_core::trace::TraceId;
use voxgate_limits::Limit;

use super::fingerprint::CredentialFingerprint;
use super::{AuditRecord, Completion, Decision, Ended, QueryNames, Rejected, Start, Stop};
use crate::principal::{AuthMethod, Principal};
use crate::speech::{Billed, SpeechMeter};

/// What the tokens that Voxgate makes begin with, and what stands for a name that has one.
const TOKEN_PREFIX: &str = "vxg_";
const MASKED: &str = "***";
/// Maximum number of bytes that are kept of each untrusted text.
pub(super) const LIMITS: [usize; TEXTS] = [32, 512, 256, 255, 256, 55, 32, 256, 128, 128];
pub(super) const TEXTS: usize = 10;

/// The untrusted texts of a decision, in the order in which they are stored.
#[derive(Clone, Copy)]
pub(super) enum Text {
    Method,
    Path,
    QueryNames,
    Host,
    UserAgent,
    TraceParent,
    RuleMethod,
    RulePath,
    ClientRequestId,
    RequiredScope,
}

/// One record.
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) time: SystemTime,
    pub(super) facts: Facts,
}

pub(super) enum Facts {
    /// The rare records.
    Start(Box<Start>),
    Stop(Stop),
    Rejected(Box<Rejected>),
    Keys(Box<KeysFacts>),
    Key(Box<KeyFacts>),
    PolicyChanged(Box<PolicyFacts>),
    Token(Box<TokenFacts>),
    Decision(DecisionFacts),
    Completion(CompletionFacts),
}

pub(super) struct KeysFacts {
    pub(super) generation: u64,
    pub(super) digest: String,
    pub(super) keys: usize,
    pub(super) changes: usize,
}

pub(super) struct KeyFacts {
    pub(super) generation: u64,
    pub(super) change: &'static str,
    pub(super) principal: Principal,
    pub(super) rights: Option<String>,
    pub(super) rights_before: Option<String>,
}

pub(super) struct PolicyFacts {
    pub(super) rules: usize,
    pub(super) rules_before: usize,
    pub(super) policy: Option<Box<str>>,
    pub(super) policy_before: Option<Box<str>>,
}

pub(super) struct TokenFacts {
    pub(super) request_id: RequestId,
    pub(super) principal: Principal,
    pub(super) token_id: Box<str>,
    pub(super) expires: SystemTime,
    pub(super) single_use: bool,
}

pub(super) struct DecisionFacts {
    pub(super) request_id: RequestId,
    pub(super) trace_id: Option<TraceId>,
    pub(super) via: Option<&'static str>,
    pub(super) dialect: &'static str,
    pub(super) auth_method: Option<AuthMethod>,
    pub(super) principal: Option<Principal>,
    pub(super) denial: Option<DenialKind>,
    pub(super) token_error: Option<&'static str>,
    pub(super) limit: Option<Limit>,
    pub(super) queued: Option<Duration>,
    pub(super) status: Option<u16>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) client: Option<IpAddr>,
    pub(super) version: Version,
    pub(super) credential: Option<CredentialFingerprint>,
    /// The start of this record's text in the text of the batch, and the length of each part.
    /// `None` for a missing part.
    pub(super) texts: usize,
    pub(super) lengths: [Option<u16>; TEXTS],
    /// Whether a text was truncated.
    pub(super) truncated: bool,
}

pub(super) struct CompletionFacts {
    pub(super) request_id: RequestId,
    pub(super) trace_id: Option<TraceId>,
    pub(super) principal: Principal,
    pub(super) status: Option<u16>,
    pub(super) failure: Option<DenialKind>,
    pub(super) ended: Ended,
    pub(super) duration: Duration,
    pub(super) queued: Option<Duration>,
    pub(super) first_byte: Option<Duration>,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: Option<u64>,
    pub(super) speech: Option<Box<SpeechFacts>>,
}

/// What a request spoke, when it ended.
pub(super) struct SpeechFacts {
    pub(super) characters: u64,
    pub(super) unmetered: bool,
    pub(super) uncounted: bool,
    pub(super) audio_ms: Option<u64>,
    pub(super) billed: Billed,
    pub(super) voice: Option<Arc<str>>,
    pub(super) several_voices: bool,
    pub(super) model: Option<Arc<str>>,
    pub(super) language: Option<Arc<str>>,
}

impl Entry {
    /// Copies a record. Its texts are appended to `text`.
    pub(super) fn copy(seq: u64, record: &AuditRecord<'_>, text: &mut Vec<u8>) -> Self {
        let (time, facts) = match record {
            AuditRecord::Start(start) => (start.time, Facts::Start(Box::new(start.clone()))),
            AuditRecord::Stop(stop) => (stop.time, Facts::Stop(stop.clone())),
            AuditRecord::Rejected(rejected) => {
                let facts = Facts::Rejected(Box::new(rejected.clone()));
                (rejected.time, facts)
            }
            AuditRecord::Keys(keys) => {
                let facts = KeysFacts {
                    generation: keys.generation,
                    digest: keys.digest.to_owned(),
                    keys: keys.keys,
                    changes: keys.changes,
                };
                (keys.time, Facts::Keys(Box::new(facts)))
            }
            AuditRecord::Key(key) => {
                let (rights_before, rights) = key.rights();
                let facts = KeyFacts {
                    generation: key.generation,
                    change: key.change,
                    principal: key.principal.clone(),
                    rights,
                    rights_before,
                };
                (key.time, Facts::Key(Box::new(facts)))
            }
            AuditRecord::PolicyChanged(changed) => {
                let facts = PolicyFacts {
                    rules: changed.rules,
                    rules_before: changed.rules_before,
                    policy: changed.policy.map(Into::into),
                    policy_before: changed.policy_before.map(Into::into),
                };
                (changed.time, Facts::PolicyChanged(Box::new(facts)))
            }
            AuditRecord::Token(token) => {
                let facts = TokenFacts {
                    request_id: token.request_id,
                    principal: token.principal.clone(),
                    token_id: token.token_id.into(),
                    expires: token.expires,
                    single_use: token.single_use,
                };
                (token.time, Facts::Token(Box::new(facts)))
            }
            AuditRecord::Decision(decision) => {
                let facts = DecisionFacts::copy(decision, text);
                (decision.time, Facts::Decision(facts))
            }
            AuditRecord::Completion(completion) => {
                let facts = CompletionFacts::copy(completion);
                (completion.time, Facts::Completion(facts))
            }
        };
        Self { seq, time, facts }
    }

    /// Moves the position of its texts by this number of bytes.
    pub(super) fn shift_texts(&mut self, by: usize) {
        if let Facts::Decision(decision) = &mut self.facts {
            decision.texts += by;
        }
    }
}

impl DecisionFacts {
    fn copy(decision: &Decision<'_>, text: &mut Vec<u8>) -> Self {
        let mut facts = Self {
            request_id: decision.request_id,
            trace_id: decision.trace.map(|trace| trace.trace_id()),
            via: decision.via,
            dialect: decision.dialect,
            auth_method: decision.auth_method,
            principal: decision.principal.cloned(),
            denial: decision.denial.map(|denial| denial.kind()),
            token_error: decision.denial.and_then(|denial| denial.token_error()),
            limit: decision.limit,
            queued: decision.queued,
            status: decision.status.map(|status| status.as_u16()),
            peer: decision.peer,
            client: decision.client,
            version: decision.version,
            credential: decision.credential,
            texts: text.len(),
            lengths: [None; TEXTS],
            truncated: false,
        };
        let (rule_method, rule_path) = decision.rule.unzip();
        facts.keep(
            Text::Method,
            Some(decision.http_method.as_str().as_bytes()),
            text,
        );
        facts.keep(Text::Path, Some(decision.path.as_bytes()), text);
        facts.keep_query_names(decision.query, text);
        facts.keep(Text::Host, decision.host, text);
        facts.keep(Text::UserAgent, decision.user_agent, text);
        facts.keep(
            Text::TraceParent,
            decision.trace_parent.map(str::as_bytes),
            text,
        );
        facts.keep(Text::RuleMethod, rule_method.map(str::as_bytes), text);
        facts.keep(Text::RulePath, rule_path.map(str::as_bytes), text);
        facts.keep(Text::ClientRequestId, decision.client_request_id, text);
        let required_scope = decision.required_scope.map(str::as_bytes);
        facts.keep(Text::RequiredScope, required_scope, text);
        facts
    }

    fn keep(&mut self, which: Text, given: Option<&[u8]>, text: &mut Vec<u8>) {
        let Some(given) = given else { return };
        let kept = &given[..given.len().min(LIMITS[which as usize])];
        text.extend_from_slice(kept);
        self.lengths[which as usize] = u16::try_from(kept.len()).ok();
        self.truncated |= kept.len() < given.len();
    }

    fn keep_query_names(&mut self, query: Option<QueryNames<'_>>, text: &mut Vec<u8>) {
        let Some(query) = query else { return };
        let start = text.len();
        let limit = LIMITS[Text::QueryNames as usize];
        for (at, name) in query.iter().enumerate() {
            if at > 0 {
                text.push(b'&');
            }
            text.extend_from_slice(&name.as_bytes()[..name.len().min(limit + 1)]);
            if text.len() - start > limit {
                text.truncate(start + limit);
                self.truncated = true;
                break;
            }
        }
        self.lengths[Text::QueryNames as usize] = u16::try_from(text.len() - start).ok();
    }

    /// Returns one text of this record, from the texts of the batch.
    pub(super) fn text<'a>(&self, which: Text, all: &'a [u8]) -> Option<&'a [u8]> {
        let length = |length: &Option<u16>| length.map_or(0, usize::from);
        let before: usize = self.lengths[..which as usize].iter().map(length).sum();
        let start = self.texts + before;
        all.get(start..start + usize::from(self.lengths[which as usize]?))
    }
}

/// Hides a name that contains a token of ours: a client has sent it in the wrong place.
fn masked(name: Arc<str>) -> Arc<str> {
    match name.contains(TOKEN_PREFIX) {
        true => MASKED.into(),
        false => name,
    }
}

impl CompletionFacts {
    fn copy(completion: &Completion<'_>) -> Self {
        Self {
            request_id: completion.request_id,
            trace_id: completion.trace.map(|trace| trace.trace_id()),
            principal: completion.principal.clone(),
            status: completion.status.map(|status| status.as_u16()),
            failure: completion.failure,
            ended: completion.ended,
            duration: completion.duration,
            queued: completion.queued,
            first_byte: completion.first_byte,
            bytes_sent: completion.bytes_sent,
            bytes_received: completion.bytes_received,
            speech: completion.speech.and_then(SpeechFacts::of).map(Box::new),
        }
    }
}

impl SpeechFacts {
    /// `None` for a request that spoke nothing.
    fn of(meter: &SpeechMeter) -> Option<Self> {
        let facts = Self {
            characters: meter.characters(),
            unmetered: meter.is_unmetered(),
            uncounted: meter.is_uncounted(),
            audio_ms: meter.audio_milliseconds(),
            billed: meter.billed(),
            voice: meter.voice().map(masked),
            several_voices: meter.has_several_voices(),
            model: meter.model().map(masked),
            language: meter.language().map(masked),
        };
        let spoke = facts.characters > 0 || facts.unmetered || facts.audio_ms.is_some();
        let spoke = spoke || facts.uncounted || facts.billed != Billed::default();
        (spoke || facts.voice.is_some() || facts.model.is_some()).then_some(facts)
    }
}
