//! Quotas that replicas share.

use std::rc::Rc;

use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout_at;
use voxgate::rate_limit::{
    Amounts, LimitScope, LimitStore as _, QuotaAnswer, QuotaCommand, QuotaFuture, QuotaStore,
    QuotaUnit,
};

use crate::clock::now;
use crate::connection::TIMEOUT;
use crate::engine::Engine;
use crate::link::{AskError, Asked};
use crate::message::QuotaRequest;
use crate::redis_error::RedisError;
use crate::store::RedisStore;

/// The script counts in numbers that are exact up to here.
const MOST: u64 = 1 << 53;

impl QuotaStore for RedisStore {
    fn count(&self, command: QuotaCommand) -> QuotaFuture {
        let (answer, answered) = oneshot::channel();
        let sent = self.send_quota(QuotaRequest {
            command,
            asked: now(),
            answer,
        });
        Box::pin(async move {
            match sent {
                true => answered.await.ok().flatten(),
                false => None,
            }
        })
    }

    fn is_available(&self) -> bool {
        self.status().is_up
    }

    fn replicas(&self) -> u32 {
        self.status().replicas
    }
}

/// Decides a request on the connection thread.
pub(crate) async fn decide(engine: Rc<Engine>, request: QuotaRequest) {
    let deadline = request.asked + engine.config.deadline;
    let (tell, told) = oneshot::channel();
    let QuotaRequest {
        command, answer, ..
    } = request;
    let asked = Asked::default();
    let round_trip = {
        let (engine, asked) = (Rc::clone(&engine), asked.clone());
        async move {
            let link = engine.link(deadline, &asked);
            let begun = now();
            let reply = engine.scripts.count(&link, &engine.config.keys, &command);
            let reply = reply.await.and_then(|reply| {
                parse(&reply, command.counters.len()).ok_or(AskError::Unexpected)
            });
            match reply {
                Ok(reply) => {
                    engine.count_answer(now() - begun);
                    asked.succeed();
                    let is_added = reply.refused.is_none() && command.add != [0; 3];
                    // An answer that is too late was not used: its amounts are taken back.
                    if tell.send(reply).is_err() && is_added {
                        take_back(&engine, command).await;
                    }
                }
                Err(AskError::NotAsked) => {}
                Err(error) if !tell.is_closed() => asked.fail(&engine, error.to_redis_error()),
                Err(_) => {}
            }
        }
    };
    spawn_local(round_trip);
    match timeout_at(deadline.into(), told).await {
        // The sender is dropped when the command failed.
        Ok(told) => _ = answer.send(told.ok()),
        Err(_) => asked.fail(&engine, RedisError::Timeout),
    }
}

async fn take_back(engine: &Rc<Engine>, mut command: QuotaCommand) {
    for counter in &mut command.counters {
        counter.take_back = command.add;
        counter.quotas = [0; 3];
        // Whatever the store has by now, this only takes back.
        counter.confirmed = [0; 3];
    }
    command.add = [0; 3];
    let link = engine.link(now() + TIMEOUT, &Asked::default());
    // Without the connection, the amounts stay counted: that is the safe side.
    let _ = engine
        .scripts
        .count(&link, &engine.config.keys, &command)
        .await;
}

/// The arguments of the script.
pub(crate) fn arguments(command: &QuotaCommand) -> Vec<String> {
    let number = |amount: u64| amount.min(MOST).to_string();
    let mut arguments = vec![command.replica.to_string()];
    arguments.extend(command.add.map(number));
    for counter in &command.counters {
        arguments.push(number(counter.keep_seconds.max(1)));
        let amounts = [
            counter.contributed,
            counter.take_back,
            counter.quotas,
            counter.confirmed,
            counter.known,
        ];
        arguments.extend(amounts.into_iter().flatten().map(number));
    }
    arguments
}

/// The name of a counter. The operator's identifier comes last.
pub(crate) fn name(scope: LimitScope, period: u32, id: &str) -> String {
    let scope = match scope {
        LimitScope::Account => "account",
        _ => "key",
    };
    format!("{period}:{scope}:{id}")
}

/// Parses a reply. `None` if it is not one of the script's.
fn parse(reply: &[i64], counters: usize) -> Option<QuotaAnswer> {
    let [refused, unit, ref used @ ..] = *reply else {
        return None;
    };
    let (used, rest) = used.as_chunks::<3>();
    if used.len() != counters || !rest.is_empty() {
        return None;
    }
    let amounts = |used: &[i64; 3]| -> Option<Amounts> {
        let [characters, requests, audio] = used.map(|it| u64::try_from(it).ok());
        Some([characters?, requests?, audio?])
    };
    let refused = match usize::try_from(refused).ok()? {
        0 => None,
        index if index <= counters => {
            let unit = usize::try_from(unit).ok()?;
            Some((index - 1, *QuotaUnit::ALL.get(unit)?))
        }
        _ => return None,
    };
    Some(QuotaAnswer {
        refused,
        used: used.iter().map(amounts).collect::<Option<_>>()?,
    })
}
