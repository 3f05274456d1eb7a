//! The places of a profile in a tree, as a parser meets them.

use std::borrow::Cow;

use crate::names::is_alike;
use crate::profile::{Field, Place};

/// A tree of the JSON pointers of a profile. The root is node 0.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Vec<Node>);

#[derive(Clone, Debug, Default)]
struct Node {
    /// The member's name; `None` for `*`.
    name: Option<Box<str>>,
    fields: Vec<Field>,
    children: Vec<usize>,
}

/// What a member of an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// This child of the node.
    Child(usize),
    /// A name that servers might take for this child's.
    Alike(usize),
    Unknown,
}

impl Pattern {
    pub(crate) fn of(places: &[(Field, Place)]) -> Self {
        let mut tree = Self(vec![Node::default()]);
        for (field, place) in places {
            if let Place::Json(pointer) = place {
                tree.insert(*field, pointer);
            }
        }
        tree
    }

    fn insert(&mut self, field: Field, pointer: &str) {
        let mut at = 0;
        for segment in pointer.split('/').skip(1) {
            let name = match segment {
                "*" => None,
                // RFC 6901 §4: `~1` before `~0`.
                _ => Some(
                    segment
                        .replace("~1", "/")
                        .replace("~0", "~")
                        .into_boxed_str(),
                ),
            };
            let mut children = self.0[at].children.iter().copied();
            let known = children.find(|child| self.0[*child].name == name);
            at = known.unwrap_or_else(|| {
                let new = self.0.len();
                self.0[at].children.push(new);
                let node = Node {
                    name,
                    ..Node::default()
                };
                self.0.push(node);
                new
            });
        }
        self.0[at].fields.push(field);
    }

    pub(crate) fn fields(&self, node: usize) -> &[Field] {
        &self.0[node].fields
    }

    pub(crate) fn is_leaf(&self, node: usize) -> bool {
        self.0[node].children.is_empty()
    }

    /// Which child of `node` a member with this name is, and its position among the children.
    pub(crate) fn member(&self, node: usize, name: &str) -> Member {
        let children = &self.0[node].children;
        let named = |child: &usize| self.0[*child].name.as_deref() == Some(name);
        if let Some(child) = children.iter().copied().find(named) {
            return Member::Child(child);
        }
        let alike = |child: &usize| {
            let own = self.0[*child].name.as_deref();
            own.is_some_and(|own| is_alike(name, own))
        };
        if let Some(child) = children.iter().copied().find(alike) {
            return Member::Alike(child);
        }
        self.any(node).map_or(Member::Unknown, Member::Child)
    }

    /// The child of `node` for the element of an array with this index.
    pub(crate) fn element(&self, node: usize, index: usize) -> Option<usize> {
        let children = self.0[node].children.iter().copied();
        let numbered = |child: &usize| {
            let name = self.0[*child].name.as_deref();
            name.and_then(|name| name.parse().ok()) == Some(index)
        };
        children.clone().find(numbered).or_else(|| self.any(node))
    }

    fn any(&self, node: usize) -> Option<usize> {
        let mut children = self.0[node].children.iter().copied();
        children.find(|child| self.0[*child].name.is_none())
    }

    /// Whether a member may occur only once: it has a name of its own.
    pub(crate) fn is_unique(&self, node: usize) -> bool {
        self.0[node].name.is_some()
    }

    /// Every field at `node` and below.
    pub(crate) fn each_field(&self, node: usize, found: &mut dyn FnMut(Field)) {
        self.0[node].fields.iter().copied().for_each(&mut *found);
        for child in &self.0[node].children {
            self.each_field(*child, found);
        }
    }
}

/// The places of a profile that are in forms, by name.
pub(crate) fn form_fields(places: &[(Field, Place)]) -> impl Iterator<Item = (Field, &str)> {
    places.iter().filter_map(|(field, place)| match place {
        Place::Form(name) => Some((*field, name.as_ref())),
        _ => None,
    })
}

/// The places of a profile that are in protobuf messages, by number.
pub(crate) fn proto_fields(places: &[(Field, Place)]) -> impl Iterator<Item = (Field, &[u32])> {
    places.iter().filter_map(|(field, place)| match place {
        Place::Proto(Cow::Borrowed(numbers)) => Some((*field, *numbers)),
        Place::Proto(Cow::Owned(numbers)) => Some((*field, numbers.as_slice())),
        _ => None,
    })
}
