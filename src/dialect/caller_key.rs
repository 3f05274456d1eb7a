//! The forms of a caller's key: for the client, and for the key ring.

use super::{Dialect, basic};
use crate::secret::{Digest, InvalidSecret, Secret};

/// A new key for a caller.
#[derive(Clone, Debug)]
pub struct IssuedKey {
    /// The key for the caller's client, such as the value of `INWORLD_API_KEY`.
    pub secret: Secret,
    /// The digest for a [`KeyRing`](crate::KeyRing).
    pub digest: Digest,
}

impl Dialect {
    /// Converts a [new token](crate::keys::generate_key) into the form for this vendor's clients:
    /// the base64 of `id:token` for Inworld, the token itself for other vendors.
    ///
    /// # Errors
    ///
    /// If no client could present the key because of its id.
    pub fn issue(self, id: &str, token: &Secret) -> Result<IssuedKey, InvalidSecret> {
        if self != Self::Inworld {
            return Ok(IssuedKey {
                secret: token.clone(),
                digest: token.digest(),
            });
        }
        let known = Secret::new(&format!("{id}:{}", token.expose()))?;
        Ok(IssuedKey {
            secret: Secret::new(&basic::encode(&known))?,
            digest: known.digest(),
        })
    }

    /// Returns every form in which a client of this dialect might present this key. The unchanged
    /// key comes first. A key that was copied from a client's settings is among the forms.
    #[must_use]
    pub fn readings(self, held: &[u8]) -> Vec<Vec<u8>> {
        let mut readings = vec![held.to_vec()];
        readings.extend(basic::decode(held));
        for dialect in self.each() {
            let known = (dialect.profile().canonical)(held);
            if known.len() < held.len() {
                readings.push(known.to_vec());
            }
        }
        readings
    }

    /// The digests of a caller's key in this dialect, one for each form that a client may present.
    ///
    /// # Errors
    ///
    /// The reason why no client could present the key.
    pub(crate) fn digests(self, key: &Secret) -> Result<Vec<Digest>, &'static str> {
        let bytes = key.expose().as_bytes();
        if self == Self::Inworld && !basic::has_two_parts(bytes) {
            return Err("must be `id:secret` in this dialect");
        }
        let mut digests = vec![key.digest()];
        for other in self.each() {
            let known = (other.profile().canonical)(bytes);
            if known.len() < bytes.len() {
                digests.push(Digest::of(known));
            }
        }
        Ok(digests)
    }

    /// Converts a key from the vendor's form into the form that the key ring stores.
    pub(crate) fn decoded(self, key: Secret) -> Secret {
        let decoded = match self {
            Self::Inworld => basic::decode(key.expose().as_bytes()),
            _ => None,
        };
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        decoded
            .and_then(|text| Secret::new(&text).ok())
            .unwrap_or(key)
    }

    /// The public id in a caller's key, if this dialect has one.
    pub(crate) fn key_id(self, key: &Secret) -> Option<&str> {
        let (id, _) = key.expose().split_once(':')?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (self == Self::Inworld && id.len() <= 64 && id.bytes().all(plain)).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_has_the_form_for_its_client() {
        let token = Secret::new("vxg_token").expect("a secret");
        for dialect in Dialect::ALL {
            let issued = dialect.issue("ivr", &token).expect("a key");
            let (secret, known) = match dialect {
                Dialect::Inworld => ("aXZyOnZ4Z190b2tlbg==", &b"ivr:vxg_token"[..]),
                _ => ("vxg_token", &b"vxg_token"[..]),
            };
            assert_eq!(issued.secret.expose(), secret, "{dialect}");
            assert!(issued.digest.matches(&Digest::of(known)), "{dialect}");
            let readings = dialect.readings(secret.as_bytes());
            assert!(readings.iter().any(|reading| reading == known), "{dialect}");
        }
        assert!(Dialect::Inworld.issue("\u{e9}", &token).is_err());
    }

    #[test]
    fn a_key_is_read_in_each_form_of_its_dialect() {
        assert_eq!(Dialect::Rime.readings(b"eu-k"), [b"eu-k"]);
        let kugel: [&[u8]; 2] = [b"eu-k", b"k"];
        assert_eq!(Dialect::Kugel.readings(b"eu-k"), kugel);
        assert_eq!(Dialect::Auto.readings(b"eu-k"), kugel);
        let encoded = Secret::new("aWQ6c2VjcmV0").expect("a secret");
        assert_eq!(
            Dialect::Inworld.decoded(encoded.clone()).expose(),
            "id:secret"
        );
        assert_eq!(Dialect::Rime.decoded(encoded).expose(), "aWQ6c2VjcmV0");
    }
}
