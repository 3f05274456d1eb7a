//! Signed notes (<https://c2sp.org/signed-note>): the keys, their text forms, the signature line.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::chain::{hex, read_hex};
use super::options::{InvalidKey, is_name};

/// Ed25519, in the note's registry of signature types.
const ED25519: u8 = 1;
/// What begins a signature line.
const DASH: &str = "\u{2014} ";
const PRIVATE: &str = "PRIVATE+KEY+";

/// A key that signs checkpoints.
///
/// `Debug` shows its name only. Use it for one log format and nothing else: a signature says what
/// its key is for.
#[derive(Clone)]
pub struct Signer {
    name: String,
    id: [u8; 4],
    key: SigningKey,
}

impl Signer {
    /// The key with this name (best a URL without its scheme, such as `example.org/voxgate`) and
    /// this seed.
    ///
    /// # Errors
    ///
    /// The name is empty, too long, or has other characters than printable ASCII without space,
    /// `+`, `"` and `\`.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, InvalidKey> {
        if !is_name(name) {
            return Err(InvalidKey);
        }
        let key = SigningKey::from_bytes(seed);
        Ok(Self {
            name: name.to_owned(),
            id: key_id(name, key.verifying_key().as_bytes()),
            key,
        })
    }

    /// Reads the form `PRIVATE+KEY+<name>+<key id>+<base64>`, as [`Signer::expose`] writes it.
    ///
    /// # Errors
    ///
    /// It is something else, or the key id is not that of name and key.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim_end_matches(['\n', '\r']);
        let rest = text.strip_prefix(PRIVATE).ok_or(InvalidKey)?;
        let (name, id, seed) = parse_key(rest).ok_or(InvalidKey)?;
        let signer = Self::new(name, &seed)?;
        (signer.id == id).then_some(signer).ok_or(InvalidKey)
    }

    /// The key as text, which is a secret, to be kept in a file that only its owner can read.
    #[must_use]
    pub fn expose(&self) -> String {
        format!(
            "{PRIVATE}{}",
            key_text(&self.name, self.id, &self.key.to_bytes())
        )
    }

    /// What checks this key's signatures.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey {
            name: self.name.clone(),
            id: self.id,
            key: self.key.verifying_key(),
        }
    }

    /// The note with this text, which ends with a newline.
    pub(super) fn sign(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let bytes = [&self.id[..], &signature[..]].concat();
        format!("{text}\n{DASH}{} {}\n", self.name, STANDARD.encode(bytes))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, ..)", self.name)
    }
}

/// What checks the signatures of a [`Signer`]: `<name>+<key id>+<base64>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl VerifierKey {
    /// Reads a key's text form.
    ///
    /// # Errors
    ///
    /// It is something else, or the key id is not that of name and key.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim_end_matches(['\n', '\r']);
        let (name, id, bytes) = parse_key(text).ok_or(InvalidKey)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| InvalidKey)?;
        let right = is_name(name) && !key.is_weak() && key_id(name, &bytes) == id;
        right
            .then(|| Self {
                name: name.to_owned(),
                id,
                key,
            })
            .ok_or(InvalidKey)
    }

    /// `<name>+<key id>`, which identifies the key.
    pub(super) fn name_and_id(&self) -> String {
        format!("{}+{}", self.name, hex(&self.id))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, self.id, self.key.as_bytes()))
    }
}

/// A note as it was read. What it says counts only if [`Note::is_signed_by`] one of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note<'a> {
    /// The signed text, with its last newline.
    pub(super) text: &'a str,
    signatures: Vec<(&'a str, [u8; 4], Vec<u8>)>,
}

impl<'a> Note<'a> {
    /// Splits a note at its last empty line.
    pub(super) fn parse(note: &'a str) -> Option<Self> {
        let at = note.rfind("\n\n")?;
        let text = &note[..=at];
        let signatures = note[at + 2..].strip_suffix('\n')?;
        let control = |character: char| character < ' ' && character != '\n';
        if text.contains(control) {
            return None;
        }
        let signatures: Option<Vec<_>> = signatures.split('\n').map(parse_signature).collect();
        Some(Self {
            text,
            signatures: signatures?,
        })
    }

    /// Whether one of these keys has signed it. A wrong signature of one of them is none.
    pub(super) fn is_signed_by(&self, keys: &[VerifierKey]) -> bool {
        self.signer(keys).is_some()
    }

