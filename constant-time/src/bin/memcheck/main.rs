//! For memcheck: every secret is marked as undefined, so that it reports each branch and each
//! address that depends on one.
//!
//! `layer` must be silent. `undeclared` is the same without what is declared to be no secret, and
//! `early-exit` is a comparison that ends at the first difference; both must be reported.

mod places;

#[cfg(not(voxgate_constant_time))]
compile_error!("the library must be built with --cfg voxgate_constant_time, as the script does");

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use voxgate::keys::generate_key;
use voxgate::{Dialect, Digest, Key, KeyRing, Principal};
use voxgate_constant_time::{
    EarlyExit, FOREIGN_TOKEN, ask, differing_at, layer, request, valgrind,
};

use self::places::{PLACES, Place};

/// What was declassified: one fact of a byte each, or an index, or a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Declassified {
    facts: usize,
    indices: usize,
}

static FACTS: AtomicUsize = AtomicUsize::new(0);
static INDICES: AtomicUsize = AtomicUsize::new(0);

fn main() -> ExitCode {
    assert!(valgrind::is_running(), "this is a program for valgrind");
    let ours = generate_key().expect("randomness");
    match std::env::args().nth(1).as_deref() {
        Some("layer") => {
            voxgate::on_declassify(declassify);
            for place in &PLACES {
                check(place, FOREIGN_TOKEN);
                check(place, ours.expose().as_bytes());
            }
            println!("memcheck: nothing but what is declared depends on a secret, in any dialect");
        }
        Some("undeclared") => _ = answers(&PLACES[0], FOREIGN_TOKEN, true),
        Some("early-exit") => early_exit(FOREIGN_TOKEN),
        _ => return ExitCode::from(64),
    }
    ExitCode::SUCCESS
}

fn declassify(bytes: &mut [u8]) {
    if valgrind::is_undefined(bytes) {
        let count = if bytes.len() == 1 { &FACTS } else { &INDICES };
        count.fetch_add(1, Ordering::Relaxed);
        valgrind::mark_defined(bytes);
    }
}

/// Asks with the right token and with wrong ones. What was declassified on the way is what is
/// declared; it shows, too, that the marks got as far as they should.
fn check(place: &Place, token: &[u8]) {
    let name = place.name;
    let errors = valgrind::errors();
    let stored = answers(place, token, false);
    let both = place
        .marked_from
        .map(|from| (from, answers(place, token, true)));
    assert_eq!(errors, valgrind::errors(), "memcheck reports {name}");

    let declared = |facts, indices| Declassified { facts, indices };
    // The verdict on the right token. A wrong one leads to the stand-in, which is no secret.
    let none = declared(0, 0);
    assert_eq!(stored, [declared(1, 0), none, none, none], "{name}");
    if let Some((from, both)) = both {
        // Whether the scheme goes on, whether some byte is white space, whether one is a colon, and
        // whether the prefix is ours.
        let scheme = usize::from(place.has_scheme() && from == 0);
        let prefix = usize::from(from == 0);
        let framed = scheme + 2 + prefix;
        // A token of ours whose checksum is wrong, or whose length is, is not looked up.
        let decided = match token == FOREIGN_TOKEN {
            true => [(1, 1); 4],
            false => [(2, 1), (1, 0), (0, 0), (0, 0)],
        };
        let mut expected = [declared(0, 0); 4];
        for (at, (facts, indices)) in decided.into_iter().enumerate() {
            // Its record looks for copies of it, and skips the spaces behind the scheme once more. No
            // text of the request is long enough to hold one.
            expected[at] = declared(framed + facts + scheme, indices);
            if at > 0 {
                // It is read once more, for the fingerprint that goes on record.
                expected[at].facts += scheme + 1;
                expected[at].indices += 1;
            }
        }
        assert_eq!(both, expected, "{name}");
    }
}

/// What is declassified while the layer decides on the right token, and on a wrong, a longer and a
/// shorter one.
fn answers(place: &Place, token: &[u8], mark_presented: bool) -> [Declassified; 4] {
    let wrong = differing_at(token.len() - 1, token);
    let longer = [token, b"x"].concat();
    let shorter = &token[..token.len() - 1];
    [token, &wrong, &longer, shorter].map(|presented| {
        let mut service = layer(place.dialect, ring(&place.credential(token)));
        let request = place.request(presented, mark_presented);
        FACTS.store(0, Ordering::Relaxed);
        INDICES.store(0, Ordering::Relaxed);
        let response = ask(&mut service, request);
        assert_eq!(
            response.status().is_success(),
            presented == token,
            "{}",
            place.name
        );
        Declassified {
            facts: FACTS.load(Ordering::Relaxed),
            indices: INDICES.load(Ordering::Relaxed),
        }
    })
}

/// A ring of three keys whose secrets are marked before they are hashed.
fn ring(secret: &[u8]) -> KeyRing {
    let secrets = [
        differing_at(5, secret),
        secret.to_vec(),
        differing_at(6, secret),
    ];
    let keys = secrets.iter().zip(["one", "two", "three"]);
    let keys = keys.map(|(secret, id)| {
        valgrind::mark_undefined(secret);
        Key::from_digest(Digest::of(secret), Principal::new(id))
    });
    KeyRing::new(keys).expect("three keys")
}

fn early_exit(token: &[u8]) {
    let secret = token.to_vec();
    valgrind::mark_undefined(&secret);
    let mut service = layer(Dialect::Bearer, EarlyExit::new(secret));
    let response = ask(&mut service, request(token));
    assert!(response.status().is_success());
}
