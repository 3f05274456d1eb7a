//! The answers to questions about usage: a neutral one, and those of vendors' clients.
//!
//! A key sees its own use and that of its account. Where a vendor's answer has one number, it is that
//! of the quota with the least share left.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use voxgate::policy::Rule;
use voxgate::rate_limit::{Amounts, QuotaPeriod, QuotaUnit};
use voxgate::{Dialect, Principal};

use crate::book::{OwnerUsage, QuotaUse, UsageBook};
use crate::calendar::unix;
use crate::owner::scope_name;

/// The path at which a key asks about itself, in every dialect.
pub const NEUTRAL_PATH: &str = "/voxgate/v1/usage";

/// The rules of the paths that no dialect's own policy names. The layer that answers them is inside
/// the authentication layer, so add them with `AuthLayer::with_first_rule`.
#[must_use]
pub fn answered_routes() -> Vec<Rule> {
    vec![
        Rule::new("GET", NEUTRAL_PATH).realtime(),
        Rule::new("GET", "/v1/projects/{project_id}/balances").with_scope("usage:read"),
        Rule::new("GET", "/v1/projects/{project_id}/balances/{balance_id}")
            .with_scope("usage:read"),
    ]
}

const MILLISECONDS_IN_MINUTE: f64 = 60_000.0;

