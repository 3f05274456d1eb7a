//! The places of a profile in answers, as scanners meet them.

use voxgate::speech::{AnswerField, Place};

/// A set of places, one bit each.
pub(super) type PlaceSet = u32;

/// The most places of one kind. No profile has more than a few.
const MOST: usize = PlaceSet::BITS as usize;

/// The places that are not in the header of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    json: Vec<(AnswerField, Vec<&'static str>)>,
    protobuf: Vec<(AnswerField, &'static [u32])>,
    /// Whether binary messages are audio.
    raw: bool,
}

impl Places {
    pub(super) fn of(answers: &'static [(AnswerField, Place)]) -> Self {
        let mut places = Self::default();
        for (field, place) in answers {
            match place {
                Place::Json(pointer) if places.json.len() < MOST => {
                    // No name of a vendor has an escape of RFC 6901.
                    let segments = pointer.split('/').skip(1).collect();
                    places.json.push((*field, segments));
                }
                Place::Proto(numbers) if places.protobuf.len() < MOST => {
                    places.protobuf.push((*field, numbers));
                }
                Place::Raw => places.raw = true,
                _ => {}
            }
        }
        places
    }

    pub(super) fn has_json(&self) -> bool {
        !self.json.is_empty()
    }

    pub(super) fn has_protobuf(&self) -> bool {
        !self.protobuf.is_empty()
    }

    pub(super) fn has_raw(&self) -> bool {
        self.raw
    }

    /// Those of `set` whose pointer has this name, or `*`, at a depth.
    pub(super) fn member(&self, set: PlaceSet, depth: usize, name: Option<&str>) -> PlaceSet {
        let is_named = |segments: &[&str]| {
            let segment = segments.get(depth);
            segment.is_some_and(|own| *own == "*" || Some(*own) == name)
        };
        select(self.json.iter().map(|(_, segments)| is_named(segments))) & set
    }

    /// The field of a JSON value at a depth.
    pub(super) fn json_field(&self, set: PlaceSet, depth: usize) -> Option<AnswerField> {
        let mut places = self.json.iter().enumerate();
        let found = places.find(|(at, (_, own))| set & (1 << at) != 0 && own.len() == depth);
        found.map(|(_, (field, _))| *field)
    }

    /// Those of `set` whose path has this number at a depth.
    pub(super) fn numbered(&self, set: PlaceSet, depth: usize, number: u64) -> PlaceSet {
        let is_numbered = |own: &&[u32]| own.get(depth).map(|own| u64::from(*own)) == Some(number);
        select(self.protobuf.iter().map(|(_, own)| is_numbered(own))) & set
    }

    /// Whether the audio is at a depth of protobuf messages.
    pub(super) fn is_audio(&self, set: PlaceSet, depth: usize) -> bool {
        let mut places = self.protobuf.iter().enumerate();
        places.any(|(at, (field, own))| {
            set & (1 << at) != 0 && own.len() == depth && *field == AnswerField::Audio
        })
    }
}

fn select(flags: impl Iterator<Item = bool>) -> PlaceSet {
    let set = flags.enumerate();
    set.fold(0, |set, (at, flag)| set | (PlaceSet::from(flag) << at))
}
