//! The control socket of the gateway: `voxgate key revoke --now` uses it.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use voxgate::env::{Environment, path_to_show};
use voxgate::keys::{Revocation, RevocationEffect};
use voxgate::{Problem, SharedKeyRing};
use voxgate_key_cli::control::{ControlPlace, ControlRequest, ControlResponse, ControlServer};
use voxgate_limits_redis::SharedRevocations;

use super::settings::CONTROL_DIR;

const KEYS_FILE: &str = "VOXGATE_KEYS_FILE";
/// How long Redis may take to publish.
const PUBLISH_WITHIN: Duration = Duration::from_secs(3);
/// How long a changed file may take to come into force.
const LOAD_WITHIN: Duration = Duration::from_secs(8);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where commands reach this gateway.
#[derive(Clone, Debug)]
pub(crate) struct ControlSettings {
    /// `None` for a gateway that watches Secrets and has no keys file.
    keys_file: Option<PathBuf>,
    /// `None` for the directory of the keys file.
    directory: Option<PathBuf>,
}

impl ControlSettings {
    /// The directory of the settings.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// `None` without a keys file, and for watched keys without a directory.
    pub(crate) fn read(
        environment: &Environment,
        watches_keys: bool,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let keys_file = environment.get(KEYS_FILE).map(PathBuf::from);
        let directory = environment.get(CONTROL_DIR).map(PathBuf::from);
        if let Some(path) = &directory {
            let message = match path_to_show(path).unwrap_or("its value") {
                _ if keys_file.is_none() && !watches_keys => {
                    format!("has no effect without {KEYS_FILE}; set both or neither")
                }
                _ if path.is_dir() => String::new(),
                shown => format!("{shown} is not a directory; create it, or correct the path"),
            };
            if !message.is_empty() {
                problems.push(Problem::new(CONTROL_DIR, message));
            }
        }
        let has_place = keys_file.is_some() || (watches_keys && directory.is_some());
        has_place.then_some(Self {
            keys_file,
            directory,
        })
    }

    /// Listens for commands. A directory that the operator did not ask for may be read-only.
    ///
    /// # Errors
    ///
    /// When the directory of the settings cannot be used.
    pub(crate) fn listen(
        &self,
        keys: SharedKeyRing,
        replicas: Option<SharedRevocations>,
    ) -> io::Result<Option<ControlServer>> {
        let handle = move |request| answer(&keys, replicas.as_ref(), &request);
        let directory = self.directory.as_deref();
        let place = match (&self.keys_file, directory) {
            (Some(keys_file), _) => ControlPlace::of(keys_file, directory),
            (None, Some(directory)) => Ok(ControlPlace::of_watch(directory)),
            (None, None) => return Ok(None),
        };
        let server = place.and_then(|place| ControlServer::start(&place, handle));
        match server {
            Ok(server) => {
                tracing::info!(socket = %server.path().display(), "listening for `voxgate key revoke --now`");
                Ok(Some(server))
            }
            Err(error) if self.directory.is_none() => {
                tracing::info!(
                    "`voxgate key revoke --now` cannot reach this gateway, because there is no control \
                     socket in the directory of the keys file ({error}); set {CONTROL_DIR} to a \
                     directory that the gateway may write to"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Refuses the keys first here, then everywhere, and has the file read.
fn answer(
    keys: &SharedKeyRing,
    replicas: Option<&SharedRevocations>,
    request: &ControlRequest,
) -> ControlResponse {
    let mut response = ControlResponse::default();
    if !request.revoke.is_empty() {
        keys.revoke(&request.revoke);
        for revocation in &request.revoke {
            tracing::warn!(
                key = revocation.id(),
                "the key is refused: it was revoked at once"
            );
        }
        response.shared =
            replicas.map(|replicas| replicas.publish(&request.revoke, PUBLISH_WITHIN));
    }
    keys.reload();
    let since = Instant::now();
    response.missing = loop {
        let missing = without(keys, &request.load, RevocationEffect::Accepted);
        if missing.is_empty() || since.elapsed() > LOAD_WITHIN {
            break missing;
        }
        thread::sleep(LOOK_AGAIN);
    };
    let effects = keys.ring().effects(&request.revoke);
    let accepted = request.revoke.iter().zip(effects);
    let accepted = accepted.filter(|(_, effect)| *effect == RevocationEffect::Accepted);
    response.accepted = accepted.map(|(key, _)| key.id().to_owned()).collect();
    response
}

/// The ids of the keys that are in another state.
fn without(keys: &SharedKeyRing, named: &[Revocation], wanted: RevocationEffect) -> Vec<String> {
    let effects = keys.ring().effects(named);
    let others = named
        .iter()
        .zip(effects)
        .filter(|(_, effect)| *effect != wanted);
    others.map(|(key, _)| key.id().to_owned()).collect()
}
