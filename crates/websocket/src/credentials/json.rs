//! Credentials in JSON.

use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{MalformedMessage, Stripped, add};
use crate::message::{Message, MessageKind};

/// The members in which ElevenLabs' clients send a credential, as [`is_named`] compares them.
const MEMBERS: [&str; 3] = ["xi-api-key", "authorization", "single-use-token"];

/// Strips the members of ElevenLabs' messages.
pub(super) fn strip_members(message: Message) -> Result<Stripped, MalformedMessage> {
    let text = std::str::from_utf8(message.payload()).map_err(|_| MalformedMessage)?;
    let members = Members::of(text).ok_or(MalformedMessage)?;
    let mut credentials = Vec::new();
    let left = members.rewritten(|name, value| {
        if !MEMBERS.iter().any(|member| is_named(name, member)) {
            return Member::Keep;
        }
        // An SDK may send a member that is not set.
        if value.get() != "null" {
            add(&mut credentials, text_of(value));
        }
        Member::Remove
    });
    Ok(finish(message, left, credentials))
}

/// Strips `authorization` of the member `config` of an envelope for Rime's engine.
///
/// A text that is no envelope stays as it is: on the same path, older servers read plain text.
pub(super) fn strip_config(
    message: Message,
    in_place: Option<&str>,
) -> Result<Stripped, MalformedMessage> {
    let text = message.as_text().ok_or(MalformedMessage)?;
    let start = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if !start.starts_with('{') {
        return Ok(Stripped::unchanged(message));
    }
    let Some(members) = Members::of(text) else {
        // A lenient server could find a credential in it.
        return match may_name_authorization(text) {
            true => Err(MalformedMessage),
            false => Ok(Stripped::unchanged(message)),
        };
    };
    let (mut credentials, mut malformed) = (Vec::new(), false);
    let left = members.rewritten(|name, value| {
        if !is_named(name, "config") || value.get() == "null" {
            return Member::Keep;
        }
        let Some(config) = Members::of(value.get()) else {
            malformed = true;
            return Member::Remove;
        };
        let mut placed = false;
        let left = config.rewritten(|name, value| {
            if !is_named(name, "authorization") {
                return Member::Keep;
            }
            if value.get() == "null" {
                return Member::Remove;
            }
            add(&mut credentials, text_of(value));
            match in_place.filter(|_| !placed) {
                Some(text) => {
                    placed = true;
                    Member::Replace(quoted(text))
                }
                None => Member::Remove,
            }
        });
        left.map_or(Member::Keep, Member::Replace)
    });
    match malformed {
        true => Err(MalformedMessage),
        false => Ok(finish(message, left, credentials)),
    }
}

fn finish(message: Message, left: Option<String>, credentials: Vec<String>) -> Stripped {
    let message = match (left, message.kind()) {
        (None, _) => message,
        (Some(left), MessageKind::Text) => Message::text(left),
        (Some(left), MessageKind::Binary) => Message::binary(left),
    };
    Stripped {
        message,
        credentials,
    }
}

/// The members of an object, in their order and with those that repeat a name.
struct Members<'a>(Vec<(String, &'a RawValue)>);

/// What becomes of a member.
enum Member {
    Keep,
    Remove,
    /// The same name with this value, in JSON.
    Replace(String),
}

impl<'a> Members<'a> {
    /// `None` if the text is not one object.
    fn of(text: &'a str) -> Option<Self> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        let mut text = serde_json::Deserializer::from_str(text);
        let members = text.deserialize_map(Object).ok()?;
        text.end().ok()?;
        Some(members)
    }

    /// The object after `change`; `None` if nothing was changed.
    fn rewritten(&self, mut change: impl FnMut(&str, &RawValue) -> Member) -> Option<String> {
        let (mut object, mut changed) = (String::from("{"), false);
        for (name, value) in &self.0 {
            let replaced = match change(name, value) {
                Member::Keep => None,
                Member::Remove => {
                    changed = true;
                    continue;
                }
                Member::Replace(value) => {
                    changed = true;
                    Some(value)
                }
            };
            if object.len() > 1 {
                object.push(',');
            }
            object.push_str(&quoted(name));
            object.push(':');
            object.push_str(replaced.as_deref().unwrap_or(value.get()));
        }
        object.push('}');
        changed.then_some(object)
    }
}

/// A text in JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The text of a value; a blank one if it is no text.
fn text_of(value: &RawValue) -> String {
    serde_json::from_str(value.get()).unwrap_or_default()
}

/// Whether a member has this name, in any case and with `_` for `-`.
fn is_named(name: &str, expected: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    name.bytes().map(plain).eq(expected.bytes())
}

/// Whether a text that is not JSON may have `authorization` in it, if only in escapes.
fn may_name_authorization(text: &str) -> bool {
    text.contains('\\') || text.to_ascii_lowercase().contains("authorization")
}
