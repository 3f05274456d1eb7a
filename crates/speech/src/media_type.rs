//! The `Content-Type` of a body.

use crate::profile::BodyFormat;
use crate::read::Unreadable;

/// What a `Content-Type` says about a body (RFC 9110 §8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Missing,
    Json,
    UrlEncoded,
    Multipart(String),
    Xml,
    PlainText,
    Grpc,
    Other,
}

impl MediaType {
    /// Reads the values of all `Content-Type` headers of a request.
    ///
    /// # Errors
    ///
    /// If there are several, if one cannot be read, or if it names a character set other than UTF-8.
    pub fn parse<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Result<Self, Unreadable> {
        let mut values = values.into_iter();
        let Some(value) = values.next() else {
            return Ok(Self(Kind::Missing));
        };
        let value = std::str::from_utf8(value).map_err(|_| Unreadable::MediaType)?;
        if values.next().is_some() || value.contains(',') {
            return Err(Unreadable::MediaType);
        }
        let mut parts = value.split(';');
        let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let mut boundary = None;
        for part in parts {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            let (name, value) = part.split_once('=').ok_or(Unreadable::MediaType)?;
            let quoted = value.strip_prefix('"').map(|value| value.strip_suffix('"'));
            let value = quoted.unwrap_or(Some(value)).ok_or(Unreadable::MediaType)?;
            if name.eq_ignore_ascii_case("charset") {
                let ascii = ["utf-8", "utf8", "us-ascii"];
                if !ascii.iter().any(|known| value.eq_ignore_ascii_case(known)) {
                    return Err(Unreadable::Encoding);
                }
            } else if name.eq_ignore_ascii_case("boundary")
                && boundary.replace(value.to_owned()).is_some()
            {
                return Err(Unreadable::MediaType);
            }
        }
        let grpc =
            |essence: &str| essence == "application/grpc" || essence == "application/grpc+proto";
        Ok(Self(match essence.as_str() {
            "application/json" | "text/json" => Kind::Json,
            "application/x-www-form-urlencoded" => Kind::UrlEncoded,
            "multipart/form-data" => Kind::Multipart(
                boundary
                    .filter(|boundary| is_boundary(boundary))
                    .ok_or(Unreadable::MediaType)?,
            ),
            "application/ssml+xml" | "application/xml" | "text/xml" => Kind::Xml,
            "text/plain" => Kind::PlainText,
            essence if grpc(essence) => Kind::Grpc,
            essence if essence.starts_with("application/") && essence.ends_with("+json") => {
                Kind::Json
            }
            _ => Kind::Other,
        }))
    }

    /// The format, of those that a profile can read, in which a server reads the body. A body
    /// without a type has the profile's first format.
    pub(crate) fn format(
        &self,
        formats: impl IntoIterator<Item = BodyFormat>,
    ) -> Option<BodyFormat> {
        let fits = |format: &BodyFormat| match (&self.0, format) {
            (Kind::Missing, BodyFormat::Form | BodyFormat::Protobuf) => false,
            (Kind::Missing, _) => true,
            (Kind::Json, format) => *format == BodyFormat::Json,
            (Kind::UrlEncoded | Kind::Multipart(_), format) => *format == BodyFormat::Form,
            (Kind::Xml, format) => *format == BodyFormat::Ssml,
            (Kind::PlainText, format) => *format == BodyFormat::Raw,
            (Kind::Grpc, format) => *format == BodyFormat::Protobuf,
            _ => false,
        };
        formats.into_iter().find(fits)
    }

    /// Whether it is gRPC with protobuf messages.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.0 == Kind::Grpc
    }

    /// The boundary of a multipart body.
    pub(crate) fn boundary(&self) -> Option<&str> {
        match &self.0 {
            Kind::Multipart(boundary) => Some(boundary),
            _ => None,
        }
    }
}

/// RFC 2046 §5.1.1, without the space.
fn is_boundary(text: &str) -> bool {
    (1..=70).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte))
}
