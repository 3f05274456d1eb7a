//! Characters, which the layer that reads texts takes.

use voxgate::Principal;
use voxgate::speech::{Reservation, SpeechMeter, TextQuota};

use crate::book::{Taken, UsageBook};

impl TextQuota for UsageBook {
    fn reserve(&self, principal: &Principal, _: &SpeechMeter, characters: u64) -> Reservation {
        match self.take(principal, [characters, 0, 0]) {
            Taken::Now(taken) => Reservation::Done(taken),
            Taken::Later(taken) => Reservation::Pending(Box::pin(taken)),
        }
    }

    fn limits(&self, principal: &Principal) -> bool {
        principal.has_quotas()
    }
}
