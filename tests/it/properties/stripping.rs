//! Stripping removes only the credential.

use proptest::prelude::*;
use voxgate::Dialect;

use super::arbitrary::draft;
use super::door::Door;
use super::draft::canonical;
use super::strip::{check, is_misread_when_read_again, stripped};

#[test]
fn no_credential_of_a_vendors_client_is_left() {
    for dialect in Dialect::ALL {
        let door = Door::new(dialect);
        for draft in canonical(dialect) {
            let request = draft.request().expect("a request");
            assert!(door.ask(request.clone()).is_accepted());
            let left = stripped(dialect, &request);
            assert!(!is_misread_when_read_again(left.headers()));
            check(dialect, &door, &request);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn only_the_credential_is_stripped(draft in draft()) {
        if let Some(request) = draft.request() {
            for dialect in Dialect::ALL {
                check(dialect, &Door::new(dialect), &request);
            }
        }
    }
}
