//! Single-use tokens that replicas accept once together.

use voxgate::token::{
    Grant, SigningKey, SpendToken as _, Spending, TokenError, TokenIssuer, TokenVerifier,
};
use voxgate::{Principal, token::SingleUse};

use super::server::reserve;
use super::*;
use crate::SharedSpentTokens;

pub(super) fn single_use() -> SingleUse {
    let key = SigningKey::ephemeral().expect("randomness");
    let issuer = TokenIssuer::new("voxgate", "voxgate", key, []);
    let grant = Grant::new(&Principal::new("a"), Duration::from_secs(60)).with_single_use(true);
    let token = issuer.issue(&grant).expect("a token").token;
    let verified = TokenVerifier::new(Some(issuer)).verify(token.as_bytes());
    let verified = verified.expect("accepted");
    verified.single_use().expect("a single-use token").clone()
}

pub(super) fn spend(store: &SharedSpentTokens, token: &SingleUse) -> Result<(), TokenError> {
    match store.spend(token) {
        Spending::Done(spent) => spent,
        Spending::Pending(spent) => tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(spent),
    }
}

#[test]
fn replicas_accept_a_token_once_together_and_after_a_restart() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let start = || SharedSpentTokens::start(options(&server)).expect("started");
    let (one, other) = (start(), start());
    let token = single_use();
    assert_eq!(spend(&one, &token), Ok(()));
    for store in [&one, &other, &start()] {
        assert_eq!(spend(store, &token), Err(TokenError::AlreadyUsed));
    }
    assert_eq!(spend(&other, &single_use()), Ok(()));
}

/// A failover does not forget a token that was accepted: a replica has it.
#[test]
fn a_token_is_accepted_when_a_replica_has_it() {
    let (_reserved, port) = reserve();
    let port = port.to_string();
    let at_once = ["--repl-diskless-sync-delay", "0"];
    let tcp = ["--bind", "127.0.0.1", "--port", &port];
    let Some(server) = Server::start(&[&tcp[..], &at_once].concat()) else {
        return;
    };
    let of = format!("127.0.0.1 {port}");
    let replica = Server::start(&["--replicaof", &of]).expect("Redis, as before");
    until("it is a replica", || {
        let info: String = server.run("INFO replication");
        info.contains("state=online")
    });
    let store = SharedSpentTokens::start(options(&server)).expect("started");
    // A replica confirms nothing in the first second.
    until("the replica confirms", || {
        spend(&store, &single_use()) == Ok(())
    });
    // Many at once wait together.
    let tokens: Vec<_> = (0..50).map(|_| single_use()).collect();
    thread::scope(|scope| {
        for token in &tokens {
            let store = &store;
            scope.spawn(move || assert_eq!(spend(store, token), Ok(())));
        }
    });
    let copies = replica.keys().len();
    assert!(copies > tokens.len(), "{copies}");
    replica.freeze();
    let token = single_use();
    assert_eq!(spend(&store, &token), Err(TokenError::StoreUnavailable));
    assert_eq!(spend(&store, &tokens[0]), Err(TokenError::AlreadyUsed));
    replica.thaw();
    until("tokens are accepted again", || {
        spend(&store, &single_use()) == Ok(())
    });
    assert_eq!(spend(&store, &token), Err(TokenError::AlreadyUsed));
    // Without a replica there is none to wait for.
    drop(replica);
    until("the primary is alone", || {
        spend(&store, &single_use()) == Ok(())
    });
}

#[test]
fn without_an_answer_a_token_is_refused() {
    let options = RedisOptions::new(Secret::new("redis://127.0.0.1:1").expect("a URL"));
    let store = SharedSpentTokens::start(options).expect("started");
    for _ in 0..2 {
        assert_eq!(
            spend(&store, &single_use()),
            Err(TokenError::StoreUnavailable)
        );
    }
}
