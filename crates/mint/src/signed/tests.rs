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

const KEY: &str = "abc:test-secret-test-secret";

/// Keys of a file, one of which signs.
fn keys(folder: &std::path::Path, disabled: bool) -> SharedKeyRing {
    let path = folder.join("keys.toml");
    let secret = folder.join("abc");
    std::fs::write(&secret, KEY).expect("written");
    let text = format!(
        "[[key]]\nid = \"ivr\"\nsha256 = \"{}\"\nsigning_secret_file = {:?}\ndisabled = {disabled}\n\
         [[key]]\nid = \"other\"\nsecret = \"other:test-secret-test-secret\"\n",
        voxgate::Digest::of(KEY.as_bytes()).to_hex(),
        secret.display().to_string(),
    );
    std::fs::write(&path, text).expect("written");
    SharedKeyRing::watch(&path, voxgate::Dialect::Inworld).expect("good keys")
}

const HOST: &str = "api-engine.inworld.ai";

fn signed(secret: &str, host: &str, time: SystemTime, nonce: &str) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let date_time: String = text.chars().filter(char::is_ascii_digit).collect();
    let signature = hex(&sign(secret, [&date_time, host, METHOD, nonce]));
    format!("ApiKey=abc,DateTime={date_time},Nonce={nonce},Signature={signature}")
}

fn at_once<F>(outcome: VerifyOutcome<F>) -> Verdict {
    match outcome {
        VerifyOutcome::Ready(verdict) => verdict,
        VerifyOutcome::Pending(_) => panic!("not at once"),
    }
}

/// A store that replicas share, which answers later, or not at all.
#[derive(Default)]
struct Shared {
    used: Mutex<HashMap<[u8; 32], SystemTime>>,
    is_away: std::sync::atomic::AtomicBool,
}

impl SpendToken for Shared {
    fn spend(&self, token: &SingleUse) -> Spending {
        let used = match self.is_away.load(std::sync::atomic::Ordering::Relaxed) {
            true => Err(TokenError::StoreUnavailable),
            false => match self.used.lock().unwrap().insert(token.id, token.until) {
                Some(_) => Err(TokenError::AlreadyUsed),
                None => Ok(()),
            },
        };
        Spending::Pending(Box::pin(std::future::ready(used)))
    }
}

#[tokio::test]
async fn replicas_that_share_nonces_accept_a_request_once_also_after_a_restart() {
    let folder = tempfile::tempdir().expect("a directory");
    let shared = Arc::new(Shared::default());
    let replica = || {
        SignedRequests::new(keys(folder.path(), false), vec![HOST.to_owned()])
            .with_shared_nonces(shared.clone())
    };
    let now = SystemTime::now();
    let ask = async |replica: &SignedRequests, parameters: &str| {
        let verdict = match replica.verify(parameters.as_bytes(), now) {
            VerifyOutcome::Ready(verdict) => verdict,
            VerifyOutcome::Pending(verdict) => verdict.await,
        };
        match verdict {
            Ok(principal) => principal.id().to_owned(),
            Err(denial) => denial.kind().as_str().to_owned(),
        }
    };
    let secret = "test-secret-test-secret";
    let before = now - Duration::from_secs(299);
    let request = signed(secret, HOST, before, "0123456789a");
    let (one, other) = (replica(), replica());
    assert_eq!(ask(&one, &request).await, "ivr");
    for replica in [&one, &other, &replica()] {
        assert_eq!(ask(replica, &request).await, "replayed_signature");
    }
    // It is remembered for as long as the signature could be accepted, whatever its time says.
    let until = *shared
        .used
        .lock()
        .unwrap()
        .values()
        .next()
        .expect("a nonce");
    assert!(until >= now + 2 * SKEW);
    // A signature that is wrong asks no store.
    let wrong = signed("guess", HOST, now, "0123456789b");
    assert_eq!(ask(&other, &wrong).await, "invalid_signature");
    assert_eq!(shared.used.lock().unwrap().len(), 1);
    // Without an answer, nothing is accepted.
    shared
        .is_away
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let next = signed(secret, HOST, now, "0123456789c");
    assert_eq!(ask(&other, &next).await, DenialKind::Unavailable.as_str());
}

#[test]
fn a_request_counts_once_and_within_five_minutes_for_a_known_host() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut requests = SignedRequests::new(keys(folder.path(), false), vec![HOST.to_owned()]);
    let now = SystemTime::now();
    // As if the process ran for long.
    requests.since = now - Duration::from_secs(86_400);
    let secret = "test-secret-test-secret";
    let outcome = |parameters: &str| match at_once(requests.verify(parameters.as_bytes(), now)) {
        Ok(principal) => principal.id().to_owned(),
        Err(denial) => denial.kind().as_str().to_owned(),
    };
    let ago = |seconds| now - Duration::from_secs(seconds);
    let ahead = |seconds| now + Duration::from_secs(seconds);
    let first = signed(secret, HOST, now, "0123456789a");
    for (parameters, expected) in [
        (first.clone(), "ivr"),
        (first.clone(), "replayed_signature"),
        (first.to_ascii_lowercase(), "malformed_credential"),
        // The same nonce with another time is the same nonce.
        (
            signed(secret, HOST, ago(5), "0123456789a"),
            "replayed_signature",
        ),
        (signed(secret, HOST, ago(299), "0123456789b"), "ivr"),
        (signed(secret, HOST, ahead(299), "0123456789c"), "ivr"),
        (
            signed(secret, HOST, ago(302), "0123456789d"),
            "stale_signature",
        ),
        (
            signed(secret, HOST, ahead(302), "0123456789d"),
            "stale_signature",
        ),
        (
            signed(secret, "other.host", now, "0123456789d"),
            "invalid_signature",
        ),
        (
            signed("guess", HOST, now, "0123456789d"),
            "invalid_signature",
        ),
        (signed("", HOST, now, "0123456789d"), "invalid_signature"),
        // A nonce that was refused is not used up.
        (signed(secret, HOST, now, "0123456789d"), "ivr"),
        (
            first.replace("0123456789a", "0123456789e"),
            "invalid_signature",
        ),
        // A key that has no file with its secret.
        (
            first.replace("ApiKey=abc", "ApiKey=other"),
            "unknown_credential",
        ),
        (
            first.replace("ApiKey=abc", "ApiKey=ivr"),
            "unknown_credential",
        ),
    ] {
        assert_eq!(outcome(&parameters), expected, "{parameters}");
    }
}

