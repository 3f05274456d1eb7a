//! A profile, prepared for reading.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

#[cfg(feature = "read")]
use crate::pattern::Pattern;
use crate::profile::{Field, Place, SpeechProfile};
use crate::query;
use crate::reading::{Fault, Reading};

/// A profile, prepared for reading. Made once for a route.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) profile: SpeechProfile,
    #[cfg(feature = "read")]
    pub(crate) body: Pattern,
    #[cfg(feature = "read")]
    pub(crate) messages: Pattern,
}

impl PartialEq for Reader {
    fn eq(&self, other: &Self) -> bool {
        self.profile == other.profile
    }
}

impl Eq for Reader {}

impl Reader {
    /// Prepares a profile.
    #[must_use]
    pub fn new(profile: SpeechProfile) -> Self {
        Self {
            #[cfg(feature = "read")]
            body: Pattern::of(profile.places()),
            #[cfg(feature = "read")]
            messages: Pattern::of(profile.messages()),
            profile,
        }
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> &SpeechProfile {
        &self.profile
    }

    /// Reads the head of a request: `pattern` is the route's, in which `{name}` is one segment, and
    /// `header` returns the values of a header. A value that is not UTF-8 is `None`.
    #[must_use]
    pub fn read_head<'a>(
        &self,
        pattern: &str,
        path: &'a str,
        query: &'a str,
        header: impl Fn(&str) -> Vec<Option<&'a str>>,
    ) -> Reading<'a> {
        let mut reading = Reading::default();
        for (field, place) in self.profile.places() {
            let found = match place {
                Place::Path(name) => segment(pattern, path, name),
                Place::Query(name) => query::value(query, name),
                Place::Header(name) => only(header(name)),
                _ => continue,
            };
            match found {
                Ok(Some(value)) => self.add_text(&mut reading, *field, value),
                Ok(None) => {}
                Err(fault) => reading.add_fault(*field, fault),
            }
        }
        reading
    }

    /// Adds the value of a field that was found as a text.
    pub(crate) fn add_text<'a>(
        &self,
        reading: &mut Reading<'a>,
        field: Field,
        value: Cow<'a, str>,
    ) {
        match field {
            Field::Text | Field::Ssml => {
                reading.has_text = true;
                let characters = self.profile.counting().characters(&value);
                reading.characters = reading.characters.saturating_add(characters);
                if field == Field::Ssml {
                    self.add_markup(reading, &value);
                }
            }
            // What is empty names nothing.
            _ if value.is_empty() => {}
            _ => reading.add_name(field, value),
        }
    }

    #[cfg(feature = "read")]
    fn add_markup(&self, reading: &mut Reading<'_>, value: &str) {
        crate::ssml::read_names(value, reading);
    }

    #[cfg(not(feature = "read"))]
    fn add_markup(&self, reading: &mut Reading<'_>, _: &str) {
        reading.add_fault(Field::Ssml, Fault::WrongType);
    }
}

fn segment<'a>(pattern: &str, path: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, Fault> {
    let is_named = |own: &str| {
        let own = own.strip_prefix('{').and_then(|own| own.strip_suffix('}'));
        let own = own.map(|own| own.strip_suffix("%2F").unwrap_or(own));
        own == Some(name)
    };
    let segments = pattern.split('/').zip(path.split('/'));
    let mut named = segments.filter(|(own, _)| is_named(own)).map(|(_, is)| is);
    match (named.next(), named.next()) {
        (Some(segment), None) => {
            let decoded = percent_decode_str(segment).decode_utf8();
            decoded.map(Some).map_err(|_| Fault::WrongType)
        }
        (None, _) => Ok(None),
        _ => Err(Fault::Ambiguous),
    }
}

fn only<'a>(values: Vec<Option<&'a str>>) -> Result<Option<Cow<'a, str>>, Fault> {
    match values[..] {
        [] => Ok(None),
        [Some(value)] => Ok(Some(Cow::Borrowed(value.trim()))),
        [None] => Err(Fault::WrongType),
        _ => Err(Fault::Ambiguous),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_read_by_its_places() {
        let reader = Reader::new(SpeechProfile::new(&[
            (Field::Voice, Place::Path(Cow::Borrowed("voice_id"))),
            (Field::Model, Place::Query(Cow::Borrowed("model"))),
            (Field::Format, Place::Header(Cow::Borrowed("x-format"))),
        ]));
        let headers = |name: &str| match name {
            "x-format" => vec![Some("riff")],
            _ => vec![],
        };
        let read = |path, query| reader.read_head("/v1/{voice_id}/x", path, query, headers);
        let reading = read("/v1/a%20b/x", "model=m");
        assert!(reading.names(Field::Voice).eq(["a b"]));
        assert!(reading.names(Field::Model).eq(["m"]));
        assert_eq!(reading.format.as_deref(), Some("riff"));
        assert_eq!(
            read("/v1/%ff/x", "").fault(Field::Voice),
            Some(Fault::WrongType)
        );
        let twice = read("/v1/a/x", "model=m&Model=n");
        assert_eq!(twice.fault(Field::Model), Some(Fault::Ambiguous));
        assert_eq!(twice.fault(Field::Voice), None);
    }
}