    /// The key that has signed it; the last one, if it was several. A wrong signature of one of
    /// these keys is none.
    pub(super) fn signer<'k>(&self, keys: &'k [VerifierKey]) -> Option<&'k VerifierKey> {
        let mut right = None;
        for (name, id, signature) in &self.signatures {
            let known = keys.iter().filter(|key| key.name == *name && key.id == *id);
            for key in known {
                let signature = Signature::from_slice(signature);
                let verified = signature
                    .is_ok_and(|it| key.key.verify_strict(self.text.as_bytes(), &it).is_ok());
                if !verified {
                    return None;
                }
                right = Some(key);
            }
        }
        right
    }
}

fn parse_signature(line: &str) -> Option<(&str, [u8; 4], Vec<u8>)> {
    let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    Some((name, *id, signature.to_vec()))
}

fn key_id(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let hash = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
        .chain_update(public)
        .finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn key_text(name: &str, id: [u8; 4], key: &[u8; 32]) -> String {
    let bytes = [&[ED25519][..], &key[..]].concat();
    format!("{name}+{}+{}", hex(&id), STANDARD.encode(bytes))
}

/// Base64 may hold a `+` of its own, a name may not.
fn parse_key(text: &str) -> Option<(&str, [u8; 4], [u8; 32])> {
    let (name, rest) = text.split_once('+')?;
    let (id, encoded) = rest.split_once('+')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (kind, key) = bytes.split_first()?;
    let key = (*kind == ED25519).then_some(key)?;
    Some((name, read_hex(id.as_bytes())?, key.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The keys and the note of golang.org/x/mod/sumdb/note's documentation.
    const SIGNER: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n";
    const SIGNATURE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn notes_are_those_of_others() {
        let signer = Signer::parse(SIGNER).unwrap();
        let verifier = VerifierKey::parse(&format!("{VERIFIER}\n")).unwrap();
        assert_eq!(signer.expose(), SIGNER);
        assert_eq!(signer.verifier(), verifier);
        assert_eq!(verifier.to_string(), VERIFIER);
        let note = signer.sign(TEXT);
        assert_eq!(note, format!("{TEXT}\n{SIGNATURE}"));
        let parsed = Note::parse(&note).unwrap();
        assert_eq!(parsed.text, TEXT);
        assert!(parsed.is_signed_by(&[verifier]));
    }

    #[test]
    fn a_note_needs_a_right_signature_of_a_known_key_and_no_wrong_one() {
        let [one, other] = [[1; 32], [2; 32]].map(|seed| Signer::new("a.example", &seed).unwrap());
        let keys = [one.verifier()];
        let note = one.sign("text\n\nmore\n");
        assert!(Note::parse(&note).unwrap().is_signed_by(&keys));
        assert!(!Note::parse(&note).unwrap().is_signed_by(&[]));
        assert!(
            !Note::parse(&other.sign("text\n"))
                .unwrap()
                .is_signed_by(&keys)
        );
        let line = |note: &str| note.lines().last().map(|line| format!("{line}\n")).unwrap();
        let both = format!("{note}{}", line(&other.sign("text\n\nmore\n")));
        assert!(Note::parse(&both).unwrap().is_signed_by(&keys));
        let wrong = format!("{note}{}", line(&one.sign("text\n")));
        assert!(!Note::parse(&wrong).unwrap().is_signed_by(&keys));
        let changed = note.replacen("text", "test", 1);
        assert!(!Note::parse(&changed).unwrap().is_signed_by(&keys));
        for malformed in [
            "",
            "text\n",
            "text\n\n",
            "text\n\n\u{2014} a.example\n",
            "a\tb\n\n",
        ] {
            assert_eq!(Note::parse(malformed), None, "{malformed:?}");
        }
        assert_eq!(Note::parse(&format!("{note}\n")), None);
        assert_eq!(Note::parse(note.trim_end()), None);
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        for text in [
            "",
            VERIFIER,
            &SIGNER.replace("c74f20a3", "c74f20a4"),
            &SIGNER.replace("Peter", "Petra"),
            &SIGNER.replace("+AY", "+AZ"),
            &SIGNER[..SIGNER.len() - 4],
        ] {
            assert_eq!(Signer::parse(text).err(), Some(InvalidKey), "{text}");
        }
        for text in ["", SIGNER, &VERIFIER.replace("+AR", "+AS"), &VERIFIER[..40]] {
            assert_eq!(VerifierKey::parse(text).err(), Some(InvalidKey), "{text}");
        }
        for name in ["", "a b", "a+b", "\u{e4}", &"a".repeat(129)] {
            assert!(Signer::new(name, &[1; 32]).is_err(), "{name}");
        }
        let shown = format!("{:?}", Signer::parse(SIGNER).unwrap());
        assert_eq!(shown, "Signer(PeterNeumann, ..)");
    }
}
