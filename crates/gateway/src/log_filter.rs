//! Which log lines are written, and how that is changed while the gateway runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::{EnvFilter, Registry, reload};
use voxgate_request_tracing::ACCESS_TARGET;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Checks a filter: levels, and `target=level`, separated by commas. A word that is neither would be
/// read as the name of a target, and turn every other line off.
///
/// # Errors
///
/// What it must be, without its value.
pub(crate) fn check(filter: &str) -> Result<(), String> {
    let wrong = |more: &str| {
        format!(
            "must be a level (error, warn, info, debug, trace, off) or a list of `target=level`{more}"
        )
    };
    for part in filter.split(',').map(str::trim) {
        let level = part.to_ascii_lowercase();
        if LEVELS.contains(&level.as_str()) || part.contains(['=', '[']) {
            continue;
        }
        let near = LEVELS.iter().find(|known| is_near(&level, known));
        return Err(match near {
            Some(known) => wrong(&format!("; did you mean `{known}`?")),
            None => wrong(""),
        });
    }
    EnvFilter::builder()
        .parse(filter)
        .map(drop)
        .map_err(|_| wrong(""))
}

/// Whether the letters are the same in another order, or one is wrong, missing or too many.
fn is_near(word: &str, level: &str) -> bool {
    strsim::osa_distance(word, level) == 1
}

/// Off unless the filter names them: the access log is as long as the traffic, and the client of
/// Kubernetes repeats each failure that the watch of keys logs once.
const QUIET_TARGETS: [&str; 2] = [ACCESS_TARGET, "kube_client"];

/// Makes the filter.
pub(crate) fn parse(filter: &str) -> EnvFilter {
    let mut parsed = EnvFilter::new(filter);
    for target in QUIET_TARGETS {
        let off = format!("{target}=off").parse();
        if let (Ok(off), false) = (off, filter.contains(target)) {
            parsed = parsed.add_directive(off);
        }
    }
    parsed
}

/// The filter in force, which can be replaced.
#[derive(Clone)]
pub(crate) struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    current: Arc<Mutex<String>>,
}

impl LogFilter {
    pub(crate) fn new(filter: &str, handle: reload::Handle<EnvFilter, Registry>) -> Self {
        Self {
            handle,
            current: Arc::new(Mutex::new(filter.to_owned())),
        }
    }

    /// The filter in force.
    pub(crate) fn current(&self) -> String {
        let current = self.current.lock();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the filter.
    ///
    /// # Errors
    ///
    /// As [`check`], or if logging has ended.
    pub(crate) fn replace(&self, filter: &str) -> Result<(), String> {
        check(filter)?;
        let replaced = self.handle.reload(parse(filter));
        replaced.map_err(|error| format!("cannot be replaced: {error}"))?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        filter.clone_into(&mut current);
        Ok(())
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogFilter").field(&self.current()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused_with_the_nearest() {
        for good in [
            "info",
            "INFO",
            "off",
            "warn,voxgate=debug",
            "hyper=off, info",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (wrong, near) in [("inof", "info"), ("wran", "warn"), ("inf", "info")] {
            let message = check(wrong).expect_err(wrong);
            assert!(
                message.ends_with(&format!("; did you mean `{near}`?")),
                "{message}"
            );
        }
        for wrong in [
            "",
            "hunter2",
            "voxgate",
            "info,hunter2",
            "voxgate=hunter2",
            "warning",
        ] {
            let message = check(wrong).expect_err(wrong);
            assert!(
                message.contains("must be a level") && !message.contains("hunter2"),
                "{message}"
            );
        }
    }
}
