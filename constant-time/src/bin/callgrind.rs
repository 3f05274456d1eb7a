//! For callgrind: counts the instructions of one decision, for a mismatch at each position.
//!
//! Each count is written under the name `WHAT POSITION`. Twice the layer is asked, once with the
//! stored secret varied and once with the presented one, and then what compares with an early exit.

use std::ffi::CString;

use voxgate::keys::generate_key;
use voxgate::{Dialect, Verify};
use voxgate_constant_time::{
    EarlyExit, FOREIGN_TOKEN, ask, differing_at, layer, request, ring, valgrind,
};

/// So many rings for each position. An index is hashed under random keys, so that for one ring in
/// 128 a wrong one has the right one's tag, and is compared with it. Sometimes, too, the randomness
/// for request ids must be made anew. Both only add instructions: the fewest of several rings are
/// without them.
const ROUNDS: usize = 4;

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
