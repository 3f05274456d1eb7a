//! Reads a URL-encoded form (<https://url.spec.whatwg.org/#application/x-www-form-urlencoded>).

use std::borrow::Cow;

use crate::names::is_alike;
use crate::pattern::form_fields;
use crate::profile::Field;
use crate::read::Unreadable;
use crate::reader::Reader;
use crate::reading::{Fault, Reading};

pub(crate) fn read<'a>(
    reader: &Reader,
    body: &'a [u8],
    reading: &mut Reading<'a>,
) -> Result<(), Unreadable> {
    // Older servers separate fields by `;` as well; clients encode it.
    if body.contains(&b';') || body.contains(&b'\0') {
        return Err(Unreadable::Syntax);
    }
    let mut fields = Fields::new(reader);
    for (name, value) in form_urlencoded::parse(body) {
        // What is not UTF-8 was replaced.
        if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
            return Err(Unreadable::NotUtf8);
        }
        fields.add(reading, &name, value);
    }
    Ok(())
}

/// The fields of one form, each of which may occur once.
pub(crate) struct Fields<'p> {
    reader: &'p Reader,
    seen: Vec<&'p str>,
}

impl<'p> Fields<'p> {
    pub(crate) fn new(reader: &'p Reader) -> Self {
        let seen = Vec::new();
        Self { reader, seen }
    }

    /// Notes a file of the form. Servers may read it as the field of this name.
    pub(crate) fn add_file(&self, reading: &mut Reading<'_>, given: &str) {
        for (field, name) in form_fields(self.reader.profile.places()) {
            match field {
                _ if !is_alike(given, name) => {}
                Field::Fetch => reading.has_fetch = true,
                _ => reading.add_fault(field, Fault::WrongType),
            }
        }
    }

    /// Adds one field of the form.
    pub(crate) fn add<'a>(&mut self, reading: &mut Reading<'a>, given: &str, value: Cow<'a, str>) {
        for (field, name) in form_fields(self.reader.profile.places()) {
            if !is_alike(given, name) {
                continue;
            }
            if given != name || self.seen.contains(&name) {
                reading.add_fault(field, Fault::Ambiguous);
            }
            self.reader.add_text(reading, field, value.clone());
        }
        let mut names = form_fields(self.reader.profile.places()).map(|(_, name)| name);
        self.seen.extend(names.find(|name| *name == given));
    }
}
