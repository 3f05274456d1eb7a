use super::*;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use voxgate::principal::KeyState;

fn secret(name: &str, uid: &str, created: &str, keys: &str) -> Secret {
    let json = json!({
        "metadata": { "name": name, "uid": uid, "resourceVersion": "1", "creationTimestamp": created },
        "data": { "keys.toml": STANDARD.encode(keys) },
    });
    serde_json::from_value(json).expect("a Secret")
}

fn key(id: &str, digit: &str) -> String {
    format!(
        "[[key]]\nid = \"{id}\"\nsha256 = \"{}\"\n",
        digit.repeat(64)
    )
}

fn collection() -> SecretCollection {
    SecretCollection::new("voice", Dialect::Rime)
}

/// The ids of the keys in force, and whether they count.
fn in_force(secrets: &SecretCollection) -> Vec<(String, bool)> {
    let ring = secrets.ring().expect("no key repeats another");
    let keys = secrets.secrets.values().flat_map(|secret| &secret.keys);
    let keys = keys.map(|key| {
        let counts = key.principal().current_state() == KeyState::Active;
        (key.principal().id().to_owned(), counts)
    });
    let keys: Vec<(String, bool)> = keys.collect();
    assert_eq!(ring.len(), keys.len());
    keys
}

fn named(keys: &[&str]) -> Vec<(String, bool)> {
    keys.iter().map(|id| ((*id).to_owned(), true)).collect()
}

#[test]
fn a_wrong_secret_keeps_its_last_good_keys_and_changes_no_others() {
    let mut secrets = collection();
    secrets.replace(vec![
        secret("a", "1", "2026-01-01", &key("ka", "1")),
        secret("b", "2", "2026-01-02", &key("kb", "2")),
    ]);
    assert!(secrets.settle().changed);
    assert_eq!(in_force(&secrets), named(&["ka", "kb"]));
    secrets.set(secret("a", "1", "2026-01-01", "[[key]]\nid = 1\n"));
    let settled = secrets.settle();
    assert!(!settled.changed && !settled.problems.is_empty());
    assert_eq!(secrets.refused(), 1);
    assert_eq!(in_force(&secrets), named(&["ka", "kb"]));
    // The same problem is reported once.
    assert!(secrets.settle().problems.is_empty());
    secrets.set(secret("b", "2", "2026-01-02", &key("kc", "3")));
    assert!(secrets.settle().changed);
    assert_eq!(in_force(&secrets), named(&["ka", "kc"]));
    secrets.set(secret("a", "1", "2026-01-01", &key("ka", "1")));
    assert!(secrets.settle().changed);
    assert_eq!(secrets.refused(), 0);
}

#[test]
fn an_id_or_a_secret_that_another_has_is_refused_and_both_are_named() {
    for (repeated, what) in [
        (key("ka", "2"), "id `ka`"),
        (key("kb", "1"), "secret of the key `ka`"),
    ] {
        let mut secrets = collection();
        secrets.set(secret("a", "1", "2026-02-01", &key("ka", "1")));
        secrets.settle();
        // An older Secret cannot take the id over either.
        secrets.set(secret("b", "2", "2026-01-01", &repeated));
        let settled = secrets.settle();
        let text = settled.problems[0].to_string();
        assert!(
            text.starts_with("Secret voice/b: ")
                && text.contains("Secret a")
                && text.contains(what),
            "{text}"
        );
        assert_eq!(in_force(&secrets), named(&["ka"]));
        assert!(secrets.remove("a"));
        assert!(secrets.settle().changed);
        assert_eq!(in_force(&secrets).len(), 1);
        assert_eq!(secrets.refused(), 0);
    }
}

#[test]
fn the_oldest_wins_in_a_first_list_whatever_its_order() {
    let (old, new) = (
        secret("b", "1", "2026-01-01", &key("k", "1")),
        secret("a", "2", "2026-01-02", &key("k", "2")),
    );
    for list in [vec![old.clone(), new.clone()], vec![new, old]] {
        let mut secrets = collection();
        secrets.replace(list);
        let settled = secrets.settle();
        assert!(
            settled.problems[0]
                .to_string()
                .starts_with("Secret voice/a: ")
        );
        assert_eq!(in_force(&secrets), named(&["k"]));
    }
}

