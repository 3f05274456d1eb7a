//! Reads `multipart/form-data` (RFC 7578), in the one form that clients write.
//!
//! Parsers of multipart bodies differ in what they make of other forms, so that this reader refuses
//! them: text before the first boundary, folded headers, a part without a name, two names, or an
//! encoded name.

use std::borrow::Cow;

use crate::form::Fields;
use crate::read::Unreadable;
use crate::reader::Reader;
use crate::reading::Reading;

/// Headers of one part.
const MOST_HEADERS: usize = 8;

pub(crate) fn read<'a>(
    reader: &Reader,
    boundary: &str,
    body: &'a [u8],
    reading: &mut Reading<'a>,
) -> Result<(), Unreadable> {
    let delimiter = format!("\r\n--{boundary}");
    let first = &delimiter.as_bytes()[2..];
    let mut rest = body.strip_prefix(first).ok_or(Unreadable::Syntax)?;
    let mut fields = Fields::new(reader);
    loop {
        if matches!(rest, b"--" | b"--\r\n") {
            return Ok(());
        }
        rest = rest.strip_prefix(b"\r\n").ok_or(Unreadable::Syntax)?;
        let end = find(rest, delimiter.as_bytes()).ok_or(Unreadable::Syntax)?;
        let (part, after) = rest.split_at(end);
        rest = &after[delimiter.len()..];
        let (name, content) = part_of(part)?;
        let Some(content) = content else {
            fields.add_file(reading, &name);
            continue;
        };
        let content = std::str::from_utf8(content).map_err(|_| Unreadable::NotUtf8)?;
        fields.add(reading, &name, Cow::Borrowed(content));
    }
}

/// The name of a part and its content; `None` for a file.
fn part_of(part: &[u8]) -> Result<(String, Option<&[u8]>), Unreadable> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let parsed = httparse::parse_headers(part, &mut headers).map_err(|_| Unreadable::Syntax)?;
    let httparse::Status::Complete((length, headers)) = parsed else {
        return Err(Unreadable::Syntax);
    };
    let (mut name, mut is_file) = (None, false);
    for header in headers {
        let value = std::str::from_utf8(header.value).map_err(|_| Unreadable::NotUtf8)?;
        if header.name.eq_ignore_ascii_case("content-disposition") {
            let (given, file) = disposition(value).ok_or(Unreadable::Syntax)?;
            if name.replace(given).is_some() {
                return Err(Unreadable::Syntax);
            }
            is_file = file;
        } else if header
            .name
            .eq_ignore_ascii_case("content-transfer-encoding")
        {
            // RFC 7578 §4.7: not used.
            return Err(Unreadable::Encoding);
        } else if header.name.eq_ignore_ascii_case("content-type") && value.contains("charset") {
            let charset = value.to_ascii_lowercase().replace([' ', '"'], "");
            if !charset.ends_with("charset=utf-8") {
                return Err(Unreadable::Encoding);
            }
        }
    }
    let name = name.ok_or(Unreadable::Syntax)?;
    Ok((name, (!is_file).then(|| &part[length..])))
}

/// The name in `form-data; name="…"`, and whether it is a file.
fn disposition(value: &str) -> Option<(String, bool)> {
    let mut rest = value.strip_prefix("form-data")?.trim_start();
    let (mut name, mut file) = (None, false);
    while !rest.is_empty() {
        rest = rest.strip_prefix(';')?.trim_start();
        let (key, after) = rest.split_once('=')?;
        let (content, after) = after.strip_prefix('"')?.split_once('"')?;
        // `%22` is a quotation mark in what browsers write, and `\"` elsewhere.
        if content.contains(['\\', '%']) && key == "name" {
            return None;
        }
        match key {
            "name" if name.is_none() => name = Some(content.to_owned()),
            "filename" if !file => file = true,
            _ => return None,
        }
        rest = after.trim_start();
    }
    Some((name?, file))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let starts = text.windows(wanted.len());
    starts.into_iter().position(|window| window == wanted)
}
