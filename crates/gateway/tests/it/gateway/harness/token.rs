//! A caller's key, and its table in a keys file.

use std::time::{Duration, SystemTime};

use voxgate::Digest;
use voxgate::keys::generate_key;

pub(crate) struct Token {
    pub(crate) id: &'static str,
    pub(crate) text: String,
}

impl Token {
    pub(crate) fn new(id: &'static str) -> Self {
        let text = generate_key().unwrap().expose().to_owned();
        Self { id, text }
    }

    pub(crate) fn digest(&self) -> String {
        Digest::of(self.text.as_bytes()).to_hex()
    }

    pub(crate) fn table(&self) -> String {
        let digest = self.digest();
        format!("[[key]]\nid = \"{}\"\nsha256 = \"{digest}\"\n", self.id)
    }

    pub(crate) fn expiring(&self, after: Duration) -> String {
        let time = humantime::format_rfc3339(SystemTime::now() + after);
        format!("{}expires = {time}\n", self.table())
    }
}
