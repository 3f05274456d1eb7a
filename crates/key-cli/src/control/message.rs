//! What is said on the control socket: one line of JSON each way.

use std::io::{self, Read, Write};

use serde_json::{Value, json};
use voxgate::keys::Revocation;

const VERSION: u64 = 1;
/// Longer than any message.
const MAX_BYTES: u64 = 1024 * 1024;

/// What a gateway is asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControlRequest {
    /// Keys to refuse at once.
    pub revoke: Vec<Revocation>,
    /// Keys that the file has, and that the gateway should load. They are named like keys to revoke.
    pub load: Vec<Revocation>,
}

/// What a gateway has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControlResponse {
    /// Its process id, in its own container.
    pub process: u32,
    /// The ids of keys to revoke that it accepts nevertheless.
    pub accepted: Vec<String>,
    /// The ids of keys to load that it has not loaded.
    pub missing: Vec<String>,
    /// Whether the revocations are published to the other replicas; `None` without Redis.
    pub shared: Option<bool>,
}

impl ControlRequest {
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let texts = |keys: &[Revocation]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (revoke, load) = (texts(&self.revoke), texts(&self.load));
        line(to, &json!({ "v": VERSION, "revoke": revoke, "load": load }))
    }

    pub(super) fn read(from: impl Read) -> io::Result<Self> {
        let value = parse(from)?;
        let keys = |field: &str| {
            let texts = texts(&value, field)?;
            let keys = texts.iter().map(|text| text.parse().ok());
            keys.collect::<Option<Vec<Revocation>>>().ok_or_else(wrong)
        };
        Ok(Self {
            revoke: keys("revoke")?,
            load: keys("load")?,
        })
    }
}

impl ControlResponse {
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let Self {
            process,
            accepted,
            missing,
            shared,
        } = self;
        let value = json!({
            "v": VERSION, "process": process, "accepted": accepted, "missing": missing, "shared": shared,
        });
        line(to, &value)
    }

    pub(super) fn read(from: impl Read) -> io::Result<Self> {
        let value = parse(from)?;
        let process = value["process"].as_u64();
        let process = process.and_then(|process| process.try_into().ok());
        Ok(Self {
            process: process.ok_or_else(wrong)?,
            accepted: texts(&value, "accepted")?,
            missing: texts(&value, "missing")?,
            shared: value["shared"].as_bool(),
        })
    }
}

fn line(to: &mut impl Write, value: &Value) -> io::Result<()> {
    to.write_all(format!("{value}\n").as_bytes())?;
    to.flush()
}

fn parse(from: impl Read) -> io::Result<Value> {
    let mut text = String::new();
    let mut from = io::BufReader::new(from.take(MAX_BYTES));
    io::BufRead::read_line(&mut from, &mut text)?;
    // A message that was cut off is none.
    let whole = text
        .strip_suffix('\n')
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let value: Value = serde_json::from_str(whole).map_err(|_| wrong())?;
    match value["v"] == VERSION {
        true => Ok(value),
        false => Err(wrong()),
    }
}

fn texts(value: &Value, field: &str) -> io::Result<Vec<String>> {
    let texts = value[field].as_array().ok_or_else(wrong)?.iter();
    let texts = texts.map(|text| text.as_str().map(str::to_owned));
    texts.collect::<Option<_>>().ok_or_else(wrong)
}

fn wrong() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it is not a message of this version of voxgate",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let key = |id| Revocation::new(id, Some("0123456789ab")).expect("a key");
        let request = ControlRequest {
            revoke: vec![key("a"), Revocation::new("b", None).expect("a key")],
            load: vec![key("c")],
        };
        let mut bytes = Vec::new();
        request.write(&mut bytes).expect("written");
        assert_eq!(ControlRequest::read(&bytes[..]).expect("read"), request);
        for shared in [None, Some(true), Some(false)] {
            let response = ControlResponse {
                process: 7,
                accepted: vec!["a".to_owned()],
                missing: Vec::new(),
                shared,
            };
            let mut bytes = Vec::new();
            response.write(&mut bytes).expect("written");
            assert_eq!(ControlResponse::read(&bytes[..]).expect("read"), response);
        }
    }

    #[test]
    fn nothing_else_is_a_message() {
        for text in [
            "",
            "{}\n",
            "{\"v\":1,\"revoke\":[],\"load\":[]}",
            "{\"v\":2,\"revoke\":[],\"load\":[]}\n",
            "{\"v\":1,\"revoke\":[\"a\"],\"load\":[]}\n",
            "{\"v\":1,\"revoke\":[1],\"load\":[]}\n",
            "{\"v\":1,\"enable\":[\"a *\"]}\n",
        ] {
            assert!(ControlRequest::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
