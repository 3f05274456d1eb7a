//! The state of what one request or one WebSocket speaks.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher as _;

use voxgate_core::denial::{Denial, DenialKind};
use voxgate_speech::{Field, Message, Reading, Stickiness, Unreadable};

use super::inspection::{Inspection, note_names};
use crate::speech::{self, KnownNames, Reservation, SpeechMeter};

/// Contexts of one WebSocket whose voice is remembered. A limited key has to name its voice again in
/// a context that is older.
const MOST_CONTEXTS: usize = 1024;

/// Checks and counts the messages of one WebSocket.
///
/// A service that relays WebSocket messages finds it in the extensions of the request, if
/// [`SpeechOptions::with_message_reading`](super::SpeechOptions::with_message_reading) says that it
/// reads them. It must ask [`allow`](Self::allow) about each message of the client before it
/// forwards the message, and close the connection (RFC 6455 §7.4.1, code 1008) when the message is
/// refused. The upstream must not agree on an extension that changes messages, such as
/// `permessage-deflate`.
#[derive(Clone)]
pub struct SpeechSession {
    inspection: Inspection,
    /// The names that later messages need not repeat.
    sticky: KnownNames,
    /// The names that contexts start with.
    defaults: KnownNames,
    contexts: Contexts,
    /// Characters in the head that no quota has been asked about.
    head_characters: u64,
}

impl SpeechSession {
    pub(super) fn new(inspection: Inspection) -> Self {
        Self {
            sticky: inspection.head,
            head_characters: inspection.head_characters,
            defaults: KnownNames::default(),
            contexts: Contexts::default(),
            inspection,
        }
    }

    pub(super) fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// The meter of the request.
    #[must_use]
    pub fn meter(&self) -> &SpeechMeter {
        &self.inspection.meter
    }

    /// Whether a message that cannot be read is refused. Otherwise it may be forwarded without
    /// [`allow`](Self::allow), after [`SpeechMeter::mark_unmetered`].
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.inspection.limited || self.inspection.quota.is_some()
    }

    /// Checks and counts one whole message of the client.
    ///
    /// # Errors
    ///
    /// The reason for which the message must not be forwarded. It is on the meter, and thereby in
    /// the completion record.
    pub fn allow(&mut self, message: Message<'_>) -> Result<(), DenialKind> {
        let read = self.inspection.reader.read_message(message);
        let judged = judge_message(
            &self.inspection,
            &mut self.sticky,
            &mut self.defaults,
            &mut self.contexts,
            read,
        );
        let Inspection {
            principal,
            meter,
            quota,
            ..
        } = &self.inspection;
        let allowed = judged.map_err(Denial::new).and_then(|characters| {
            let characters = self.head_characters.saturating_add(characters);
            if let Some(quota) = quota {
                quota.reserve_now(principal, meter, characters)?;
            }
            meter.add_characters(characters);
            Ok(())
        });
        self.head_characters = 0;
        allowed.map_err(|denial| {
            meter.deny(denial.kind());
            denial.kind()
        })
    }

    /// Checks the reading of a message of a stream, and returns its characters.
    pub(super) fn judge_part(
        &mut self,
        read: Result<Reading<'_>, Unreadable>,
    ) -> Result<u64, DenialKind> {
        let Some(reading) = readable(&self.inspection, read)? else {
            return Ok(0);
        };
        self.sticky = self.sticky.or(judge(&self.inspection, &reading)?);
        if self.inspection.limited && reading.has_text {
            speech::require_names(&self.inspection.principal, self.sticky)?;
        }
        Ok(reading.characters)
    }
}

/// Checks the reading of a whole body, and returns the characters of the request.
pub(super) fn judge_body(
    inspection: &Inspection,
    read: Result<Reading<'_>, Unreadable>,
) -> Result<u64, DenialKind> {
    let Some(reading) = readable(inspection, read)? else {
        return Ok(inspection.head_characters);
    };
    let own = judge(inspection, &reading)?;
    if inspection.limited {
        speech::require_names(&inspection.principal, own.or(inspection.head))?;
    }
    Ok(inspection.head_characters + reading.characters)
}

