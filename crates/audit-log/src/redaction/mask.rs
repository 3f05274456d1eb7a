//! Which fields of a record can be removed, and what stands in their place.

use sha2::{Digest as _, Sha256};

use crate::chain::hex;
use crate::fields::{Fields, Value, unescape};

/// The fields whose text can be removed.
///
/// `request_id` and `trace_id` are replaced by other random ones, the same in all records of a
/// request, so that these still belong together.
pub const REDACTABLE_FIELDS: [&str; 21] = [
    "request_id",
    "trace_id",
    "trace_parent",
    "client_request_id",
    "peer",
    "client",
    "user_agent",
    "cred_fp",
    "key_id",
    "label",
    "account",
    "token_issuer",
    "token_id",
    "jti",
    "changed_by",
    "changed_reason",
    "rights_before",
    "rights",
    "host",
    "path",
    "query_names",
];

/// The first of them are replaced, not masked.
const REPLACED: usize = 2;
const MASK: u8 = b'*';

/// A record that may be redacted.
#[derive(Clone, Copy, Debug)]
pub struct Redactable<'a> {
    pub(super) body: &'a [u8],
}

impl Redactable<'_> {
    /// The text of a field, with its escapes resolved. `None` if the record has no such text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        let fields = Fields::new(self.body).filter_map(Result::ok);
        let found = fields.into_iter().find(|(found, _)| *found == name)?;
        match found.1 {
            Value::Text(text) => unescape(text),
            _ => None,
        }
    }
}

/// The place of a field's name in [`REDACTABLE_FIELDS`], as one bit.
pub(super) fn bit(name: &str) -> Option<u32> {
    let at = REDACTABLE_FIELDS.iter().position(|known| *known == name)?;
    Some(1 << at)
}

/// The names of these fields, separated by spaces.
pub(super) fn names(fields: u32) -> String {
    let named = REDACTABLE_FIELDS.iter().enumerate();
    let named = named.filter(|(at, _)| fields & (1 << at) != 0);
    let names: Vec<&str> = named.map(|(_, name)| *name).collect();
    names.join(" ")
}

/// Makes other identifiers of identifiers. The secret exists only while one redaction runs.
pub(super) struct Pseudonyms([u8; 32]);

impl Pseudonyms {
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self(secret))
    }

    /// Another identifier of the same form: a UUID of version 7 with its time, or hexadecimal
    /// digits.
    fn of(&self, name: &str, text: &str) -> Option<String> {
        let is_digit = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        if !text.bytes().all(is_digit) {
            return None;
        }
        let hash = Sha256::new()
            .chain_update(self.0)
            .chain_update(name)
            .chain_update([0])
            .chain_update(text)
            .finalize();
        let digits = hex(&hash);
        let replaced = match name {
            "trace_id" => digits.get(..32)?.to_owned(),
            _ => {
                let (time, rest) = (text.get(..15)?, digits.get(..18)?);
                let variant = char::from(b"89ab"[usize::from(hash[31] & 3)]);
                format!(
                    "{time}{}-{variant}{}-{}",
                    &rest[..3],
                    &rest[3..6],
                    &rest[6..]
                )
            }
        };
        (replaced.len() == text.len()).then_some(replaced)
    }
}

/// The body with these fields removed, and which of them it had. Its length stays the same.
pub(super) fn mask(body: &[u8], fields: u32, pseudonyms: &Pseudonyms) -> (Vec<u8>, u32) {
    let mut masked = body.to_vec();
    let mut removed = 0;
    for (name, value) in Fields::new(body).filter_map(Result::ok) {
        let (Some(bit), Value::Text(text)) = (bit(name), value) else {
            continue;
        };
        if fields & bit == 0 || is_mask(text) {
            continue;
        }
        let at = text.as_ptr() as usize - body.as_ptr() as usize;
        let other = match bit < 1 << REPLACED {
            true => pseudonyms.of(name, text),
            false => None,
        };
        match other {
            Some(other) => masked[at..at + text.len()].copy_from_slice(other.as_bytes()),
            None => masked[at..at + text.len()].fill(MASK),
        }
        removed |= bit;
    }
    (masked, removed)
}

/// Whether these fields of a body, and at least one, are masked.
pub(super) fn is_masked(body: &[u8], fields: u32) -> bool {
    let mut seen = 0;
    for (name, value) in Fields::new(body).filter_map(Result::ok) {
        let Some(bit) = bit(name).filter(|bit| fields & bit != 0) else {
            continue;
        };
        let is_right = |text: &str| bit < 1 << REPLACED || is_mask(text);
        match value {
            Value::Text(text) if seen & bit == 0 && is_right(text) => seen |= bit,
            _ => return false,
        }
    }
    fields != 0 && seen == fields
}

fn is_mask(text: &str) -> bool {
    text.bytes().all(|byte| byte == MASK)
}
