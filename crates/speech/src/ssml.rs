//! Reads SSML (<https://www.w3.org/TR/speech-synthesis11/>): its characters, voices and languages.

use std::borrow::Cow;

use quick_xml::events::{BytesStart, Event};

use crate::profile::{Counting, Field};
use crate::read::Unreadable;
use crate::reading::{Fault, Reading};

/// Elements in elements. More is no SSML that a person wrote.
const DEEPEST: usize = 64;

/// Reads a document that is the whole body.
pub(crate) fn read(
    text: &str,
    counting: Counting,
    reading: &mut Reading<'_>,
) -> Result<(), Unreadable> {
    reading.has_text = true;
    reading.characters = walk(text, counting, reading)?;
    Ok(())
}

/// Adds the names in SSML that is one field of a body. Its characters count as text.
pub(crate) fn read_names(text: &str, reading: &mut Reading<'_>) {
    if walk(text, Counting::CodePoints, reading).is_err() {
        reading.add_fault(Field::Ssml, Fault::WrongType);
    }
}

/// Returns the number of characters with markup, but without the tags `<speak>` and `<voice>`.
fn walk(text: &str, counting: Counting, reading: &mut Reading<'_>) -> Result<u64, Unreadable> {
    let mut xml = quick_xml::Reader::from_str(text);
    let mut characters = 0;
    let mut open: Vec<bool> = Vec::new();
    let mut is_first = true;
    let mut had_root = false;
    loop {
        let begin = usize::try_from(xml.buffer_position()).map_err(|_| Unreadable::Syntax)?;
        let event = xml.read_event().map_err(|_| Unreadable::Syntax)?;
        let end = usize::try_from(xml.buffer_position()).map_err(|_| Unreadable::Syntax)?;
        let raw = text.get(begin..end).ok_or(Unreadable::Syntax)?;
        let voiced = open.contains(&true);
        match event {
            Event::Start(tag) => {
                if open.is_empty() && std::mem::replace(&mut had_root, true) {
                    return Err(Unreadable::Syntax);
                }
                let is_voice = element(&tag, reading)?;
                open.push(is_voice);
                if open.len() > DEEPEST {
                    return Err(Unreadable::Syntax);
                }
                if !is_free(tag.local_name().as_ref()) {
                    characters += counting.characters(raw);
                }
            }
            Event::Empty(tag) => {
                if open.is_empty() {
                    return Err(Unreadable::Syntax);
                }
                element(&tag, reading)?;
                if !is_free(tag.local_name().as_ref()) {
                    characters += counting.characters(raw);
                }
            }
            Event::End(tag) => {
                open.pop();
                if !is_free(tag.local_name().as_ref()) {
                    characters += counting.characters(raw);
                }
            }
            Event::Text(_) | Event::CData(_) => {
                let is_blank = raw.trim().is_empty();
                if open.is_empty() && !is_blank {
                    return Err(Unreadable::Syntax);
                }
                reading.has_unvoiced_text |= !voiced && !is_blank;
                if !open.is_empty() {
                    characters += counting.characters(raw);
                }
            }
            Event::GeneralRef(reference) => {
                // An entity that the document does not define could be any text.
                let known = ["lt", "gt", "amp", "apos", "quot"];
                let is_known = reference.is_char_ref() || known.contains(&&*reference);
                if !is_known || open.is_empty() {
                    return Err(Unreadable::Syntax);
                }
                reading.has_unvoiced_text |= !voiced;
                characters += counting.characters(raw);
            }
            Event::Decl(declaration) => {
                let encoding = declaration.encoding().transpose();
                let encoding = encoding.map_err(|_| Unreadable::Syntax)?;
                let is_utf8 = |name: &str| name.eq_ignore_ascii_case("utf-8");
                if !is_first || encoding.is_some_and(|name| !is_utf8(&name)) {
                    return Err(Unreadable::Encoding);
                }
            }
            Event::Comment(_) => {
                if !open.is_empty() {
                    characters += counting.characters(raw);
                }
            }
            // A document type can define entities; an instruction can name a style sheet.
            Event::DocType(_) | Event::PI(_) => return Err(Unreadable::Syntax),
            Event::Eof => break,
        }
        is_first = false;
    }
    match open.is_empty() && had_root {
        true => Ok(characters),
        false => Err(Unreadable::Syntax),
    }
}

/// Whether the tag is not charged.
fn is_free(name: &str) -> bool {
    matches!(name, "speak" | "voice")
}

/// Adds the names in a tag. Returns whether it is a voice with a name.
///
/// The prefix of a name is not looked at: a document can bind any prefix to the name space of SSML.
fn element(tag: &BytesStart<'_>, reading: &mut Reading<'_>) -> Result<bool, Unreadable> {
    let name = tag.local_name();
    let is_voice = name.as_ref().eq_ignore_ascii_case("voice");
    let mut has_name = false;
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|_| Unreadable::Syntax)?;
        let key = attribute.key.local_name();
        let key = key.as_ref();
        let value = attribute
            .normalized_value(quick_xml::XmlVersion::Implicit1_0)
            .map_err(|_| Unreadable::Syntax)?;
        let value = || Cow::Owned(value.clone().into_owned());
        if is_voice && key.eq_ignore_ascii_case("name") {
            if std::mem::replace(&mut has_name, true) {
                reading.add_fault(Field::Ssml, Fault::Ambiguous);
            }
            reading.markup_voices.push(value());
        } else if key.eq_ignore_ascii_case("lang") || key.eq_ignore_ascii_case("language") {
            reading.add_name(Field::Language, value());
        } else if ["src", "uri", "href", "url"]
            .iter()
            .any(|fetched| key.eq_ignore_ascii_case(fetched))
        {
            reading.has_fetch = true;
        } else if key.eq_ignore_ascii_case("speakerprofileid") {
            // Azure's personal voices: a voice that is not a name.
            reading.has_fetch = true;
        }
    }
    if is_voice && !has_name {
        // A voice by gender, language or variant: the server chooses.
        reading.has_unvoiced_text = true;
    }
    Ok(is_voice && has_name)
}