#[test]
fn a_key_moves_and_two_secrets_can_exchange_nothing_by_halves() {
    let mut secrets = collection();
    secrets.set(secret(
        "a",
        "1",
        "2026-01-01",
        &(key("k", "1") + &key("x", "2")),
    ));
    secrets.settle();
    // The new place is heard first, and waits for the old one to give the key up.
    secrets.set(secret("b", "2", "2026-01-02", &key("k", "1")));
    secrets.set(secret("a", "1", "2026-01-01", &key("x", "2")));
    let settled = secrets.settle();
    assert!(settled.problems.is_empty(), "{:?}", settled.problems);
    assert_eq!(in_force(&secrets), named(&["x", "k"]));
}

#[test]
fn a_deleted_secret_revokes_its_keys_and_so_does_one_made_anew() {
    let mut secrets = collection();
    secrets.set(secret("a", "1", "2026-01-01", &key("ka", "1")));
    secrets.settle();
    assert!(secrets.replace(Vec::new()));
    assert!(in_force(&secrets).is_empty());
    secrets.set(secret("a", "2", "2026-01-01", &key("ka", "1")));
    secrets.settle();
    // Deleted and made again with a mistake while the watch was away.
    assert!(secrets.set(secret("a", "3", "2026-01-02", "x")));
    secrets.settle();
    assert!(in_force(&secrets).is_empty());
    let mut leaving = secret("b", "4", "2026-01-01", &key("kb", "2"));
    secrets.set(leaving.clone());
    secrets.settle();
    assert_eq!(in_force(&secrets).len(), 1);
    leaving.metadata.deletion_timestamp = Some("2026-01-03".to_owned());
    assert!(secrets.set(leaving));
    assert!(in_force(&secrets).is_empty());
}

#[test]
fn what_a_wrong_secret_refuses_explicitly_counts() {
    let mut secrets = collection();
    secrets.set(secret(
        "a",
        "1",
        "2026-01-01",
        &(key("k", "1") + &key("x", "2")),
    ));
    secrets.set(secret("b", "2", "2026-01-01", &key("kb", "3")));
    secrets.settle();
    let wrong = format!(
        "{}disabled = true\n[[key]\n[revoked]\nids = [\"kb\"]\n",
        key("k", "1")
    );
    secrets.set(secret("a", "1", "2026-01-01", &wrong));
    let settled = secrets.settle();
    assert_eq!(settled.refused, ["k"]);
    assert!(settled.changed);
    // It cannot refuse the keys of another.
    let expected = [("k", false), ("x", true), ("kb", true)];
    let expected = expected.map(|(id, counts)| (id.to_owned(), counts));
    assert_eq!(in_force(&secrets), expected);
    assert!(!secrets.settle().changed);
}

#[test]
fn an_account_belongs_to_one_secret() {
    let account = "[[account]]\nid = \"acme\"\n";
    let with = |id: &str, digit: &str| format!("{account}{}account = \"acme\"\n", key(id, digit));
    let mut secrets = collection();
    secrets.set(secret("a", "1", "2026-01-01", &with("ka", "1")));
    secrets.set(secret("b", "2", "2026-01-02", &with("kb", "2")));
    let settled = secrets.settle();
    assert!(
        settled.problems[0].to_string().contains("account `acme`"),
        "{:?}",
        settled.problems
    );
    assert_eq!(in_force(&secrets), named(&["ka"]));
}

#[test]
fn no_secret_is_in_debug() {
    let mut secrets = collection();
    secrets.set(secret(
        "a",
        "1",
        "2026-01-01",
        "[[key]]\nid = \"a\"\nsecret = \"hunter2hunter2hunter2\"\n",
    ));
    secrets.settle();
    assert!(!format!("{secrets:?}").contains("hunter2"));
}
