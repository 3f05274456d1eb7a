use std::fs;
use std::sync::Mutex;

use super::*;
use crate::keys::{KeyChange, Revocation};
use crate::secret::{Digest, Secret};

const PATIENCE: Duration = Duration::from_secs(60);

fn secret(id: &str) -> Secret {
    Secret::new(&format!("a-long-enough-key-of-{id}")).expect("a secret")
}

fn key(id: &str, more: &str) -> String {
    let digest = Digest::of(secret(id).expose().as_bytes()).to_hex();
    format!("[[key]]\nid = \"{id}\"\n{more}\nsha256 = \"{digest}\"\n\n")
}

struct Watched {
    directory: tempfile::TempDir,
    ring: SharedKeyRing,
    changes: std::sync::Arc<Mutex<Vec<(KeyChange, String)>>>,
}

impl Watched {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.toml");
        fs::write(&path, text).expect("written");
        let ring = SharedKeyRing::watch(&path, Dialect::Rime).expect("good keys");
        let changes = std::sync::Arc::<Mutex<Vec<_>>>::default();
        let seen = std::sync::Arc::clone(&changes);
        ring.on_replace(move |change| {
            let named = change.changes.iter();
            let named = named.map(|key| (key.change, key.principal.id().to_owned()));
            seen.lock().expect("a lock").extend(named);
        });
        Self {
            directory,
            ring,
            changes,
        }
    }

    /// Replaces the file, and waits until it was loaded, or found to be bad.
    fn write(&self, text: impl AsRef<[u8]>) {
        let before = (self.ring.generation(), self.ring.failed_loads());
        let next = self.directory.path().join("next");
        fs::write(&next, text).expect("written");
        fs::rename(next, self.directory.path().join("keys.toml")).expect("renamed");
        self.ring.reload();
        self.until(|ring| (ring.generation(), ring.failed_loads()) != before);
    }

    fn until(&self, is_so: impl Fn(&SharedKeyRing) -> bool) {
        let since = Instant::now();
        while !is_so(&self.ring) {
            assert!(since.elapsed() < PATIENCE, "it does not happen");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn accepts(ring: &SharedKeyRing, id: &str) -> bool {
        let known = ring.ring();
        let holder = known.holder(&secret(id).digest());
        holder.is_some_and(|key| known.recheck(key).is_ok())
    }

    /// What observers were told. They are told after the new ring is in force.
    fn take_changes(&self) -> Vec<(KeyChange, String)> {
        self.until(|_| !self.changes.lock().expect("a lock").is_empty());
        std::mem::take(&mut self.changes.lock().expect("a lock"))
    }
}

/// One edit that disables a key, and has a mistake elsewhere.
#[test]
fn a_bad_file_does_not_keep_a_revoked_key_alive() {
    let good = key("a", "") + &key("b", "") + &key("c", "");
    let repeated = key("b", "").replace("\"b\"", "\"d\"");
    for (off, mistake) in [
        (key("a", "disabled = true"), repeated.as_str()),
        (key("a", "disabled = true"), "[[key]\nid = \"e"),
        (key("a", "expires = 2020-01-01T00:00:00Z"), "unknown = 1"),
        (key("a", ""), "[[key]]\nrate = 1\n[revoked]\nids = [\"a\"]"),
    ] {
        let watched = Watched::new(&good);
        let digest = watched.ring.ring().digest();
        watched.write(format!("{off}{}{mistake}", key("b", "")));
        watched.until(|ring| !Watched::accepts(ring, "a"));
        assert_eq!(watched.ring.failed_loads(), 1, "{mistake}");
        // What is merely absent, or could be changed by half a file, stays.
        assert!(Watched::accepts(&watched.ring, "b") && Watched::accepts(&watched.ring, "c"));
        assert_eq!(
            watched.take_changes(),
            [(KeyChange::Revoked, "a".to_owned())]
        );
        assert_eq!((watched.ring.revoked(), watched.ring.ring().len()), (1, 3));
        assert_ne!(watched.ring.ring().digest(), digest);
        // The next good file decides.
        watched.write(&good);
        watched.until(|ring| Watched::accepts(ring, "a"));
        assert_eq!(
            watched.take_changes(),
            [(KeyChange::Changed, "a".to_owned())]
        );
        assert_eq!(watched.ring.ring().digest(), digest);
    }
}

/// A file that is not text as a whole.
#[test]
fn a_byte_that_is_no_text_does_not_keep_a_revoked_key_alive() {
    let watched = Watched::new(&(key("a", "") + &key("b", "")));
    let mut bytes = key("b", "label = \"Z\u{fc}rich\"").into_bytes();
    let latin = bytes
        .iter()
        .position(|byte| *byte == 0xc3)
        .expect("a letter");
    bytes.remove(latin);
    watched.write([bytes, key("a", "disabled = true").into_bytes()].concat());
    watched.until(|ring| !Watched::accepts(ring, "a"));
    assert!(Watched::accepts(&watched.ring, "b"));
}

#[test]
fn a_key_that_expires_while_the_file_is_bad_expires() {
    let watched = Watched::new(&(key("a", "") + &key("b", "")));
    let soon = humantime::format_rfc3339(SystemTime::now() + Duration::from_secs(3));
    watched.write(&(key("a", &format!("expires = {soon}")) + "unknown = 1"));
    assert_eq!(watched.ring.generation(), 1);
    watched.until(|ring| !Watched::accepts(ring, "a"));
    assert!(Watched::accepts(&watched.ring, "b"));
}

#[test]
fn an_id_in_the_table_of_revoked_ids_is_refused_in_a_good_file_too() {
    let watched = Watched::new(&(key("a", "") + &key("b", "")));
    watched.write(&(key("a", "") + &key("b", "") + "[revoked]\nids = [\"a\", \"old\"]\n"));
    assert!(!Watched::accepts(&watched.ring, "a") && Watched::accepts(&watched.ring, "b"));
    assert_eq!(
        (watched.ring.failed_loads(), watched.ring.revoked()),
        (0, 0)
    );
    assert_eq!(
        watched.take_changes(),
        [(KeyChange::Changed, "a".to_owned())]
    );
}

#[test]
fn a_key_that_is_revoked_at_once_stays_revoked_until_its_file_has_it() {
    let good = key("a", "") + &key("b", "");
    let watched = Watched::new(&good);
    let digest = secret("a").digest().to_hex();
    let revocation = Revocation::new("a", Some(&digest[..12])).expect("a revocation");
    let revoke = || watched.ring.revoke(std::slice::from_ref(&revocation));
    assert_eq!(revoke().len(), 1);
    assert_eq!(revoke().len(), 0, "it is revoked already");
    assert!(!Watched::accepts(&watched.ring, "a") && Watched::accepts(&watched.ring, "b"));
    assert_eq!(
        watched.take_changes(),
        [(KeyChange::Revoked, "a".to_owned())]
    );
    // Files that do not have it yet.
    watched.write(&(good.clone() + &key("c", "")));
    assert!(!Watched::accepts(&watched.ring, "a") && Watched::accepts(&watched.ring, "c"));
    watched.write(key("b", ""));
    watched.write(&good);
    assert!(!Watched::accepts(&watched.ring, "a"));
    // Another secret with this id is another key.
    watched.write(&(key("b", "") + &key("c", "").replace("\"c\"", "\"a\"")));
    assert!(Watched::accepts(&watched.ring, "c"));
    // A file that has it, and then one that takes it back.
    watched.write(&(key("a", "disabled = true") + &key("b", "")));
    assert_eq!(watched.ring.revocations(), []);
    watched.write(&good);
    assert!(Watched::accepts(&watched.ring, "a"));
}
