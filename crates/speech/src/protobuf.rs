//! Reads protobuf messages by field number
//! (<https://protobuf.dev/programming-guides/encoding/>), without their schema.

use std::borrow::Cow;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::pattern::proto_fields;
use crate::profile::{Field, Place};
use crate::read::Unreadable;
use crate::reader::Reader;
use crate::reading::{Fault, Reading};

/// The length of a gRPC frame's prefix: a flag and four bytes of length.
const PREFIX: usize = 5;

/// The first message of a gRPC stream, and the number of bytes of its frame. `None` if it is not
/// complete (gRPC over HTTP/2, *Length-Prefixed-Message*).
pub(crate) fn frame(stream: &[u8]) -> Result<Option<(&[u8], usize)>, Unreadable> {
    let Some((prefix, rest)) = stream.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let [flag, length @ ..] = prefix;
    if *flag != 0 {
        return Err(Unreadable::Encoding);
    }
    let length = u32::from_be_bytes(*length) as usize;
    Ok(rest.get(..length).map(|message| (message, PREFIX + length)))
}

pub(crate) fn read<'a>(
    reader: &Reader,
    places: &[(Field, Place)],
    message: &'a [u8],
    reading: &mut Reading<'a>,
) -> Result<(), Unreadable> {
    let wanted: Vec<(Field, &[u32])> = proto_fields(places).collect();
    read_level(reader, &wanted, message, reading)
}

/// Reads one message. `wanted` has the numbers that are left of each place.
fn read_level<'a>(
    reader: &Reader,
    wanted: &[(Field, &[u32])],
    mut message: &'a [u8],
    reading: &mut Reading<'a>,
) -> Result<(), Unreadable> {
    let mut seen: Vec<u32> = Vec::new();
    while !message.is_empty() {
        let (number, wire) = decode_key(&mut message).map_err(|_| Unreadable::Syntax)?;
        let here: Vec<(Field, &[u32])> = wanted
            .iter()
            .filter_map(|(field, numbers)| {
                let (first, rest) = numbers.split_first()?;
                (*first == number).then_some((*field, rest))
            })
            .collect();
        if here.is_empty() {
            skip_field(wire, number, &mut message, DecodeContext::default())
                .map_err(|_| Unreadable::Syntax)?;
            continue;
        }
        // The last of several values counts, and messages are merged: nothing that a client sends.
        let again = seen.contains(&number);
        seen.push(number);
        match wire {
            WireType::LengthDelimited => {
                let length = decode_varint(&mut message).map_err(|_| Unreadable::Syntax)?;
                let length = usize::try_from(length).map_err(|_| Unreadable::Syntax)?;
                let (content, rest) = message.split_at_checked(length).ok_or(Unreadable::Syntax)?;
                message = rest;
                let (leaves, below): (Vec<_>, Vec<_>) =
                    here.iter().partition(|(_, rest)| rest.is_empty());
                for (field, _) in leaves {
                    text(reader, field, content, reading)?;
                }
                if !below.is_empty() {
                    read_level(reader, &below, content, reading)?;
                }
            }
            WireType::Varint => {
                let value = decode_varint(&mut message).map_err(|_| Unreadable::Syntax)?;
                for (field, rest) in &here {
                    number_of(*field, rest.is_empty(), value, reading);
                }
            }
            other => {
                skip_field(other, number, &mut message, DecodeContext::default())
                    .map_err(|_| Unreadable::Syntax)?;
                add_faults(&here, Fault::WrongType, reading);
            }
        }
        if again {
            add_faults(&here, Fault::Ambiguous, reading);
        }
    }
    Ok(())
}

fn text<'a>(
    reader: &Reader,
    field: Field,
    content: &'a [u8],
    reading: &mut Reading<'a>,
) -> Result<(), Unreadable> {
    match field {
        // A message, bytes or a text.
        Field::Fetch => reading.has_fetch |= !content.is_empty(),
        Field::Start => reading.has_start = true,
        Field::SampleRate | Field::Format if std::str::from_utf8(content).is_err() => {}
        _ => {
            let content = std::str::from_utf8(content).map_err(|_| Unreadable::NotUtf8)?;
            reader.add_text(reading, field, Cow::Borrowed(content));
        }
    }
    Ok(())
}

fn number_of(field: Field, is_whole: bool, value: u64, reading: &mut Reading<'_>) {
    match field {
        Field::SampleRate if is_whole => reading.sample_rate = u32::try_from(value).ok(),
        Field::Format if is_whole => reading.format = Some(value.to_string().into()),
        _ if field.is_strict() => reading.add_fault(field, Fault::WrongType),
        _ => {}
    }
}

fn add_faults(fields: &[(Field, &[u32])], fault: Fault, reading: &mut Reading<'_>) {
    for (field, _) in fields.iter().filter(|(field, _)| field.is_strict()) {
        reading.add_fault(*field, fault);
    }
}
