//! For dudect: is the layer faster when the stored secret differs early from what is presented than
//! when it differs late? Beside it, what compares with an early exit, and tower-http's bearer layer.

use std::cell::Cell;
use std::fmt::Debug;
use std::io;

use dudect_bencher::ctbench::{
    BenchMetadata, BenchName, BenchOpts, BenchRng, Class, CtRunner, run_benches_console,
};
use dudect_bencher::rand::RngExt as _;
use http::{Request, Response};
use tower::{Layer, Service};
use tower_http::validate_request::ValidateRequestHeaderLayer;
use voxgate::Dialect;
use voxgate::keys::generate_key;
use voxgate_constant_time::{EarlyExit, ask, differing_at, inner, layer, request, ring};

const SAMPLES: usize = 300_000;

fn main() -> io::Result<()> {
    let bench = |name, benchfn| BenchMetadata {
        name: BenchName(name),
        seed: None,
        benchfn,
    };
    run_benches_console(
        BenchOpts::default(),
        vec![
            bench("voxgate", voxgate),
            bench("early_exit", early_exit),
            bench("tower_http", tower_http),
        ],
    )
}

fn voxgate(runner: &mut CtRunner, rng: &mut BenchRng) {
    measure(runner, rng, |stored| layer(Dialect::Bearer, ring(stored)));
}

fn early_exit(runner: &mut CtRunner, rng: &mut BenchRng) {
    measure(runner, rng, |stored| {
        layer(Dialect::Bearer, EarlyExit::new(stored.to_vec()))
    });
}

fn tower_http(runner: &mut CtRunner, rng: &mut BenchRng) {
    measure(runner, rng, |stored| {
        let stored = str::from_utf8(stored).expect("a token of visible characters");
        #[expect(deprecated, reason = "it is here to be compared with")]
        ValidateRequestHeaderLayer::bearer(stored).layer(tower::service_fn(inner))
    });
}

/// Asks again and again for one token, of a layer whose stored secret differs from it in the first
/// byte or in the last. The layer is made anew for each sample, so that neither class owns a place
/// in memory, a hash key or a slot.
fn measure<S, R>(runner: &mut CtRunner, rng: &mut BenchRng, make: impl Fn(&[u8]) -> S)
where
    S: Service<Request<()>, Response = Response<R>, Error: Debug>,
{
    let token = generate_key().expect("randomness");
    let token = token.expose().as_bytes();
    let early = differing_at(0, token);
    let late = differing_at(token.len() - 1, token);
    for _ in 0..SAMPLES {
        let (class, stored) = match rng.random() {
            true => (Class::Left, &early),
            false => (Class::Right, &late),
        };
        let prepared = Cell::new(Some((make(stored), request(token))));
        runner.run_one(class, || {
            let (mut service, request) = prepared.take().expect("one sample");
            // It is handed back, so that taking it down is not measured.
            (ask(&mut service, request), service)
        });
    }
}
