//! Asks several servers at once what they should all know.
//!
//! One that is cut off from the others may still answer, with what was true before. What most of
//! them say is therefore what counts.

use std::future::Future;

use tokio::task::JoinSet;

use crate::redis_error::RedisError;

/// The answer that most servers give. Returns as soon as more than half of them agree. If all have
/// answered or failed before, the most frequent answer counts, and among equally frequent ones that
/// of the server that comes first.
///
/// # Errors
///
/// If no server gives an answer: what one of them said, rather than that another does not answer.
///
/// Call it on a [`LocalSet`](tokio::task::LocalSet). Dropping the future ends all attempts.
pub(crate) async fn most<T, F>(
    attempts: impl Iterator<Item = F>,
    is_same: impl Fn(&T, &T) -> bool,
) -> Result<T, RedisError>
where
    T: 'static,
    F: Future<Output = Result<T, RedisError>> + 'static,
{
    let mut running = JoinSet::new();
    for (index, attempt) in attempts.enumerate() {
        running.spawn_local(async move { (index, attempt.await) });
    }
    let asked = running.len();
    // Each answer, the first server that gave it, and how many have given it.
    let mut answers: Vec<(T, usize, usize)> = Vec::new();
    let mut failed = RedisError::UnknownHost;
    while let Some(done) = running.join_next().await {
        match done {
            Ok((index, Ok(answer))) => {
                let known = answers.iter_mut().find(|(it, ..)| is_same(it, &answer));
                let count = match known {
                    Some((_, first, count)) => {
                        *first = index.min(*first);
                        *count += 1;
                        *count
                    }
                    None => {
                        answers.push((answer, index, 1));
                        1
                    }
                };
                if count * 2 > asked {
                    break;
                }
            }
            Ok((_, Err(error))) if failed.is_silence() => failed = error,
            Ok((_, Err(_))) | Err(_) => {}
        }
    }
    let most = answers
        .into_iter()
        .max_by_key(|(_, first, count)| (*count, usize::MAX - first));
    most.map(|(answer, ..)| answer).ok_or(failed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::LocalSet;
    use tokio::time::sleep;

    use super::*;

    /// Each server answers after some milliseconds.
    fn asked(servers: &[(u64, Result<u8, RedisError>)]) -> Result<u8, RedisError> {
        let attempts: Vec<_> = servers.to_vec();
        let attempts = attempts.into_iter().map(|(millis, answer)| async move {
            sleep(Duration::from_millis(millis)).await;
            answer
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, most(attempts, u8::eq))
    }

    #[test]
    fn the_answer_of_most_servers_counts() {
        let forever = 1 << 40;
        let refused = || Err(RedisError::Refused);
        for (servers, expected) in [
            (vec![(1, Ok(1))], Ok(1)),
            // One that is cut off answers first.
            (vec![(1, Ok(1)), (5, Ok(2)), (9, Ok(2))], Ok(2)),
            // A server that never answers is not waited for.
            (vec![(forever, Ok(1)), (5, Ok(2)), (9, Ok(2))], Ok(2)),
            (vec![(1, refused()), (5, Ok(2)), (9, refused())], Ok(2)),
            // Without a majority, the first that the URL names.
            (vec![(9, Ok(1)), (1, Ok(2))], Ok(1)),
            (vec![(9, Ok(3)), (1, Ok(2)), (5, Ok(1)), (6, Ok(1))], Ok(1)),
            (vec![(1, refused()), (9, refused())], refused()),
            (
                vec![(9, Err(RedisError::UnknownService)), (1, refused())],
                Err(RedisError::UnknownService),
            ),
            (vec![], Err(RedisError::UnknownHost)),
        ] {
            assert_eq!(asked(&servers), expected, "{servers:?}");
        }
    }
}