/// The answer to a request about usage. `None` for any other request.
pub(crate) fn answer<B>(
    book: &UsageBook,
    dialect: Dialect,
    principal: &Principal,
    request: &Request<B>,
) -> Option<Response<Bytes>> {
    if request.method() != Method::GET {
        return None;
    }
    let path = request.uri().path();
    let body = match (dialect.as_str(), path) {
        (_, NEUTRAL_PATH) => neutral(book, principal),
        ("supertone", "/v1/credits") => json!({ "balance": balance(book, principal) }),
        ("supertone", "/v1/usage") => supertone_usage(book, principal),
        ("elevenlabs", "/v1/user/subscription") => subscription(book, principal),
        ("deepgram", path) => deepgram_balances(book, principal, path)?,
        _ => return None,
    };
    let mut response = Response::new(Bytes::from(body.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

fn neutral(book: &UsageBook, principal: &Principal) -> Value {
    let today = book.today();
    let owners = book.usage(principal);
    let amounts = |used: &Amounts| {
        json!({
            "characters": used[0],
            "requests": used[1],
            "audio_seconds": used[2] as f64 / 1000.0,
        })
    };
    let periods = QuotaPeriod::ALL.iter().enumerate().map(|(at, period)| {
        let mut shown = json!({
            "period": period.as_str(),
            "starts": time(today.starts(*period)),
            "ends": time(today.ends(*period)),
        });
        for owner in &owners {
            shown[scope_name(owner.scope)] = amounts(&owner.used[at]);
        }
        shown
    });
    let quotas = owners.iter().flat_map(|owner| &owner.quotas).map(|it| {
        let scale = |amount: u64| match it.quota.unit() {
            QuotaUnit::Audio => json!(amount as f64 / 1000.0),
            _ => json!(amount),
        };
        json!({
            "of": scope_name(it.scope),
            "quota": it.quota.to_string(),
            "unit": match it.quota.unit() {
                QuotaUnit::Audio => "audio_seconds",
                unit => unit.as_str(),
            },
            "period": it.quota.period().as_str(),
            "limit": scale(it.quota.amount()),
            "used": scale(it.used),
            "remaining": scale(it.quota.amount().saturating_sub(it.used)),
            "resets": time(it.resets),
        })
    });
    json!({
        "key_id": principal.id(),
        "account": principal.account().map(|account| account.id()),
        "time_zone": book.zone(),
        "usage": periods.collect::<Vec<_>>(),
        "quotas": quotas.collect::<Vec<_>>(),
    })
}

/// The quota with the least share left.
fn tightest(owners: &[OwnerUsage]) -> Option<QuotaUse> {
    let share = |it: &QuotaUse| it.used as f64 / it.quota.amount() as f64;
    let quotas = owners.iter().flat_map(|owner| &owner.quotas).copied();
    let countable = quotas.filter(|it| it.quota.unit() != QuotaUnit::Requests);
    countable.max_by(|one, other| share(one).total_cmp(&share(other)))
}

/// What is left of the tightest quota: minutes of audio, or characters. Without a quota, -1.
fn balance(book: &UsageBook, principal: &Principal) -> f64 {
    match tightest(&book.usage(principal)) {
        None => -1.0,
        Some(it) => {
            let left = it.quota.amount().saturating_sub(it.used) as f64;
            match it.quota.unit() {
                QuotaUnit::Audio => left / MILLISECONDS_IN_MINUTE,
                _ => left,
            }
        }
    }
}

fn supertone_usage(book: &UsageBook, principal: &Principal) -> Value {
    let today = book.today();
    let owners = book.usage(principal);
    let audio = owners.first().map_or(0, |key| key.used[1][2]);
    json!({
        "data": [{
            "starting_at": time(today.starts(QuotaPeriod::Month)),
            "ending_at": time(today.ends(QuotaPeriod::Month)),
            "results": [{
                "minutes_used": audio as f64 / MILLISECONDS_IN_MINUTE,
                "voice_id": null,
                "voice_name": null,
                "api_key": principal.id(),
                "model": null,
            }],
        }],
        "total": 1,
        "next_page_token": null,
    })
}

fn subscription(book: &UsageBook, principal: &Principal) -> Value {
    let owners = book.usage(principal);
    let of_characters = |owner: &OwnerUsage| {
        let quotas = owner.quotas.iter().copied();
        quotas
            .filter(|it| it.quota.unit() == QuotaUnit::Characters)
            .collect::<Vec<_>>()
    };
    let quotas: Vec<QuotaUse> = owners.iter().flat_map(of_characters).collect();
    let tightest = quotas.into_iter().max_by(|one, other| {
        let share = |it: &QuotaUse| it.used as f64 / it.quota.amount() as f64;
        share(one).total_cmp(&share(other))
    });
    let used = owners.first().map_or(0, |key| key.used[1][0]);
    let (count, limit, reset) = match tightest {
        Some(it) => (it.used, it.quota.amount(), it.resets),
        // Without a quota nothing is refused. Clients require a number.
        None => (
            used,
            i64::MAX.unsigned_abs(),
            book.today().ends(QuotaPeriod::Month),
        ),
    };
    json!({
        "tier": "voxgate",
        "character_count": count,
        "character_limit": limit,
        "can_extend_character_limit": false,
        "allowed_to_extend_character_limit": false,
        "next_character_count_reset_unix": unix(reset),
        "voice_slots_used": 0,
        "professional_voice_slots_used": 0,
        "voice_limit": 0,
        "voice_add_edit_counter": 0,
        "professional_voice_limit": 0,
        "can_extend_voice_limit": false,
        "can_use_instant_voice_cloning": false,
        "can_use_professional_voice_cloning": false,
        "currency": null,
        "status": "active",
        "billing_period": "monthly_period",
        "character_refresh_period": "monthly_period",
        "has_open_invoices": false,
    })
}

/// `/v1/projects/{id}/balances`, and one of them. Any project is that of the key.
fn deepgram_balances(book: &UsageBook, principal: &Principal, path: &str) -> Option<Value> {
    let rest = path.strip_prefix("/v1/projects/")?;
    let (_, rest) = rest.split_once('/')?;
    let unit = match tightest(&book.usage(principal)).map(|it| it.quota.unit()) {
        Some(QuotaUnit::Audio) => "minutes",
        _ => "characters",
    };
    let balance = json!({
        "balance_id": principal.id(),
        "amount": balance(book, principal),
        "units": unit,
        "purchase_order_id": "",
    });
    match rest {
        "balances" => Some(json!({ "balances": [balance] })),
        _ => {
            let id = rest.strip_prefix("balances/")?;
            (id == principal.id()).then_some(balance)
        }
    }
}

fn time(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| String::new(), |time| time.to_string())
}