/// Asks the quota, and adds the characters to the meter.
pub(super) async fn reserve(inspection: &Inspection, characters: u64) -> Result<(), Denial> {
    if let Some(quota) = &inspection.quota {
        let asked = quota.reserve(&inspection.principal, &inspection.meter, characters);
        match asked {
            Reservation::Done(answer) => answer?,
            Reservation::Pending(answer) => answer.await?,
        }
    }
    inspection.meter.add_characters(characters);
    Ok(())
}

/// The reading, or `None` if it is let through unread.
fn readable<'a>(
    inspection: &Inspection,
    read: Result<Reading<'a>, Unreadable>,
) -> Result<Option<Reading<'a>>, DenialKind> {
    match read {
        Ok(reading) => Ok(Some(reading)),
        Err(_) if inspection.limited => Err(DenialKind::UnreadableBody),
        Err(_) => {
            inspection.meter.mark_unmetered();
            Ok(None)
        }
    }
}

/// Checks the names of a reading, and tells the meter.
fn judge(inspection: &Inspection, reading: &Reading<'_>) -> Result<KnownNames, DenialKind> {
    let Inspection {
        reader,
        principal,
        meter,
        ..
    } = inspection;
    let own = speech::check_names(principal, reading)?;
    note_names(meter, reading);
    if reading.fault(Field::Text).is_some() || reader.profile().is_unmetered() {
        meter.mark_unmetered();
    }
    Ok(own)
}

fn judge_message(
    inspection: &Inspection,
    sticky: &mut KnownNames,
    defaults: &mut KnownNames,
    contexts: &mut Contexts,
    read: Result<Reading<'_>, Unreadable>,
) -> Result<u64, DenialKind> {
    let Some(reading) = readable(inspection, read)? else {
        return Ok(0);
    };
    let own = judge(inspection, &reading)?;
    if !inspection.limited {
        return Ok(reading.characters);
    }
    let profile = inspection.reader.profile();
    if reading.names(Field::DefaultVoice).next().is_some() {
        *defaults = defaults.with_voice();
    }
    let known = match profile.stickiness() {
        Stickiness::Message => own.or(*sticky),
        Stickiness::Context => {
            let mut contexts_named = reading.names(Field::Context);
            let context = match (contexts_named.next(), contexts_named.next()) {
                (None, _) => "",
                (Some(one), None) => one,
                // Two spellings of the context: servers may take either.
                _ => return Err(DenialKind::UnreadableBody),
            };
            let before = match reading.has_start {
                true => *defaults,
                false => contexts.get(context).unwrap_or(sticky.or(*defaults)),
            };
            contexts.set(context, own.or(before))
        }
        // `Session`, and what may be added.
        _ => {
            *sticky = sticky.or(own).or(*defaults);
            *sticky
        }
    };
    // A conversation speaks at any time after its start.
    if reading.has_text || profile.is_unmetered() {
        speech::require_names(&inspection.principal, known)?;
    }
    Ok(reading.characters)
}

/// The names that the contexts of a WebSocket have given, for the latest contexts.
///
/// A context is kept as a keyed hash of its id: a client chooses the ids, and their length.
#[derive(Clone, Default)]
struct Contexts {
    hasher: RandomState,
    known: HashMap<u64, KnownNames>,
    order: VecDeque<u64>,
}

impl Contexts {
    fn get(&self, context: &str) -> Option<KnownNames> {
        self.known.get(&self.hasher.hash_one(context)).copied()
    }

    fn set(&mut self, context: &str, names: KnownNames) -> KnownNames {
        let hash = self.hasher.hash_one(context);
        if self.known.insert(hash, names).is_none() {
            self.order.push_back(hash);
            if self.order.len() > MOST_CONTEXTS
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        names
    }
}

impl fmt::Debug for SpeechSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechSession")
            .field("limited", &self.inspection.limited)
            .finish_non_exhaustive()
    }
}
