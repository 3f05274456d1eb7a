//! Keys that one replica revokes, and all refuse.

use voxgate::keys::{Revocation, RevocationEffect};
use voxgate::{Key, KeyRing, Principal, SharedKeyRing};

use super::*;
use crate::SharedRevocations;

fn ring(keys: &[(&str, bool)]) -> SharedKeyRing {
    let keys = keys.iter().map(|(id, is_off)| {
        let secret = Secret::new(&format!("a-long-enough-key-of-{id}")).expect("a secret");
        Key::from_digest(secret.digest(), Principal::new(id)).disabled(*is_off)
    });
    SharedKeyRing::new(KeyRing::new(keys).expect("good keys"))
}

fn of(keys: &SharedKeyRing, id: &str) -> Revocation {
    let digest = Secret::new(&format!("a-long-enough-key-of-{id}"))
        .expect("a secret")
        .digest()
        .to_hex();
    let revocation = Revocation::new(id, Some(&digest[..12])).expect("a revocation");
    assert_ne!(effect(keys, &revocation), RevocationEffect::Unknown);
    revocation
}

fn effect(keys: &SharedKeyRing, revocation: &Revocation) -> RevocationEffect {
    keys.ring().effects(std::slice::from_ref(revocation))[0]
}

fn follow(server: &Server, keys: &SharedKeyRing) -> SharedRevocations {
    let shared = SharedRevocations::follow(options(server), keys).expect("started");
    until("it is up", || shared.is_up());
    shared
}

fn until_revoked(keys: &SharedKeyRing, revocation: &Revocation) {
    until("the key is revoked", || {
        effect(keys, revocation) == RevocationEffect::Revoked
    });
}

#[test]
fn a_key_that_one_replica_revokes_is_refused_by_all_and_after_a_restart() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let both = [("a", false), ("b", false)];
    let rings = [ring(&both), ring(&both), ring(&both)];
    let shared = rings.each_ref().map(|ring| follow(&server, ring));
    let revocation = of(&rings[0], "a");
    rings[0].revoke(std::slice::from_ref(&revocation));
    assert!(shared[0].publish(std::slice::from_ref(&revocation), PATIENCE));
    for ring in &rings {
        until_revoked(ring, &revocation);
        assert_eq!(effect(ring, &of(ring, "b")), RevocationEffect::Accepted);
    }
    // A replica that starts with a file that does not have it yet.
    let late = ring(&both);
    let _late = follow(&server, &late);
    assert_eq!(effect(&late, &revocation), RevocationEffect::Revoked);
    assert!(server.keys().contains(&"{voxgate}:revocations".to_owned()));
}

#[test]
fn what_redis_could_not_take_or_has_lost_is_published_when_it_is_back() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let keys = [("a", false), ("b", false), ("c", true)];
    let rings = [ring(&keys), ring(&keys)];
    let shared = rings.each_ref().map(|ring| follow(&server, ring));
    let lost = of(&rings[0], "a");
    rings[0].revoke(std::slice::from_ref(&lost));
    assert!(shared[0].publish(std::slice::from_ref(&lost), PATIENCE));
    until_revoked(&rings[1], &lost);
    server.kill();
    until("it is down", || shared.iter().all(|shared| !shared.is_up()));
    let [late, in_file] = ["b", "c"].map(|id| of(&rings[0], id));
    rings[0].revoke(&[late.clone(), in_file.clone()]);
    assert!(!shared[0].publish(&[late.clone(), in_file.clone()], PATIENCE));
    assert_eq!(effect(&rings[1], &late), RevocationEffect::Accepted);
    server.start_again();
    until_revoked(&rings[1], &late);
    let restarted = ring(&[("a", false), ("b", false), ("c", false)]);
    let _restarted = follow(&server, &restarted);
    for revocation in [&lost, &late, &in_file] {
        until_revoked(&restarted, revocation);
    }
}

#[test]
fn an_entry_takes_rights_away_or_does_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    for words in [
        &["enable", "a *"][..],
        &["revoke", "a"],
        &["revoke", "a *", "more", "x"],
        &["revoke", "nobody *"],
        &["revoke", "b *"],
    ] {
        let add = [&["XADD", "{voxgate}:revocations", "*"], words].concat();
        let _: String = server.run_words(&add);
    }
    let ring = ring(&[("a", false), ("b", false), ("c", true)]);
    let _shared = follow(&server, &ring);
    let effects = ["a", "b", "c"].map(|id| effect(&ring, &of(&ring, id)));
    let (accepted, refused) = (RevocationEffect::Accepted, RevocationEffect::Refused);
    assert_eq!(effects, [accepted, RevocationEffect::Revoked, refused]);
}

#[test]
fn an_old_entry_goes_when_the_file_has_it() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    for (id, text) in [
        ("1-1", "a *"),
        ("1-2", "b *"),
        ("1-3", "gone *"),
        ("*", "a *"),
    ] {
        let add = ["XADD", "{voxgate}:revocations", id, "revoke", text];
        let _: String = server.run_words(&add);
    }
    let ring = ring(&[("a", true), ("b", false)]);
    let _shared = follow(&server, &ring);
    let left = || -> Vec<(String, Vec<String>)> { server.run("XRANGE {voxgate}:revocations - +") };
    let texts = || -> Vec<String> {
        left()
            .into_iter()
            .map(|(_, fields)| fields[1].clone())
            .collect()
    };
    // A young entry stays, and so does one that no file has.
    until("the old entry is gone", || {
        texts() == ["b *", "gone *", "a *"]
    });
}
