//! Keys whose credential is a client certificate.

use crate::secret::Digest;

/// The digest by which a ring finds the key of a certificate with this name: the complement of the
/// SHA-256. No credential that a caller presents has it, because no text with a given SHA-256 can be
/// found; so that a name in a header is not the certificate.
pub(super) fn digest(name: &str) -> Digest {
    let complement = Digest::of(name.as_bytes()).as_bytes().map(|byte| !byte);
    Digest::from_bytes(complement)
}

/// Whether a text can be the name of a certificate: a URI such as a SPIFFE ID, or a DNS name in lower
/// case.
pub(super) fn is_name(text: &str) -> bool {
    let is_plain = text.len() <= 2048 && text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_host =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    is_plain
        && match text.split_once("://") {
            Some((scheme, rest)) => {
                !rest.is_empty()
                    && !scheme.is_empty()
                    && scheme.bytes().all(|byte| byte.is_ascii_lowercase())
            }
            None => !text.is_empty() && text.bytes().all(is_host),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::SystemTime;

    use crate::dialect::Dialect;
    use crate::keys::file::KeysFile;
    use crate::secret::RawCredential;
    use crate::verify::{Verify, VerifyOutcome};

    #[test]
    fn a_certificate_is_found_by_its_name_and_its_name_is_no_credential() {
        let name = "spiffe://example.org/ivr";
        let text = format!("[[key]]\nid = \"ivr\"\ncertificate = \"{name}\"\n");
        let file = KeysFile::parse(&text, "keys.toml", Dialect::Bearer).expect("a good file");
        let ring = file.into_ring().expect("a ring");
        let now = SystemTime::now();
        let find = |name| {
            ring.verify_certificate(name, now)
                .expect("it knows certificates")
        };
        assert_eq!(find(name).expect("the key").id(), "ivr");
        assert!(ring.recheck(&find(name).expect("the key")).is_ok());
        for other in [
            "spiffe://example.org/ivr2",
            "spiffe://example.org",
            "ivr",
            "",
        ] {
            assert!(find(other).is_err(), "{other}");
        }
        let digest = digest(name);
        let digests = [Digest::of(name.as_bytes()).to_hex(), digest.to_hex()];
        let bytes = [*digest.as_bytes(), *Digest::of(name.as_bytes()).as_bytes()];
        let texts = digests.iter().map(String::as_bytes);
        let credentials = texts
            .chain(bytes.iter().map(|bytes| &bytes[..]))
            .chain([name.as_bytes()]);
        for credential in credentials {
            let verified = ring.verify(RawCredential::new(credential));
            assert!(matches!(verified, VerifyOutcome::Ready(Err(_))));
        }
    }

    #[test]
    fn names_are_written_in_one_way() {
        for good in ["spiffe://example.org/ns/a/sa/b", "ivr.example", "urn://x"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "*.example",
            "IVR.example",
            "a b",
            "spiffe://",
            "://x",
            "a/b",
            "CN=a",
            "é.example",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
