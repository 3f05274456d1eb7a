//! Follows the keys of another issuer.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use voxgate_core::files::read_text;

use crate::key_set::KeySet;
use crate::trusted::TrustedIssuer;

/// How often a key set is fetched again.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// How often a mounted key set is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long to wait after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// The shortest time between two fetches: tokens with unknown keys, which anyone can make, cause no
/// more.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// Gets the text at a URL. It must have a deadline and a limit for the size of the answer. The error
/// is for the log.
pub type Fetch = dyn Fn(&FetchRequest<'_>) -> Result<String, String> + Send + Sync;

/// What to fetch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FetchRequest<'a> {
    /// The URL.
    pub url: &'a str,
    /// The CA bundle that verifies the server. Without it, the CA certificates of the system do.
    pub ca_file: Option<&'a std::path::Path>,
    /// The file with a token for `Authorization: Bearer`.
    pub bearer_file: Option<&'a std::path::Path>,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug)]
pub(crate) enum KeySource {
    File(PathBuf),
    Url {
        issuer: String,
        /// Without it, it is discovered.
        jwks_url: Option<String>,
        ca_file: Option<PathBuf>,
        bearer_file: Option<PathBuf>,
    },
}

/// The part of OpenID Connect Discovery 1.0 §3 that counts.
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl KeySource {
    fn read(&self, fetch: &Fetch) -> Result<String, String> {
        match self {
            Self::File(path) => read_text(path).map_err(|error| error.to_string()),
            Self::Url {
                issuer,
                jwks_url,
                ca_file,
                bearer_file,
            } => {
                let get = |url: &str| {
                    fetch(&FetchRequest {
                        url,
                        ca_file: ca_file.as_deref(),
                        bearer_file: bearer_file.as_deref(),
                    })
                };
                if let Some(url) = jwks_url {
                    return get(url);
                }
                let base = issuer.trim_end_matches('/');
                let text = get(&format!("{base}/.well-known/openid-configuration"))?;
                let found: Discovered = serde_json::from_str(&text)
                    .map_err(|_| "the discovery document is not valid".to_owned())?;
                // OpenID Connect Discovery 1.0 §4.3.
                if found.issuer != *issuer {
                    return Err("the discovery document is of another issuer".to_owned());
                }
                if base.starts_with("https://") && !found.jwks_uri.starts_with("https://") {
                    return Err("jwks_uri of the discovery document is not https".to_owned());
                }
                get(&found.jwks_uri)
            }
        }
    }

    fn interval(&self) -> Duration {
        match self {
            Self::File(_) => LOOK_EVERY,
            Self::Url { .. } => REFRESH_EVERY,
        }
    }
}

/// Starts the thread that follows the keys. It ends when the issuer is dropped.
pub(crate) fn follow(
    issuer: &Arc<TrustedIssuer>,
    source: KeySource,
    fetch: Arc<Fetch>,
    woken: Receiver<()>,
) -> std::io::Result<()> {
    let issuer = Arc::downgrade(issuer);
    let thread = thread::Builder::new().name("voxgate-issuer".to_owned());
    thread.spawn(move || run(&issuer, &source, &*fetch, &woken))?;
    Ok(())
}

fn run(issuer: &Weak<TrustedIssuer>, source: &KeySource, fetch: &Fetch, woken: &Receiver<()>) {
    let mut last: Option<String> = None;
    let mut has_failed = false;
    loop {
        let since = Instant::now();
        let read = source.read(fetch);
        let Some(trusted) = issuer.upgrade() else {
            return;
        };
        let name = trusted.name();
        let outcome = match read {
            Ok(text) if last.as_ref() == Some(&text) => Ok(()),
            Ok(text) => match KeySet::parse(&text) {
                Ok(keys) => {
                    tracing::info!(
                        issuer = name,
                        keys = keys.len(),
                        "the keys of an issuer are in force"
                    );
                    trusted.replace_keys(keys);
                    last = Some(text);
                    Ok(())
                }
                Err(error) => Err(format!("the key set {error}")),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = &outcome {
            // The last keys stay in force.
            match has_failed {
                false => tracing::warn!(
                    issuer = name,
                    error,
                    "cannot read the keys of an issuer; the last ones stay in force"
                ),
                true => tracing::debug!(issuer = name, error, "cannot read the keys of an issuer"),
            }
        }
        has_failed = outcome.is_err();
        drop(trusted);
        let pause = match has_failed {
            true => RETRY_AFTER.min(source.interval()),
            false => source.interval(),
        };
        match woken.recv_timeout(pause) {
            Ok(()) => {
                // Tokens with unknown keys do not delay the next try after a failure.
                let cool_down = COOL_DOWN.min(pause);
                thread::sleep(cool_down.saturating_sub(since.elapsed()));
                // What was asked meanwhile is answered by this fetch.
                while woken.try_recv().is_ok() {}
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
