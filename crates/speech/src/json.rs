//! Reads JSON (RFC 8259). Strings without escapes are borrowed.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::pattern::{Member, Pattern};
use crate::profile::Field;
use crate::read::Unreadable;
use crate::reader::Reader;
use crate::reading::{Fault, Reading};

pub(crate) fn read<'a>(
    reader: &Reader,
    pattern: &Pattern,
    text: &'a str,
    reading: &mut Reading<'a>,
) -> Result<(), Unreadable> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Value {
        reader,
        pattern,
        node: 0,
        reading,
    };
    value
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|_| Unreadable::Syntax)
}

/// Reads one value at a node of the pattern.
struct Value<'p, 'r, 'a> {
    reader: &'p Reader,
    pattern: &'p Pattern,
    node: usize,
    reading: &'r mut Reading<'a>,
}

impl<'a> DeserializeSeed<'a> for Value<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Value<'_, '_, 'a> {
    fn child(&mut self, node: usize) -> Value<'_, '_, 'a> {
        Value {
            reader: self.reader,
            pattern: self.pattern,
            node,
            reading: self.reading,
        }
    }

    /// Notes a fault of every field at `node` and below.
    fn fault(&mut self, node: usize, fault: Fault) {
        let reading = &mut *self.reading;
        self.pattern.each_field(node, &mut |field| {
            if field.is_strict() {
                reading.add_fault(field, fault);
            }
        });
    }

    fn string(mut self, text: Cow<'a, str>) {
        let fields = self.pattern.fields(self.node);
        if fields.is_empty() {
            return self.fault(self.node, Fault::WrongType);
        }
        for field in fields {
            self.reader.add_text(self.reading, *field, text.clone());
        }
    }

    fn integer(mut self, number: i128) {
        let fields = self.pattern.fields(self.node);
        let is_name = |field: &Field| {
            use Field::{Context, DefaultVoice, Fetch, SampleRate, Voice};
            matches!(field, Voice | DefaultVoice | Context | SampleRate | Fetch)
        };
        if fields.is_empty() || !fields.iter().all(is_name) {
            return self.fault(self.node, Fault::WrongType);
        }
        for field in fields {
            match field {
                Field::SampleRate => self.reading.sample_rate = number.try_into().ok(),
                Field::Fetch => self.reading.has_fetch = true,
                // A name that is a number, such as a voice's.
                _ => {
                    let name = Cow::Owned(number.to_string());
                    self.reading.add_name(*field, name);
                }
            }
        }
    }

    /// A boolean, a fraction, or `null` at the place of a value.
    fn other(mut self) {
        self.note_fetch();
        self.fault(self.node, Fault::WrongType);
    }

    /// Whether there is something to fetch counts, not its type.
    fn note_fetch(&mut self) {
        let fields = self.pattern.fields(self.node);
        self.reading.has_fetch |= fields.contains(&Field::Fetch);
        self.reading.has_start |= fields.contains(&Field::Start);
    }

    /// A container where there is only a place for a value.
    fn is_container(&mut self) -> bool {
        self.note_fetch();
        if self.pattern.is_leaf(self.node) {
            self.fault(self.node, Fault::WrongType);
        }
        !self.pattern.is_leaf(self.node)
    }
}

impl<'a> Visitor<'a> for Value<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<(), E> {
        self.string(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        // Text is only counted, and may be long.
        let fields = self.pattern.fields(self.node);
        if fields == [Field::Text] {
            let characters = self.reader.profile.counting().characters(text);
            self.reading.has_text = true;
            self.reading.characters = self.reading.characters.saturating_add(characters);
        } else {
            self.string(Cow::Owned(text.to_owned()));
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.integer(number.into());
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.integer(number.into());
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.other();
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.other();
        Ok(())
    }

    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        // `null` for an object that may be left out says nothing. For a value, the server may take
        // its default instead of the value in another place.
        let node = self.node;
        let fields = self.pattern.fields(node);
        if fields
            .iter()
            .any(|field| !matches!(field, Field::Fetch | Field::Start))
        {
            self.fault(node, Fault::WrongType);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut elements: A) -> Result<(), A::Error> {
        if !self.is_container() {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let mut index = 0;
        loop {
            let more = match self.pattern.element(self.node, index) {
                Some(child) => elements.next_element_seed(self.child(child))?.is_some(),
                None => {
                    // An array at the place of an object.
                    self.fault(self.node, Fault::WrongType);
                    elements.next_element::<IgnoredAny>()?.is_some()
                }
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut members: A) -> Result<(), A::Error> {
        if !self.is_container() {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let mut seen = Seen::default();
        while let Some(member) = members.next_key_seed(Key(self.pattern, self.node))? {
            match member {
                Member::Child(child) => {
                    if self.pattern.is_unique(child) && !seen.insert(child) {
                        self.fault(child, Fault::Ambiguous);
                    }
                    members.next_value_seed(self.child(child))?;
                }
                Member::Alike(child) => {
                    self.fault(child, Fault::Ambiguous);
                    let mut fetches = false;
                    self.pattern
                        .each_field(child, &mut |field| fetches |= field == Field::Fetch);
                    self.reading.has_fetch |= fetches;
                    members.next_value::<IgnoredAny>()?;
                }
                Member::Unknown => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// The nodes whose members an object has had. Few profiles have more than 64 nodes.
#[derive(Default)]
struct Seen {
    /// A bit for each node below 64.
    first: u64,
    more: Vec<usize>,
}

impl Seen {
    /// Adds a node. Returns whether it is new.
    fn insert(&mut self, node: usize) -> bool {
        if node < 64 {
            let before = self.first;
            self.first |= 1 << node;
            return before != self.first;
        }
        let is_new = !self.more.contains(&node);
        if is_new {
            self.more.push(node);
        }
        is_new
    }
}

/// Reads the name of a member.
struct Key<'p>(&'p Pattern, usize);

impl<'a> DeserializeSeed<'a> for Key<'_> {
    type Value = Member;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Member, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Member, E> {
        Ok(self.0.member(self.1, name))
    }
}
