//! The header fields of a request: values that every server reads alike, and one length of the body.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};

use voxgate_core::denial::DenialKind;

/// Checks the fields that HTTP libraries let through and strict servers do not. Such a server ends
/// the whole connection in HTTP/2, and with it the streams of other callers.
pub(super) fn check(headers: &HeaderMap) -> Result<(), DenialKind> {
    if !headers.values().all(has_no_outer_space) {
        return Err(DenialKind::InvalidHeader);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => {}
        (Some(length), None) if is_canonical_length(length.as_bytes()) => {}
        _ => return Err(DenialKind::InvalidContentLength),
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        // The names of transfer codings are case-insensitive (RFC 9112 §7).
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(DenialKind::UnsupportedTransferCoding),
    }
}

/// Checks that each name consists of letters, digits and `-`. CGI, WSGI and PHP fold every other
/// character into `_`, as they fold `-`.
pub(super) fn check_names(headers: &HeaderMap) -> Result<(), DenialKind> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match headers.keys().all(|name| name.as_str().bytes().all(plain)) {
        true => Ok(()),
        false => Err(DenialKind::InvalidHeader),
    }
}

/// RFC 9113 §8.2.1. In HTTP/1.1 the spaces around a value are not part of it.
fn has_no_outer_space(value: &HeaderValue) -> bool {
    let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = value.as_bytes();
    !space(bytes.first()) && !space(bytes.last())
}

/// A decimal without a sign and without leading zeros that fits into 64 bits.
fn is_canonical_length(value: &[u8]) -> bool {
    match value {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => {
            let text = std::str::from_utf8(value).unwrap_or_default();
            rest.iter().all(u8::is_ascii_digit) && text.parse::<u64>().is_ok()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn values_without_outer_spaces_pass() {
        for value in ["", "a", "a b", "a\tb", "\u{e9}"] {
            assert_eq!(check(&headers(&[("x", value)])), Ok(()), "{value:?}");
        }
        for value in [" ", "\t", " a", "a ", "a\t", "\ta", " a "] {
            let refused = Err(DenialKind::InvalidHeader);
            assert_eq!(check(&headers(&[("x", value)])), refused, "{value:?}");
        }
    }

    #[test]
    fn a_length_is_one_canonical_decimal() {
        for length in ["0", "5", "10", "18446744073709551615"] {
            let given = headers(&[("content-length", length)]);
            assert_eq!(check(&given), Ok(()), "{length}");
        }
        let refused = Err(DenialKind::InvalidContentLength);
        for length in [
            "",
            "00",
            "05",
            "+5",
            "-5",
            "5,5",
            "5, 5",
            "5.0",
            "5e0",
            "0x5",
            "5;",
            "a",
            "5a",
            "\u{0665}",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            let given = headers(&[("content-length", length)]);
            assert_eq!(check(&given), refused, "{length:?}");
        }
        let twice = headers(&[("content-length", "5"), ("content-length", "5")]);
        assert_eq!(check(&twice), refused);
    }

    #[test]
    fn the_only_transfer_coding_is_chunked() {
        for coding in ["chunked", "Chunked"] {
            let given = headers(&[("transfer-encoding", coding)]);
            assert_eq!(check(&given), Ok(()), "{coding}");
        }
        let refused = Err(DenialKind::UnsupportedTransferCoding);
        for coding in [
            "",
            "gzip, chunked",
            "identity, chunked",
            "chunked, chunked",
            "chunked;q=1",
            ",chunked",
            "chunked,",
            "xchunked",
            "\"chunked\"",
        ] {
            let given = headers(&[("transfer-encoding", coding)]);
            assert_eq!(check(&given), refused, "{coding:?}");
        }
        let twice = [("transfer-encoding", "chunked"); 2];
        assert_eq!(check(&headers(&twice)), refused);
    }

    #[test]
    fn names_that_cgi_folds_into_others_are_refused_on_demand() {
        for name in ["x-kept", "X-Kept2", "1"] {
            assert_eq!(check_names(&headers(&[(name, "")])), Ok(()), "{name}");
        }
        for name in [
            "x_y",
            "x.y",
            "authorization.",
            "x!y",
            "x~",
            "x'y",
            "x|y",
            "#x",
            "x*",
        ] {
            let refused = Err(DenialKind::InvalidHeader);
            assert_eq!(check_names(&headers(&[(name, "")])), refused, "{name}");
        }
    }
}
