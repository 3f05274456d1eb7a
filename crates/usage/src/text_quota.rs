//! Characters, which the authentication layer takes when it reads texts.

use voxgate::rate_limit::QuotaUnit;
use voxgate::speech::{Reservation, SpeechMeter, TextQuota};
use voxgate::{Denial, DenialKind, Principal};

use crate::book::{Taken, UsageBook};
use crate::owner::owners;

impl TextQuota for UsageBook {
    fn reserve(&self, principal: &Principal, meter: &SpeechMeter, characters: u64) -> Reservation {
        if let Err(denial) = check_readable(principal, meter, characters) {
            return Reservation::Done(Err(denial));
        }
        match self.take(principal, [characters, 0, 0]) {
            Taken::Now(taken) => Reservation::Done(taken),
            Taken::Later(taken) => Reservation::Pending(Box::pin(taken)),
        }
    }

    fn reserve_now(
        &self,
        principal: &Principal,
        meter: &SpeechMeter,
        characters: u64,
    ) -> Result<(), Denial> {
        check_readable(principal, meter, characters)?;
        self.take_at_once(principal, [characters, 0, 0])
    }

    fn limits(&self, principal: &Principal) -> bool {
        principal.has_quotas()
    }
}

/// Text that cannot be counted is refused for a quota of characters.
fn check_readable(
    principal: &Principal,
    meter: &SpeechMeter,
    characters: u64,
) -> Result<(), Denial> {
    let counts_characters = || {
        let mut quotas = owners(principal).flat_map(|owner| owner.quotas);
        quotas.any(|quota| quota.unit() == QuotaUnit::Characters)
    };
    match characters == 0 && meter.is_unmetered() && counts_characters() {
        true => Err(Denial::new(DenialKind::UnreadableBody)),
        false => Ok(()),
    }
}
