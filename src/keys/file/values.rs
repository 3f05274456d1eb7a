//! Single values of a keys file.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use toml::Spanned;
use toml::de::DeValue;

use voxgate_core::network::Network;
use voxgate_core::toml_file::TomlFile;
use voxgate_limits::{Limits, Quota, Rate};

const MAX_ID_BYTES: usize = 64;
/// Audit records use these ids for callers without a key.
const RESERVED_IDS: [&str; 2] = ["public", "deployment"];
/// The year 10000 begins, in Unix time.
const END_OF_9999: u64 = 253_402_300_800;
const MAX_LABELS: usize = 16;
const MAX_LABEL_BYTES: usize = 256;
const MAX_LABEL_CHARACTERS: usize = 256;
const MAX_NAMES: usize = 256;
const MAX_NAME_BYTES: usize = 128;

pub(super) type Value<'a> = Spanned<DeValue<'a>>;

pub(super) fn id(file: &mut TomlFile<'_>, value: &Value<'_>) -> Option<String> {
    let id = file.text(value, "id")?;
    let wrong = if !is_id(&id) {
        format!("id must be 1 to {MAX_ID_BYTES} characters of A-Z a-z 0-9 . _ : @ / -")
    } else if RESERVED_IDS.contains(&id.as_str()) {
        "id is reserved for callers without a key; choose another id".to_owned()
    } else {
        return Some(id);
    };
    file.problem(value.span().start, wrong);
    None
}

