//! What has to be read of a request, and why.

use std::sync::Arc;

use http::Request;
use voxgate_speech::{Field, Reader, Reading};

use crate::policy::Policy;
use crate::principal::Principal;
use crate::speech::{self, KnownNames, SpeechMeter, TextQuota};
use crate::websocket::asks_for_websocket;

/// What the pipeline asks of the bodies of its requests.
#[derive(Clone, Default)]
pub(in crate::auth) struct Inspecting {
    pub(super) quota: Option<Arc<dyn TextQuota>>,
}

/// What has to be read of one request.
#[derive(Clone)]
pub(in crate::auth) struct Inspection {
    pub(super) reader: Arc<Reader>,
    pub(super) principal: Principal,
    pub(super) meter: SpeechMeter,
    /// The quota of the principal, if it has one.
    pub(super) quota: Option<Arc<dyn TextQuota>>,
    /// The names in the request's head, which the policy has checked.
    pub(super) head: KnownNames,
    /// The characters in the request's head.
    pub(super) head_characters: u64,
    /// Whether what cannot be read is refused.
    pub(super) limited: bool,
}

impl Inspecting {
    /// What has to be read of an accepted request. `None` if nothing asks.
    pub(in crate::auth) fn of<B>(
        &self,
        policy: &Policy,
        principal: &Principal,
        request: &Request<B>,
        dialect: &str,
        meter: Option<&SpeechMeter>,
    ) -> Option<Inspection> {
        let quota = self.quota.clone();
        let quota = quota.filter(|quota| quota.limits(principal));
        if meter.is_none() && quota.is_none() && principal.is_unlimited() {
            return None;
        }
        let rule = policy.rule_of(request, dialect)?;
        let Some(reader) = rule.reader() else {
            if let Some(meter) = meter.filter(|_| rule.speaks()) {
                meter.mark_unmetered();
            }
            return None;
        };
        let profile = reader.profile();
        let is_websocket = asks_for_websocket(request);
        let is_read = |field| match is_websocket {
            true => profile.messages_have(field),
            false => profile.body_has(field),
        };
        // A name that only the head can have is checked already.
        let limited = speech::is_limited(principal, is_read)
            || (is_read(Field::Fetch) && !speech::may_fetch(principal));
        if meter.is_none() && quota.is_none() && !limited {
            return None;
        }
        let head = rule.read_head(reader, request);
        let meter = meter.cloned().unwrap_or_default();
        meter.set_reader(reader);
        note_names(&meter, &head);
        Some(Inspection {
            head_characters: head.characters,
            head: speech::check_names(principal, &head).unwrap_or_default(),
            reader: Arc::clone(reader),
            principal: principal.clone(),
            meter,
            quota,
            limited,
        })
    }
}

impl Inspection {
    /// The meter of the request.
    pub(in crate::auth) fn meter(&self) -> &SpeechMeter {
        &self.meter
    }
}

/// Tells the meter the names of a reading.
pub(super) fn note_names(meter: &SpeechMeter, reading: &Reading<'_>) {
    let voices = reading.names(Field::DefaultVoice);
    voices
        .chain(reading.names(Field::Voice))
        .chain(reading.markup_voices.iter().map(|voice| &**voice))
        .for_each(|voice| meter.set_voice(voice));
    reading
        .names(Field::Model)
        .for_each(|model| meter.set_model(model));
    let languages = reading.names(Field::Language);
    languages.for_each(|language| meter.set_language(language));
    if let Some(format) = &reading.format {
        meter.set_format(format);
    }
    if let Some(hertz) = reading.sample_rate {
        meter.set_sample_rate(hertz);
    }
}
