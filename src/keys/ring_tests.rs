use std::time::{Duration, SystemTime};

use super::*;
use crate::keys::SharedKeyRing;
use crate::principal::{Scope, Validity};
use crate::secret::Secret;

fn key(id: &str, secret: &str) -> Key {
    let secret = Secret::new(secret).expect("a valid secret");
    Key::from_secret(&secret, Principal::new(id))
}

fn ask(ring: &KeyRing, presented: &[u8]) -> Result<String, DenialKind> {
    let verdict = ring.look_up(RawCredential::new(presented), SystemTime::now());
    verdict
        .map(|principal| principal.id().to_owned())
        .map_err(|denial| denial.kind())
}

#[test]
fn each_secret_finds_its_own_key_and_nothing_else_does() {
    let keys = (0..500).map(|n| key(&format!("key-{n}"), &format!("secret-{n}")));
    let ring = KeyRing::new(keys).expect("500 different keys");
    for n in 0..500 {
        let found = ask(&ring, format!("secret-{n}").as_bytes());
        assert_eq!(found, Ok(format!("key-{n}")));
    }
    let unknown = Err(DenialKind::UnknownCredential);
    for presented in [
        &b"secret-500"[..],
        b"",
        b"Secret-1",
        b"secret-1 ",
        &[0xff; 8192],
    ] {
        assert_eq!(ask(&ring, presented), unknown);
    }
}

#[test]
fn an_empty_ring_and_its_stand_in_refuse() {
    let ring = KeyRing::new([]).expect("an empty ring");
    assert!(ring.is_empty() && !ring.has_active());
    assert_eq!(ask(&ring, b""), Err(DenialKind::UnknownCredential));
    assert_eq!(ask(&ring, b"x"), Err(DenialKind::UnknownCredential));
}

#[test]
fn a_key_that_does_not_count_is_told_apart_from_an_unknown_one() {
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let valid = |id: &str, not_before, expires| {
        let principal = Principal::new(id).with_validity(Validity {
            not_before,
            expires,
        });
        let secret = Secret::new(&format!("secret-{id}")).expect("a secret");
        Key::from_secret(&secret, principal)
    };
    let ring = KeyRing::new([
        key("a", "secret-a").disabled(true),
        valid("b", None, Some(now - hour)),
        valid("c", Some(now + hour), None),
        valid("d", Some(now - hour), Some(now + hour)),
        valid("e", None, Some(now - hour)).disabled(true),
    ])
    .expect("a ring");
    assert!(ring.has_active());
    for (secret, expected) in [
        ("secret-a", Err(DenialKind::DisabledCredential)),
        ("secret-b", Err(DenialKind::ExpiredCredential)),
        ("secret-c", Err(DenialKind::NotYetValidCredential)),
        ("secret-d", Ok("d".to_owned())),
        ("secret-e", Err(DenialKind::DisabledCredential)),
    ] {
        assert_eq!(ask(&ring, secret.as_bytes()), expected, "{secret}");
    }
}

#[test]
fn a_mistyped_key_of_ours_is_refused_before_it_is_looked_up() {
    let good = token::generate_key().expect("randomness");
    let text = good.expose();
    // Known, and still not looked up.
    let cut = Secret::new(&text[..text.len() - 1]).expect("a secret");
    let ring = KeyRing::new([
        Key::from_secret(&good, Principal::new("a")),
        Key::from_secret(&cut, Principal::new("b")),
    ]);
    let ring = ring.expect("a ring");
    assert_eq!(ask(&ring, text.as_bytes()), Ok("a".to_owned()));
    let mistyped = Err(DenialKind::MistypedCredential);
    assert_eq!(ask(&ring, cut.expose().as_bytes()), mistyped);
}

#[test]
fn what_was_let_in_is_found_again_in_a_later_ring() {
    let first = KeyRing::new([key("a", "secret-a"), key("b", "secret-b")]).expect("a ring");
    let principal = |secret: &[u8]| {
        first
            .look_up(RawCredential::new(secret), SystemTime::now())
            .expect("a principal")
    };
    let (a, b) = (principal(b"secret-a"), principal(b"secret-b"));
    let soon = SystemTime::now() + Duration::from_secs(60);
    let expiring = Principal::new("renamed").with_validity(Validity {
        not_before: None,
        expires: Some(soon),
    });
    let secret = Secret::new("secret-a").expect("a secret");
    // The id is there, and its secret is another.
    let later = [Key::from_secret(&secret, expiring), key("b", "secret-of-b")];
    let later = KeyRing::new(later).expect("a ring");
    let now = later.recheck(&a).expect("still there");
    assert_eq!((now.id(), now.validity().expires), ("renamed", Some(soon)));
    let refused = later.recheck(&b).expect_err("another secret");
    assert_eq!(refused.kind(), DenialKind::UnknownCredential);
    assert!(later.recheck(&Principal::new("a")).is_err());
}

