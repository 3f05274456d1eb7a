//! The layer reads a request as the model does.

use proptest::prelude::*;
use voxgate::Dialect;

use super::arbitrary::draft;
use super::door::{Answer, Door};
use super::draft::{Draft, canonical};
use super::model;

#[test]
fn requests_of_the_vendors_clients_are_accepted() {
    for dialect in Dialect::ALL {
        let door = Door::new(dialect);
        let drafts = canonical(dialect);
        assert!(!drafts.is_empty(), "{dialect}");
        for draft in drafts {
            let answer = door.ask(draft.request().expect("a request"));
            assert!(answer.is_accepted(), "{dialect}: {draft:?}: {answer:?}");
            let reading = model::presented(dialect, &draft.request().expect("a request"));
            assert_eq!(answer, Answer::to(reading), "{dialect}: {draft:?}");
        }
    }
}

/// The generator reaches every answer, so that the comparison covers more than refusals.
#[test]
fn the_generator_reaches_every_answer() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..4000 {
        let draft: Draft = draft().new_tree(&mut runner).expect("a draft").current();
        for dialect in Dialect::ALL {
            if let Some(request) = draft.request() {
                met.insert((
                    dialect.as_str(),
                    Answer::to(model::presented(dialect, &request)).reason,
                ));
            }
        }
    }
    for dialect in Dialect::ALL {
        for reason in [
            "ok",
            "missing_credential",
            "malformed_credential",
            "conflicting_credentials",
            "unknown_credential",
        ] {
            assert!(
                met.contains(&(dialect.as_str(), reason)),
                "{dialect}: {reason}"
            );
        }
    }
    assert!(met.contains(&("auto", "unrecognized_dialect")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_layer_reads_what_the_model_reads(draft in draft()) {
        for dialect in Dialect::ALL {
            let Some(request) = draft.request() else {
                continue;
            };
            let expected = Answer::to(model::presented(dialect, &request));
            prop_assert_eq!(Door::new(dialect).ask(request), expected, "{}", dialect);
        }
    }
}