#[test]
fn a_request_that_waited_has_used_its_nonce_itself() {
    let folder = tempfile::tempdir().expect("a directory");
    let requests = SignedRequests::new(keys(folder.path(), false), vec![HOST.to_owned()]);
    let now = requests.since + Duration::from_secs(1);
    let parameters = signed("test-secret-test-secret", HOST, now, "0123456789a");
    let parameters = parameters.as_bytes();
    assert!(at_once(requests.verify(parameters, now)).is_ok());
    assert!(requests.verify_again(parameters, now).is_ok());
    assert!(at_once(requests.verify(parameters, now)).is_err());
    // Its key may have been revoked meanwhile.
    let revocation = voxgate::keys::Revocation::new("ivr", None).expect("an id");
    requests.keys.revoke(&[revocation]);
    let refused = requests.verify_again(parameters, now).expect_err("revoked");
    assert_eq!(refused.kind(), DenialKind::DisabledCredential);
}

#[test]
fn a_signature_from_before_the_start_is_refused_because_its_nonce_may_be_used() {
    let folder = tempfile::tempdir().expect("a directory");
    let requests = SignedRequests::new(keys(folder.path(), false), vec![HOST.to_owned()]);
    let before = requests.since - Duration::from_secs(1);
    let parameters = signed("test-secret-test-secret", HOST, before, "0123456789a");
    let refused = requests.verify(parameters.as_bytes(), SystemTime::now());
    let denial = at_once(refused).expect_err("stale");
    assert_eq!(denial.kind(), DenialKind::StaleSignature);
    assert_eq!(
        denial.principal().map(|owner| owner.id().to_owned()),
        Some("ivr".to_owned())
    );
}

#[test]
fn a_disabled_key_signs_nothing() {
    let folder = tempfile::tempdir().expect("a directory");
    let requests = SignedRequests::new(keys(folder.path(), true), vec![HOST.to_owned()]);
    let now = requests.since + Duration::from_secs(1);
    let parameters = signed("test-secret-test-secret", HOST, now, "0123456789a");
    let refused = at_once(requests.verify(parameters.as_bytes(), now)).expect_err("disabled");
    assert_eq!(refused.kind(), DenialKind::DisabledCredential);
    let verifier = SignatureVerifier::new(keys(folder.path(), false), None);
    let signature = RawCredential::signature(parameters.as_bytes());
    let VerifyOutcome::Ready(verdict) = verifier.verify(signature) else {
        panic!("not at once");
    };
    assert_eq!(
        verdict.expect_err("off").kind(),
        DenialKind::UnknownCredential
    );
    // The text of a signature is not a key, whatever it says.
    let VerifyOutcome::Ready(verdict) = verifier.verify(RawCredential::new(KEY.as_bytes())) else {
        panic!("not at once");
    };
    assert_eq!(verdict.expect("a key").id(), "ivr");
    let as_signature = RawCredential::signature(KEY.as_bytes());
    let VerifyOutcome::Ready(verdict) = keys(folder.path(), false).verify(as_signature) else {
        panic!("not at once");
    };
    assert_eq!(
        verdict.expect_err("not a key").kind(),
        DenialKind::UnknownCredential
    );
}

/// A verifier that answers with the name of the method that was called.
struct Named;

impl Verify for Named {
    type Future = std::future::Ready<Verdict>;

    fn verify(&self, _: RawCredential<'_>) -> VerifyOutcome<Self::Future> {
        VerifyOutcome::Ready(Ok(Principal::new("verify")))
    }

    fn verify_at(&self, _: RawCredential<'_>, now: SystemTime) -> VerifyOutcome<Self::Future> {
        assert_eq!(now, UNIX_EPOCH);
        VerifyOutcome::Ready(Ok(Principal::new("verify_at")))
    }

    fn verify_again(
        &self,
        _: RawCredential<'_>,
        accepted: &Principal,
    ) -> VerifyOutcome<Self::Future> {
        assert_eq!(accepted.id(), "a");
        VerifyOutcome::Ready(Ok(Principal::new("verify_again")))
    }

    fn needs_policy(&self) -> bool {
        true
    }
}

#[test]
fn every_other_credential_is_passed_on_by_each_method() {
    let verifier = SignatureVerifier::new(Named, None);
    let credential = || RawCredential::new(b"a key");
    let called = |outcome| match outcome {
        VerifyOutcome::Ready(Ok(principal)) => Principal::id(&principal).to_owned(),
        _ => panic!("no verdict"),
    };
    assert_eq!(
        called(verifier.verify_at(credential(), UNIX_EPOCH)),
        "verify_at"
    );
    assert_eq!(
        called(verifier.verify_again(credential(), &Principal::new("a"))),
        "verify_again"
    );
    assert!(verifier.needs_policy());
    // Without secrets, every signature is refused, and nothing is asked.
    let signature = RawCredential::signature(b"ApiKey=k");
    let refused = verifier.verify_at(signature, UNIX_EPOCH);
    assert!(matches!(refused, VerifyOutcome::Ready(Err(_))));
}
