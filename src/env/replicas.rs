//! What replicas share their limits by.

use std::path::PathBuf;
use std::time::Duration;

use crate::admit::{Limiter, OnFailure, SharedOptions};
use crate::error::{ConfigError, Problem};
use crate::secret::Secret;

use super::environment::Environment;
use super::limits::{Raw, count};
use super::secrets;

const URL: &str = "VOXGATE_REDIS_URL";
const CA_FILE: &str = "VOXGATE_REDIS_CA_FILE";
const LEASE: &str = "VOXGATE_LIMIT_LEASE_SECONDS";
const NAMESPACE: &str = "VOXGATE_LIMIT_NAMESPACE";
const ON_FAILURE: &str = "VOXGATE_LIMIT_ON_FAILURE";

/// Where the limits are that replicas share.
#[derive(Debug)]
pub(super) struct ReplicaSettings {
    url: Secret,
    ca_file: Option<PathBuf>,
    namespace: Option<String>,
    lease: Option<Duration>,
    on_failure: OnFailure,
}

impl ReplicaSettings {
    /// `None` if they share none.
    pub(super) fn read(
        environment: &Environment,
        raw: &Raw,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let url = secrets::secret(environment, URL, problems, |_| Ok(()));
        let ca_file = environment.get(CA_FILE).map(PathBuf::from);
        let lease = count(LEASE, raw.lease_seconds.as_deref(), [1, 3600], problems);
        let on_failure = raw.on_failure.as_deref().map(str::trim);
        let on_failure = on_failure.map_or(Some(OnFailure::default()), OnFailure::parse);
        if on_failure.is_none() {
            let message = "must be `local`, `deny` or `allow`";
            problems.push(Problem::new(ON_FAILURE, message));
        }
        if !url.is_set() {
            let alone = [
                (CA_FILE, ca_file.is_some()),
                (LEASE, raw.lease_seconds.is_some()),
                (NAMESPACE, raw.namespace.is_some()),
                (ON_FAILURE, raw.on_failure.is_some()),
            ];
            let alone = alone.into_iter().filter(|(_, is_set)| *is_set);
            let message = format!("means nothing without Redis; set {URL}, or remove it");
            problems.extend(alone.map(|(variable, _)| Problem::new(variable, message.clone())));
            return None;
        }
        let settings = Self {
            url: url.value()?,
            ca_file,
            namespace: raw.namespace.clone(),
            lease: lease.map(|seconds| Duration::from_secs(seconds.into())),
            // What is none is a problem by now, beside those of the rest.
            on_failure: on_failure.unwrap_or_default(),
        };
        problems.extend(settings.options().problems().into_iter().map(by_variable));
        Some(settings)
    }

    pub(super) fn share(&self, limiter: Limiter) -> Result<Limiter, ConfigError> {
        let shared = limiter.shared(self.options(), self.on_failure);
        shared.or_else(|error| {
            let problems = error.into_problems().into_iter();
            ConfigError::check(None, problems.map(by_variable).collect())
        })
    }

    fn options(&self) -> SharedOptions {
        let mut options = SharedOptions::new(self.url.clone());
        options.ca_file.clone_from(&self.ca_file);
        if let Some(namespace) = &self.namespace {
            namespace.trim().clone_into(&mut options.namespace);
        }
        if let Some(lease) = self.lease {
            options.lease = lease;
        }
        options
    }
}

fn by_variable(problem: Problem) -> Problem {
    let variable = match problem.place() {
        "url" => URL,
        "ca_file" => CA_FILE,
        "lease" => LEASE,
        "namespace" => NAMESPACE,
        other => other,
    };
    Problem::new(variable, problem.message())
}
