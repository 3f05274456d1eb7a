use super::*;

/// Reproduces the signature of Inworld's own SDK.
#[test]
fn the_chain_is_the_one_of_the_vendor() {
    let parts = [
        "20260101000000",
        "api-engine.inworld.ai",
        METHOD,
        "0123456789a",
    ];
    let expected = "9ed3e1aa3fe1029d7724a1b076226e2a593fcbc8fc953cb6af9d6c9f014176a3";
    assert_eq!(hex(&sign("test-secret", parts)), expected);
}

#[test]
fn parameters_stand_once_each_and_have_their_form() {
    let hex = "ab".repeat(32);
    let good = format!("ApiKey=k,DateTime=20260101000000,Nonce=0123456789a,Signature={hex}");
    let parsed = Signature::parse(good.as_bytes()).expect("good");
    assert_eq!(parsed.api_key, "k");
    let time = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    assert_eq!(parsed.time(), Some(time));
    for (from, to) in [
        ("ApiKey=k,", ""),
        ("ApiKey=k", "ApiKey="),
        ("ApiKey=k", "ApiKey=k,ApiKey=k"),
        ("ApiKey=k", "apikey=k"),
        ("ApiKey=k", "ApiKey=k,Method=x"),
        ("20260101000000", "2026010100000"),
        ("20260101000000", "2026-01-01 00:"),
        ("0123456789a", "0123456"),
        ("0123456789a", "0123456789a!"),
        ("Signature=a", "Signature=g"),
        ("Signature=a", "Signature=aa"),
        ("Nonce=", "Nonce"),
    ] {
        let wrong = good.replace(from, to);
        assert!(Signature::parse(wrong.as_bytes()).is_none(), "{wrong}");
    }
    let no_date = good.replace("20260101000000", "20261301000000");
    let parsed = Signature::parse(no_date.as_bytes()).expect("digits");
    assert_eq!(parsed.time(), None);
}

#[test]
fn the_store_of_nonces_is_bounded_for_each_key_and_in_all() {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let end = now + SKEW;
    let mut nonces = Nonces::default();
    let mut take = |key: &str, nonce: &str, now| {
        let signature = Signature {
            api_key: key,
            date_time: "",
            nonce,
            hex: "",
        };
        nonces.take(signature, end, now)
    };
    for number in 0..MAX_NONCES_OF_KEY {
        assert_eq!(take("a", &number.to_string(), now), Taken::First);
    }
    assert_eq!(take("a", "0", now), Taken::Again);
    assert_eq!(take("a", "one more", now), Taken::Full);
    assert_eq!(take("b", "0", now), Taken::First);
    assert_eq!(take("b", "0", end), Taken::Again, "the last moment");
    for key in 0..MAX_NONCES {
        take(&format!("key {key}"), "0", now);
    }
    assert_eq!(take("c", "0", now), Taken::Full);
    let later = end + Duration::from_secs(1);
    assert_eq!(
        take("a", "0", later),
        Taken::First,
        "the others are forgotten"
    );
    assert_eq!(
        (
            nonces.by_end.len(),
            nonces.key_of.len(),
            nonces.of_key.len()
        ),
        (1, 1, 1)
    );
}

#[test]
fn the_parts_of_a_name_do_not_run_together() {
    assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
}
