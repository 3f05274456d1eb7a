//! For callgrind: counts the instructions of one decision, for a mismatch at each position.
//!
//! Each count is written under the name `WHAT POSITION`. Twice the layer is asked, once with the
//! stored secret varied and once with the presented one, and then what compares with an early exit.

use std::ffi::CString;
use std::hint::black_box;
use std::time::{Duration, UNIX_EPOCH};

use voxgate::keys::generate_key;
use voxgate::principal::Validity;
use voxgate::{Dialect, Digest, Key, KeyRing, Principal, RawCredential, Verify};
use voxgate_constant_time::bump::Bump;
use voxgate_constant_time::{
    EarlyExit, FOREIGN_TOKEN, ask, differing_at, layer, request, ring, valgrind,
};

/// So many rings for each position. An index is hashed under random keys, so that for one ring in
/// 128 a wrong one has the right one's tag, and is compared with it. Sometimes, too, the randomness
/// for request ids must be made anew. Both only add instructions: the fewest of several rings are
/// without them.
const ROUNDS: usize = 16;

#[global_allocator]
static ALLOCATOR: Bump = Bump::new();

fn main() {
    assert!(valgrind::is_running(), "this is a program for valgrind");
    let ours = generate_key().expect("randomness");
    let ours = ours.expose().as_bytes();
    for _ in 0..ROUNDS {
        for position in 0..FOREIGN_TOKEN.len() {
            let other = differing_at(position, FOREIGN_TOKEN);
            count("presented", position, ring(FOREIGN_TOKEN), &other);
            // What is presented is one of our own, and its checksum is right.
            count(
                "stored",
                position,
                ring(&differing_at(position, ours)),
                ours,
            );
            let stored = EarlyExit::new(differing_at(position, FOREIGN_TOKEN));
            count("early-exit", position, stored, FOREIGN_TOKEN);
        }
    }
    // Behind the others, so that the allocator is for each of them as its warm-up left it.
    for _ in 0..ROUNDS {
        for (position, principal) in states().into_iter().enumerate() {
            count_verdict(position, principal);
        }
    }
}

fn count<V: Verify>(what: &str, position: usize, verifier: V, token: &[u8]) {
    let mut service = layer(Dialect::Bearer, verifier);
    // The first makes what is made once, and leaves the allocator as the second will find it.
    drop(ask(&mut service, request(token)));
    let request = request(token);
    valgrind::toggle_collect();
    let response = ask(&mut service, request);
    valgrind::toggle_collect();
    assert!(!response.status().is_success());
    let name = CString::new(format!("{what} {position}")).expect("a name");
    valgrind::dump_counts(&name);
}

/// A key that counts, one that has expired, one that does not count yet, and one that was disabled.
/// Each has both bounds of its validity.
fn states() -> [(Principal, bool); 4] {
    let (past, future) = (UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(1 << 35));
    let valid = |not_before, expires| {
        Principal::new("key").with_validity(Validity {
            not_before: Some(not_before),
            expires: Some(expires),
        })
    };
    [
        (valid(past, future), false),
        (valid(past, past), false),
        (valid(future, future), false),
        (valid(past, future), true),
    ]
}

/// Counts the instructions of the verdict alone: what follows it differs by design.
fn count_verdict(position: usize, (principal, disabled): (Principal, bool)) {
    let key = Key::from_digest(Digest::of(FOREIGN_TOKEN), principal).disabled(disabled);
    let ring = KeyRing::new([key]).expect("one key");
    let verify = |token| black_box(ring.verify(RawCredential::new(black_box(token))));
    drop(verify(FOREIGN_TOKEN));
    valgrind::toggle_collect();
    let verdict = verify(FOREIGN_TOKEN);
    valgrind::toggle_collect();
    drop(verdict);
    let name = CString::new(format!("verdict {position}")).expect("a name");
    valgrind::dump_counts(&name);
}
