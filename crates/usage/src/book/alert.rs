//! The log line about a quota that is nearly used up.

use crate::calendar::Today;
use crate::owner::{Owner, scope_name};
use crate::tally::Entry;

/// A quota is reported when so many hundredths are used.
const REPORT_AT: u128 = 80;

/// Writes a log line when a quota is nearly used up, once in a period.
pub(super) fn report(owner: Owner<'_>, entry: &mut Entry, today: Today) {
    for quota in owner.quotas {
        let unit = quota.unit();
        let tally = entry.tally(today.period(quota.period()));
        let used = tally.used(unit);
        let is_nearly_used_up = u128::from(used) * 100 >= u128::from(quota.amount()) * REPORT_AT;
        let is_reported = &mut tally.reported[unit as usize];
        if is_nearly_used_up && !*is_reported {
            tracing::warn!(
                scope = scope_name(owner.scope),
                id = owner.id,
                %quota,
                used,
                "80 % of the quota is used; raise the quota, or expect refusals until its next period"
            );
        }
        // A quota that was raised is reported again.
        *is_reported = is_nearly_used_up;
    }
}
