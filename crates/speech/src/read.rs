//! Reads a body or a message by its profile.

use std::fmt;

use crate::media_type::MediaType;
use crate::profile::BodyFormat;
use crate::reader::Reader;
use crate::reading::Reading;
use crate::{form, json, multipart, protobuf, ssml};

/// Why a body or a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unreadable {
    /// `Content-Type` cannot be read, or names a format that the route does not have.
    MediaType,
    /// The content is encoded, compressed, or in another character set than UTF-8.
    Encoding,
    /// The content is not UTF-8, or begins with a byte order mark.
    NotUtf8,
    /// The content is not exactly one document of its format.
    Syntax,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MediaType => "the content type does not fit the route",
            Self::Encoding => "the content is compressed, or not in UTF-8",
            Self::NotUtf8 => "the content is not UTF-8",
            Self::Syntax => "the content is not one document of its format",
        })
    }
}

impl std::error::Error for Unreadable {}

/// A message of a WebSocket.
#[derive(Clone, Copy)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a [u8]),
    /// A binary message.
    Binary(&'a [u8]),
}

impl Reader {
    /// Reads a whole body. gRPC streams are read by [`read_grpc`](Self::read_grpc).
    ///
    /// # Errors
    ///
    /// If the body cannot be read.
    pub fn read_body<'a>(
        &self,
        media_type: &MediaType,
        body: &'a [u8],
    ) -> Result<Reading<'a>, Unreadable> {
        let mut reading = Reading::default();
        let format = media_type
            .format(self.profile.formats())
            .ok_or(Unreadable::MediaType)?;
        match format {
            BodyFormat::Json => json::read(self, &self.body, utf8(body)?, &mut reading)?,
            BodyFormat::Form => match media_type.boundary() {
                Some(boundary) => multipart::read(self, boundary, body, &mut reading)?,
                None => form::read(self, body, &mut reading)?,
            },
            BodyFormat::Ssml => ssml::read(utf8(body)?, self.profile.counting(), &mut reading)?,
            BodyFormat::Raw => self.raw(utf8(body)?, &mut reading),
            BodyFormat::Protobuf => {
                let mut rest = body;
                while let Some((message, length)) = protobuf::frame(rest)? {
                    protobuf::read(self, self.profile.places(), message, &mut reading)?;
                    rest = &rest[length..];
                }
                if !rest.is_empty() {
                    return Err(Unreadable::Syntax);
                }
            }
        }
        Ok(reading)
    }

    /// Reads the first message of a gRPC stream, and returns the number of bytes of its frame.
    /// `None` if the message is not complete.
    ///
    /// # Errors
    ///
    /// If the message cannot be read.
    pub fn read_grpc<'a>(
        &self,
        stream: &'a [u8],
    ) -> Result<Option<(Reading<'a>, usize)>, Unreadable> {
        let Some((message, length)) = protobuf::frame(stream)? else {
            return Ok(None);
        };
        let mut reading = Reading::default();
        protobuf::read(self, self.profile.places(), message, &mut reading)?;
        Ok(Some((reading, length)))
    }

    /// Reads a message of a WebSocket. An empty message says nothing.
    ///
    /// # Errors
    ///
    /// If the message cannot be read.
    pub fn read_message<'a>(&self, message: Message<'a>) -> Result<Reading<'a>, Unreadable> {
        let mut reading = Reading::default();
        let has = |wanted| self.profile.message_formats().any(|own| own == wanted);
        match message {
            Message::Text(b"") | Message::Binary(b"") => {}
            Message::Binary(content) if has(BodyFormat::Protobuf) => {
                protobuf::read(self, self.profile.messages(), content, &mut reading)?;
            }
            // Servers take a binary message for a text message and the other way round.
            Message::Text(content) | Message::Binary(content) => {
                let text = utf8(content)?;
                let is_raw = has(BodyFormat::Raw) && !text.trim_start().starts_with('{');
                if is_raw {
                    self.raw(text, &mut reading);
                } else if has(BodyFormat::Ssml) {
                    self.azure(text, &mut reading)?;
                } else if has(BodyFormat::Json) {
                    json::read(self, &self.messages, text, &mut reading)?;
                } else {
                    return Err(Unreadable::MediaType);
                }
            }
        }
        Ok(reading)
    }

    fn raw(&self, text: &str, reading: &mut Reading<'_>) {
        if !self.profile.commands().contains(&text.trim()) {
            reading.has_text = true;
            reading.characters = self.profile.counting().characters(text);
        }
    }

    /// A message of Azure's protocol: headers, an empty line, and a body whose kind `Path` names.
    fn azure<'a>(&self, message: &'a str, reading: &mut Reading<'a>) -> Result<(), Unreadable> {
        let (headers, body) = message.split_once("\r\n\r\n").ok_or(Unreadable::Syntax)?;
        let mut paths = headers.split("\r\n").filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim()
                .eq_ignore_ascii_case("path")
                .then(|| value.trim())
        });
        let (Some(path), None) = (paths.next(), paths.next()) else {
            return Err(Unreadable::Syntax);
        };
        match path.to_ascii_lowercase().as_str() {
            "ssml" => ssml::read(body, self.profile.counting(), reading),
            "text.piece" => {
                reading.has_text = true;
                reading.characters = self.profile.counting().characters(body);
                Ok(())
            }
            "synthesis.context" => json::read(self, &self.messages, body, reading),
            _ => Ok(()),
        }
    }
}

fn utf8(content: &[u8]) -> Result<&str, Unreadable> {
    let text = std::str::from_utf8(content).map_err(|_| Unreadable::NotUtf8)?;
    match text.starts_with('\u{feff}') {
        true => Err(Unreadable::NotUtf8),
        false => Ok(text),
    }
}
