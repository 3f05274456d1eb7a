//! Reads a JSON object strictly: no field twice, none that is not known, none of another type.
//!
//! A field that is not known may restrict the token in a later version of the vendor's API. To ignore
//! it would make a token with more rights than its caller asked for.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::problem::{Problem, ProblemKind};

/// The longest name of an unknown field that is told to the caller.
const MAX_NAME: usize = 64;

/// The fields of an object that were not read yet.
#[derive(Debug)]
pub(crate) struct Fields {
    /// Before the names of this object's fields, such as `expires_after.`.
    prefix: &'static str,
    values: BTreeMap<String, Box<RawValue>>,
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = BTreeMap<String, Box<RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            if values.insert(name, value).is_some() {
                return Err(A::Error::custom("a field stands twice"));
            }
        }
        Ok(values)
    }
}

impl Fields {
    /// The fields of a body. An empty body has none.
    pub(crate) fn of(body: &[u8]) -> Result<Self, Problem> {
        match body {
            [] => Ok(Self {
                prefix: "",
                values: BTreeMap::new(),
            }),
            body => Self::parse("", "", body),
        }
    }

    fn parse(prefix: &'static str, field: &str, text: &[u8]) -> Result<Self, Problem> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let values = json.deserialize_map(Object).and_then(|values| {
            json.end()?;
            Ok(values)
        });
        // The parser's message would repeat parts of the body.
        let values = values.map_err(|_| {
            let (kind, what) = match field {
                "" => (ProblemKind::Malformed, "The body"),
                _ => (ProblemKind::WrongType, field),
            };
            let message = format!("{what} must be one JSON object that names each field once.");
            Problem::new(kind, field.to_owned(), message)
        })?;
        Ok(Self { prefix, values })
    }

    fn name(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }

    /// Takes a field. One that is `null` counts as absent, as in protobuf's JSON and in the SDKs.
    fn take(&mut self, field: &str) -> Option<Box<RawValue>> {
        let value = self.values.remove(field)?;
        (value.get() != "null").then_some(value)
    }

    fn read<T>(
        &mut self,
        field: &str,
        what: &str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        let value = serde_json::from_str(value.get()).ok().and_then(read);
        match value {
            Some(value) => Ok(Some(value)),
            None => {
                let name = self.name(field);
                let message = format!("{name} must be {what}.");
                Err(Problem::new(ProblemKind::WrongType, name, message))
            }
        }
    }

    /// A text.
    pub(crate) fn text(&mut self, field: &str) -> Result<Option<String>, Problem> {
        self.read(field, "a string", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, field: &str) -> Result<Option<bool>, Problem> {
        self.read(field, "true or false", |value| value.as_bool())
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, field: &str) -> Result<Option<Vec<String>>, Problem> {
        self.read(field, "a list of strings", |value| match value {
            Value::Array(values) => values
                .into_iter()
                .map(|value| match value {
                    Value::String(text) => Some(text),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// A whole number of seconds from `least` to `most`. Clients in Python and JavaScript may write
    /// it with a fraction of zero.
    pub(crate) fn seconds(
        &mut self,
        field: &str,
        least: u64,
        most: u64,
    ) -> Result<Option<u64>, Problem> {
        let number = self.read(field, "a number of seconds", |value| match value {
            Value::Number(number) => number.as_f64(),
            _ => None,
        })?;
        let name = self.name(field);
        number
            .map(|number| whole_seconds(&name, number, least, most))
            .transpose()
    }

    /// An object, whose fields begin with `prefix` in messages.
    pub(crate) fn object(
        &mut self,
        field: &str,
        prefix: &'static str,
    ) -> Result<Option<Self>, Problem> {
        let name = self.name(field);
        let value = self.take(field);
        value
            .map(|value| Self::parse(prefix, &name, value.get().as_bytes()))
            .transpose()
    }

    /// An object as it is.
    pub(crate) fn any_object(
        &mut self,
        field: &str,
    ) -> Result<Option<serde_json::Map<String, Value>>, Problem> {
        self.read(field, "an object", |value| match value {
            Value::Object(object) => Some(object),
            _ => None,
        })
    }

    /// Refuses what is left.
    pub(crate) fn end(mut self) -> Result<(), Problem> {
        let Some((name, _)) = self.values.pop_first() else {
            return Ok(());
        };
        let shown: String = name.chars().take(MAX_NAME).collect();
        let name = self.name(&shown);
        let message = format!("{name} is not a field of this request; remove it.");
        Err(Problem::new(ProblemKind::UnknownField, name, message))
    }
}

/// Seconds within their limits. The comparison is of numbers with a fraction, so that neither a
/// negative number nor one that is too large for an integer wraps around.
pub(crate) fn whole_seconds(
    name: &str,
    number: f64,
    least: u64,
    most: u64,
) -> Result<u64, Problem> {
    let problem = |kind| {
        let message = format!("{name} must be a whole number of seconds from {least} to {most}.");
        Err(Problem::new(kind, name.to_owned(), message))
    };
    // The limits are far below 2^52, up to which every integer is a number with a fraction.
    #[expect(clippy::cast_precision_loss, reason = "the limits are small")]
    let (low, high) = (least as f64, most as f64);
    if !number.is_finite() || number > high {
        return problem(ProblemKind::TooLarge);
    }
    if number < low {
        return problem(ProblemKind::TooSmall);
    }
    if number.fract() != 0.0 {
        return problem(ProblemKind::WrongType);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and within the limits"
    )]
    Ok(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(body: &str) -> Result<Option<u64>, ProblemKind> {
        let mut fields = Fields::of(body.as_bytes()).map_err(|problem| problem.kind)?;
        let seconds = fields
            .seconds("ttl", 1, 3600)
            .map_err(|problem| problem.kind)?;
        fields.end().map_err(|problem| problem.kind)?;
        Ok(seconds)
    }

    #[test]
    fn seconds_are_whole_and_within_their_limits() {
        use ProblemKind::{Malformed, TooLarge, TooSmall, UnknownField, WrongType};
        for (body, expected) in [
            ("", Ok(None)),
            ("{}", Ok(None)),
            (r#"{"ttl":null}"#, Ok(None)),
            (r#"{"ttl":1}"#, Ok(Some(1))),
            (r#"{"ttl":3600}"#, Ok(Some(3600))),
            (r#"{"ttl":60.0}"#, Ok(Some(60))),
            (r#"{"ttl":6e1}"#, Ok(Some(60))),
            (r#"{"ttl":0}"#, Err(TooSmall)),
            (r#"{"ttl":-1}"#, Err(TooSmall)),
            (r#"{"ttl":-9223372036854775808}"#, Err(TooSmall)),
            (r#"{"ttl":3601}"#, Err(TooLarge)),
            (r#"{"ttl":18446744073709551616}"#, Err(TooLarge)),
            (r#"{"ttl":1e300}"#, Err(TooLarge)),
            // Not a number of JSON in Rust.
            (r#"{"ttl":1e400}"#, Err(WrongType)),
            (r#"{"ttl":60.5}"#, Err(WrongType)),
            (r#"{"ttl":"60"}"#, Err(WrongType)),
            (r#"{"ttl":true}"#, Err(WrongType)),
            (r#"{"ttl":[60]}"#, Err(WrongType)),
            (r#"{"ttl":60,"ttl":3600}"#, Err(Malformed)),
            (r#"{"ttl":60} {}"#, Err(Malformed)),
            (r#"[{"ttl":60}]"#, Err(Malformed)),
            ("null", Err(Malformed)),
            (r#"{"ttl":60"#, Err(Malformed)),
            (r#"{"ttl":NaN}"#, Err(Malformed)),
            (r#"{"ttl":60,"scopes":[]}"#, Err(UnknownField)),
            (r#"{"TTL":60}"#, Err(UnknownField)),
        ] {
            assert_eq!(seconds(body), expected, "{body}");
        }
    }

    #[test]
    fn a_problem_names_the_field_and_does_not_repeat_the_value() {
        let mut fields = Fields::of(br#"{"after":{"seconds":"hunter2"}}"#).expect("an object");
        let mut after = fields
            .object("after", "after.")
            .expect("an object")
            .expect("it");
        let problem = after.seconds("seconds", 10, 7200).expect_err("a string");
        assert_eq!(problem.field, "after.seconds");
        assert!(!problem.message.contains("hunter2"), "{}", problem.message);
        let long = format!("{{\"{}\":1}}", "x".repeat(5000));
        let fields = Fields::of(long.as_bytes()).expect("an object");
        let problem = fields.end().expect_err("an unknown field");
        assert!(problem.message.len() < 200);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let body = format!("{{\"ttl\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        assert!(seconds(&body).is_err());
    }
}
