//! Credentials in protobuf (<https://protobuf.dev/programming-guides/encoding/>).

use super::{MalformedMessage, Stripped, add};
use crate::message::Message;

/// `WebSocketRequest.config`.
const CONFIG: u64 = 2;
/// `WebSocketConfig.authorization`.
const AUTHORIZATION: u64 = 1;
/// The longest varint.
const MAX_VARINT: usize = 10;

/// Strips `config.authorization` of an envelope for Rime's engine.
pub(super) fn strip_config(
    message: Message,
    in_place: Option<&str>,
) -> Result<Stripped, MalformedMessage> {
    let mut credentials = Vec::new();
    let mut envelope = Vec::with_capacity(message.payload().len());
    for field in fields(message.payload()) {
        let field = field?;
        match (field.number, field.content) {
            (CONFIG, Some(config)) => {
                let config = strip_authorization(config, in_place, &mut credentials)?;
                write_field(CONFIG, &config, &mut envelope);
            }
            // A known field of another type could be read by a lenient server.
            (CONFIG, None) => return Err(MalformedMessage),
            _ => envelope.extend_from_slice(field.whole),
        }
    }
    Ok(match credentials.is_empty() {
        true => Stripped::unchanged(message),
        false => Stripped {
            message: Message::binary(envelope),
            credentials,
        },
    })
}

fn strip_authorization(
    config: &[u8],
    in_place: Option<&str>,
    credentials: &mut Vec<String>,
) -> Result<Vec<u8>, MalformedMessage> {
    let (mut left, mut placed) = (Vec::with_capacity(config.len()), false);
    for field in fields(config) {
        let field = field?;
        match (field.number, field.content) {
            (AUTHORIZATION, Some(credential)) => {
                let credential = String::from_utf8(credential.to_vec());
                add(credentials, credential.map_err(|_| MalformedMessage)?);
                if let Some(text) = in_place.filter(|_| !placed) {
                    placed = true;
                    write_field(AUTHORIZATION, text.as_bytes(), &mut left);
                }
            }
            (AUTHORIZATION, None) => return Err(MalformedMessage),
            _ => left.extend_from_slice(field.whole),
        }
    }
    Ok(left)
}

/// One field.
struct Field<'a> {
    number: u64,
    /// What a field with a length contains.
    content: Option<&'a [u8]>,
    /// The field with its tag.
    whole: &'a [u8],
}

/// The fields of a message. Groups are not supported; no message of the vendor has one.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<Field<'_>, MalformedMessage>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next_field(rest).ok_or(MalformedMessage);
        rest = match &field {
            Ok(field) => &rest[field.whole.len()..],
            Err(MalformedMessage) => &[],
        };
        Some(field)
    })
}

fn next_field(bytes: &[u8]) -> Option<Field<'_>> {
    let (tag, mut length) = varint(bytes)?;
    // A tag has 32 bits, and fields are numbered from 1.
    let number = u64::from(u32::try_from(tag).ok()?) >> 3;
    let mut content = None;
    match tag & 7 {
        _ if number == 0 => return None,
        0 => length += varint(&bytes[length..])?.1,
        1 => length += 8,
        2 => {
            let (size, of_size) = varint(&bytes[length..])?;
            let start = length + of_size;
            length = start.checked_add(usize::try_from(size).ok()?)?;
            content = Some(bytes.get(start..length)?);
        }
        5 => length += 4,
        _ => return None,
    }
    Some(Field {
        number,
        content,
        whole: bytes.get(..length)?,
    })
}

/// A varint, and its length.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(MAX_VARINT).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Appends a field with a length.
pub(super) fn write_field(number: u64, content: &[u8], to: &mut Vec<u8>) {
    write_varint(number << 3 | 2, to);
    write_varint(content.len() as u64, to);
    to.extend_from_slice(content);
}

fn write_varint(mut value: u64, to: &mut Vec<u8>) {
    while value > 0x7f {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}