#[test]
fn all_duplicates_are_reported_without_their_secret() {
    let keys = [
        key("a", "same-secret"),
        key("b", "same-secret"),
        key("c", "same-secret"),
        key("a", "another-one"),
    ];
    let error = KeyRing::new(keys).expect_err("duplicates");
    let shown = error.to_string();
    let mut lines: Vec<_> = shown.lines().collect();
    lines.sort_unstable();
    let expected = [
        "key `a`: has the same id as key `a`; give each key its own",
        "key `b`: has the same secret as key `a`; give each key its own",
        "key `c`: has the same secret as key `a`; give each key its own",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_digest_tells_rings_apart_and_says_nothing_of_secrets_in_the_clear() {
    let digest = |keys: Vec<Key>| KeyRing::new(keys).expect("a ring").digest();
    let of = |text: &str, principal| Key::from_digest(Digest::of(text.as_bytes()), principal);
    let a = || of("a", Principal::new("a"));
    let first = digest(vec![a()]);
    assert_eq!(first.len(), 12);
    assert_eq!(first, digest(vec![a()]));
    for other in [
        vec![],
        vec![a(), of("b", Principal::new("b"))],
        vec![of("b", Principal::new("a"))],
        vec![of("a", Principal::new("b"))],
        vec![a().disabled(true)],
        vec![of("a", Principal::new("a").with_scopes::<Scope>([]))],
    ] {
        assert_ne!(first, digest(other));
    }
    let clear = |secret| digest(vec![key("a", secret)]);
    assert_eq!(clear("a-secret"), clear("another-secret"));
}

#[test]
fn a_ring_that_was_replaced_is_gone() {
    use crate::keys::SharedKeyRing;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    let shared = SharedKeyRing::new(KeyRing::new([key("a", "secret-a")]).expect("a ring"));
    let told = Arc::new(AtomicU32::new(0));
    let observer = Arc::clone(&told);
    shared.on_replace(move |_| _ = observer.fetch_add(1, Ordering::Relaxed));
    let old = Arc::downgrade(&shared.ring());
    let verify = |secret: &[u8]| match shared.verify(RawCredential::new(secret)) {
        VerifyOutcome::Ready(verdict) => verdict.is_ok(),
        VerifyOutcome::Pending(_) => false,
    };
    assert!(verify(b"secret-a") && !verify(b"secret-b"));
    shared.replace(KeyRing::new([key("b", "secret-b")]).expect("a ring"));
    assert!(!verify(b"secret-a") && verify(b"secret-b"));
    assert_eq!((shared.generation(), told.load(Ordering::Relaxed)), (2, 1));
    assert!(old.upgrade().is_none());
}

#[test]
fn what_became_of_each_key_is_told() {
    use crate::keys::{KeyChange, RingChange};

    let old = [
        key("kept", "k"),
        key("gone", "g"),
        key("secret", "s"),
        key("off", "o"),
    ];
    let mut kept = key("kept", "k");
    kept = kept.or_digest(Digest::of(b"another form"));
    let new = [
        kept,
        key("secret", "another"),
        key("off", "o").disabled(true),
        key("new", "n"),
    ];
    let ring = |keys| KeyRing::new(keys).expect("a ring");
    let change = RingChange::between(&ring(old.to_vec()), &ring(new.to_vec()), 7);
    assert_eq!((change.generation, change.keys), (7, 4));
    let told = change
        .changes
        .iter()
        .map(|key| (key.change, key.principal.id()));
    let expected = [
        (KeyChange::SecretChanged, "secret"),
        (KeyChange::Changed, "off"),
        (KeyChange::Added, "new"),
        (KeyChange::Removed, "gone"),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn keys_that_expire_soon_are_counted_while_they_are_in_force() {
    let now = SystemTime::now();
    let key = |id: &str, days: Option<u64>| {
        let expires = days.map(|days| now + Duration::from_secs(days * 86_400));
        let validity = Validity {
            expires,
            ..Validity::default()
        };
        let secret = Secret::new(&format!("a-secret-of-the-key-{id}")).expect("a secret");
        Key::from_secret(&secret, Principal::new(id).with_validity(validity))
    };
    let keys = [
        key("never", None),
        key("soon", Some(1)),
        key("later", Some(20)),
        key("off", Some(1)).disabled(true),
        key("over", Some(0)),
    ];
    let ring = KeyRing::new(keys).expect("a ring");
    let day = Duration::from_secs(86_400);
    assert_eq!(ring.expiring(now, [day / 2, day, 30 * day]), [0, 1, 2]);
}

#[test]
fn a_shared_ring_needs_a_policy_when_its_ring_does() {
    let secret = Secret::new("secret-a").expect("a secret");
    let scoped = Principal::new("a").with_scopes(Scope::new("tts:synthesize"));
    let limited = || KeyRing::new([Key::from_secret(&secret, scoped.clone())]).expect("a ring");
    let shared = SharedKeyRing::new(KeyRing::new([key("a", "secret-a")]).expect("a ring"));
    assert!(!shared.needs_policy());
    shared.replace(limited());
    assert!(shared.needs_policy() && limited().needs_policy());
}