/// Whether a text has the form of an id.
pub(super) fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@/-".contains(&byte);
    (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

/// A label for people.
pub(super) fn label(file: &mut TomlFile<'_>, value: &Value<'_>) -> Option<String> {
    let label = file.text(value, "label")?;
    if label.chars().count() > MAX_LABEL_CHARACTERS {
        let message = format!("label must be {MAX_LABEL_CHARACTERS} characters at most");
        file.problem(value.span().start, message);
        return None;
    }
    Some(label)
}

/// Who changed a key, or why.
pub(super) fn note(file: &mut TomlFile<'_>, value: &Value<'_>, field: &str) -> Option<String> {
    let text = file.text(value, field)?;
    if text.chars().count() > MAX_LABEL_CHARACTERS {
        let message = format!("{field} must be {MAX_LABEL_CHARACTERS} characters at most");
        file.problem(value.span().start, message);
        return None;
    }
    Some(text)
}

/// Voices. Each may end in `*`.
pub(super) fn voices(file: &mut TomlFile<'_>, value: &Value<'_>) -> Vec<String> {
    let wrong = "voices must be a list of voices such as \"cove\" or \"team-*\"";
    names(file, value, wrong, not_empty)
}

/// Models. Each may end in `*`.
pub(super) fn models(file: &mut TomlFile<'_>, value: &Value<'_>) -> Vec<String> {
    let wrong = "models must be a list of models such as \"sonic-3\" or \"aura-*\"";
    names(file, value, wrong, not_empty)
}

/// Languages. Each may end in `*`.
pub(super) fn languages(file: &mut TomlFile<'_>, value: &Value<'_>) -> Vec<String> {
    let wrong = "languages must be a list of languages such as \"en\" or \"en-*\"";
    names(file, value, wrong, not_empty)
}

fn not_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The largest number of scopes or voices of one key.
pub(super) fn names<T>(
    file: &mut TomlFile<'_>,
    value: &Value<'_>,
    wrong: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Vec<T> {
    let short = |text: &str| read(text).filter(|_| text.len() <= MAX_NAME_BYTES);
    let names = file.list(value, wrong, short);
    if names.len() > MAX_NAMES {
        let message = format!("there may be {MAX_NAMES} of these at most");
        file.problem(value.span().start, message);
    }
    names
}

/// The networks of the clients that may use a key.
pub(super) fn networks(file: &mut TomlFile<'_>, value: &Value<'_>) -> Vec<Network> {
    let wrong = "allow_from must be a list of networks such as \"10.0.0.0/8\" or \"2001:db8::/32\", \
                 without bits behind the prefix, or of addresses";
    names(file, value, wrong, |text| Network::parse(text).ok())
}

pub(super) fn boolean(file: &mut TomlFile<'_>, value: &Value<'_>, field: &str) -> bool {
    if let DeValue::Boolean(given) = value.get_ref() {
        return *given;
    }
    file.problem(value.span().start, format!("{field} must be true or false"));
    false
}

/// A date and time with its offset from UTC, as TOML has it or in quotes (RFC 3339).
pub(super) fn moment(
    file: &mut TomlFile<'_>,
    value: &Value<'_>,
    field: &str,
) -> Option<SystemTime> {
    let moment = parse_moment(value.get_ref());
    if moment.is_none() {
        let message = format!(
            "{field} must be a date and time with its offset, such as 2027-03-01T00:00:00Z"
        );
        file.problem(value.span().start, message);
    }
    moment
}

pub(super) fn parse_moment(value: &DeValue<'_>) -> Option<SystemTime> {
    let moment = match value {
        DeValue::Datetime(given) => rfc3339(&given.to_string()),
        DeValue::String(text) => rfc3339(text),
        _ => None,
    };
    moment.filter(|moment| can_be_shown(*moment))
}

/// Whether RFC 3339 has a way to write it in UTC.
fn can_be_shown(moment: SystemTime) -> bool {
    let seconds = moment.duration_since(SystemTime::UNIX_EPOCH);
    seconds.is_ok_and(|since| since.as_secs() < END_OF_9999)
}

fn rfc3339(text: &str) -> Option<SystemTime> {
    let zone = text.len().checked_sub("+00:00".len())?;
    if text.ends_with('Z') || !text.is_char_boundary(zone) {
        return humantime::parse_rfc3339(text).ok();
    }
    let (clock, offset) = text.split_at(zone);
    let clock = humantime::parse_rfc3339(&format!("{clock}Z")).ok()?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let number = |text: &str| match text.as_bytes() {
        [b'0'..=b'9', b'0'..=b'9'] => text.parse::<u64>().ok(),
        _ => None,
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let distance = Duration::from_secs(60 * (60 * hours + minutes));
    // East of Greenwich the same clock shows an earlier moment.
    match offset.as_bytes().first() {
        _ if hours > 23 || minutes > 59 => None,
        Some(b'+') => clock.checked_sub(distance),
        Some(b'-') => clock.checked_add(distance),
        _ => None,
    }
}

/// `rate`, `burst` or `concurrency`; whether the field is one of them.
pub(super) fn limit(
    file: &mut TomlFile<'_>,
    field: &str,
    value: &Value<'_>,
    limits: &mut Limits,
) -> bool {
    match field {
        "rate" => limits.rate = rate(file, value),
        "burst" => limits.burst = count(file, value, field),
        "concurrency" => limits.concurrency = count(file, value, field),
        _ => return false,
    }
    true
}

/// `quota`: one quota, or a list of quotas with different units or periods.
pub(super) fn quotas(file: &mut TomlFile<'_>, value: &Value<'_>) -> Vec<Quota> {
    let one = std::slice::from_ref(value);
    let given = match value.get_ref() {
        DeValue::Array(list) => &list[..],
        _ => one,
    };
    let mut quotas: Vec<Quota> = Vec::new();
    for value in given {
        let parsed = match value.get_ref().as_str() {
            Some(text) => Quota::parse(text).map_err(|error| error.to_string()),
            None => Err("quota must be a string or a list of strings, such as \"2M \
                         characters/month\""
                .to_owned()),
        };
        let at = value.span().start;
        match parsed {
            Ok(quota) => {
                let kind = |quota: &Quota| (quota.unit(), quota.period());
                if quotas.iter().any(|other| kind(other) == kind(&quota)) {
                    file.problem(at, "quota repeats a unit and period; keep one of them");
                }
                quotas.push(quota);
            }
            Err(message) => file.problem(at, message),
        }
    }
    quotas
}

fn rate(file: &mut TomlFile<'_>, value: &Value<'_>) -> Option<Rate> {
    let rate = value.get_ref().as_str().and_then(Rate::parse);
    if rate.is_none() {
        let message = "rate must be requests and a period, such as \"50/s\", \"600/min\" or \
                       \"10000/h\"";
        file.problem(value.span().start, message);
    }
    rate
}

pub(super) fn count(file: &mut TomlFile<'_>, value: &Value<'_>, field: &str) -> Option<NonZeroU32> {
    let count = match value.get_ref() {
        DeValue::Integer(given) => u32::from_str_radix(given.as_str(), given.radix()).ok(),
        _ => None,
    };
    let count = count.and_then(NonZeroU32::new);
    if count.is_none() {
        let message = format!("{field} must be a whole number of at least 1");
        file.problem(value.span().start, message);
    }
    count
}

/// Names and values, `{ team = "ivr" }`.
pub(super) fn labels(file: &mut TomlFile<'_>, value: &Value<'_>) -> Vec<(String, String)> {
    let at = value.span().start;
    let DeValue::Table(given) = value.get_ref() else {
        file.problem(
            at,
            "labels must be names and values, such as { team = \"ivr\" }",
        );
        return Vec::new();
    };
    if given.len() > MAX_LABELS {
        file.problem(at, format!("there may be {MAX_LABELS} labels at most"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let mut labels = Vec::new();
    for (name, value) in given {
        let name = name.get_ref();
        let text = value.get_ref().as_str().unwrap_or_default();
        let long = name.len().max(text.len()) > MAX_LABEL_BYTES;
        if text.is_empty() || long || !name.bytes().all(plain) || text.contains(char::is_control) {
            let message = format!(
                "a label has a name of A-Z a-z 0-9 . _ - and a text without control characters, \
                 {MAX_LABEL_BYTES} bytes at most each"
            );
            file.problem(value.span().start, message);
        }
        labels.push((name.to_string(), text.to_owned()));
    }
    labels
}
