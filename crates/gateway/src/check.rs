//! `voxgate check`: a description of the configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use voxgate::env::{Mode, Settings};
use voxgate::principal::KeyState;

use voxgate_tls::ServerTls;

use super::config::Config;

/// Describes in a few sentences what the gateway would do. It contains no secret.
pub(crate) struct Description<'a>(pub(crate) &'a Config);

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config {
            auth,
            key_watch,
            listen,
            tls,
            admin_listen,
            admin_tls,
            upstreams,
            upstream_tls,
            timeouts,
            audit,
            minting,
            tokens,
            spans,
            ..
        } = self.0;
        writeln!(
            f,
            "voxgate would listen on {listen}, use the dialect {} and forward to {}.",
            auth.dialect(),
            upstreams.describe()
        )?;
        for certificate in tls.iter().flat_map(ServerTls::certificates) {
            writeln!(
                f,
                "It speaks TLS with the certificate of {} in {}, which is valid until {}.",
                certificate.names.join(", "),
                certificate.file.display(),
                humantime::format_rfc3339_seconds(certificate.not_after)
            )?;
        }
        if let Some(tls) = upstream_tls {
            match tls.certificate() {
                Some(own) => writeln!(
                    f,
                    "To https:// upstreams, it presents the certificate in {}, which is valid until {}.",
                    own.file.display(),
                    humantime::format_rfc3339_seconds(own.not_after)
                )?,
                None => f.write_str("To https:// upstreams, it presents no certificate.\n")?,
            }
        }
        if let (Mode::Validate, Some(watch)) = (auth.mode(), key_watch) {
            writeln!(
                f,
                "Every request needs a key of {}, which it would watch through the Kubernetes API.",
                watch.describe()
            )?;
        }
        match auth.mode() {
            Mode::Validate if key_watch.is_some() => {}
            Mode::Validate => writeln!(
                f,
                "Every request needs {}; {}.",
                match auth.key_count() {
                    1 => "the one key".to_owned(),
                    keys => format!("one of {keys} keys"),
                },
                match auth.deployment_key() {
                    Some(_) => "the upstream gets the deployment key instead",
                    None => "the upstream gets no key",
                }
            )?,
            Mode::Preconfigured => writeln!(
                f,
                "No request needs a key: every client that can connect to {listen} is served, \
                and the upstream gets the deployment key."
            )?,
        }
        if auth.mode() == Mode::Validate {
            keys_out_of_force(f, auth)?;
        }
        policy(f, auth)?;
        let over_tls = if admin_tls.is_some() {
            ", over TLS"
        } else {
            ""
        };
        writeln!(
            f,
            "Health and metrics are on {admin_listen}{over_tls}. At shutdown, requests in flight get up to {}.",
            counted(
                usize::try_from(timeouts.drain.as_secs()).unwrap_or(usize::MAX),
                "second"
            )
        )?;
        let limits = auth.limits();
        if limits.upstream_concurrency().is_some() || !limits.defaults().is_empty() {
            f.write_str("Callers are limited; to see the limits, run `voxgate limits`.\n")?;
        }
        if limits.is_shared() {
            f.write_str("Replicas share their limits through Redis.\n")?;
        }
        if minting.are_made() {
            f.write_str(
                "The gateway makes short-lived tokens for keys without scopes, or with the scope \
                `tokens:mint`.\n",
            )?;
        }
        if tokens.are_ephemeral() {
            writeln!(f, "warning: {}", super::tokens::EPHEMERAL)?;
        }
        let place = match &audit.log {
            Some(files) => files.directory.display().to_string(),
            None => "standard output".to_owned(),
        };
        let promise = audit.promise.as_str();
        writeln!(
            f,
            "Audit records go to {place}; the delivery guarantee is `{promise}`."
        )?;
        if let Some(files) = &audit.log {
            f.write_str(match files.signer {
                Some(_) => "Checkpoints of the audit log are signed.\n",
                None => {
                    "The audit log has no signed checkpoints; to sign them, set \
                     VOXGATE_AUDIT_SIGNING_KEY_FILE (`voxgate audit keygen`).\n"
                }
            })?;
        }
        if let Some(url) = spans.url() {
            writeln!(f, "Spans of requests are exported to {url}.")?;
        }
        f.write_str(
            "Not checked: whether the TTS server, Redis and receivers of audit records answer.\n",
        )?;
        if auth.mode() == Mode::Preconfigured && !listen.is_local() {
            writeln!(
                f,
                "warning: {listen} is not a loopback address, and no caller needs a key; make \
                sure that only your own clients can reach it"
            )?;
        }
        let public = auth.public_routes();
        if !public.is_empty() {
            writeln!(f, "These routes need no key: {}.", public.join(", "))?;
        }
        for notice in auth.notices().iter().chain(&spans.notice()) {
            writeln!(f, "note: {notice}")?;
        }
        Ok(())
    }
}

/// How many keys are not accepted now, and why.
fn keys_out_of_force(f: &mut fmt::Formatter<'_>, auth: &Settings) -> fmt::Result {
    let now = SystemTime::now();
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for principal in auth.principals() {
        let state = principal.state(now);
        if state != KeyState::Active {
            *states.entry(state.as_str()).or_default() += 1;
        }
    }
    if states.is_empty() {
        return Ok(());
    }
    let states: Vec<String> = states
        .into_iter()
        .map(|(state, keys)| format!("{keys} {state}"))
        .collect();
    writeln!(f, "Not accepted now: {}.", states.join(", "))
}

/// How many rules there are, and how many of them are of the policy file.
fn policy(f: &mut fmt::Formatter<'_>, auth: &Settings) -> fmt::Result {
    let all = auth.policy().rules().len();
    let own = all.saturating_sub(auth.dialect().policy().rules().len());
    match own {
        0 => writeln!(
            f,
            "The policy has the {all} rules of the dialect; to see them, run `voxgate policy`."
        ),
        _ => writeln!(
            f,
            "The policy has {all} rules, {own} of them of the policy file; to see them, run `voxgate policy`."
        ),
    }
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(vars: &[(&str, &str)]) -> String {
        let vars = vars.iter().map(|(name, value)| (name.into(), value.into()));
        let config = Config::from_vars(vars).expect("a good configuration");
        Description(&config).to_string()
    }

    #[test]
    fn the_description_names_the_mode_and_shows_no_secret() {
        let upstream = ("VOXGATE_UPSTREAM", "http://tts:8000");
        let deployment = ("RIME_API_KEY", "hunter2-deployment");
        let validate = describe(&[
            upstream,
            (
                "VOXGATE_API_KEYS",
                "hunter2ffaa765d61d8327deb882cf99aQ,hunter2b01307acba4f54f55aafc33b",
            ),
            deployment,
            ("VOXGATE_MODE", "validate"),
        ]);
        let rules = voxgate::Dialect::Rime.policy().rules().len();
        assert_eq!(
            validate,
            format!(
                "voxgate would listen on 127.0.0.1:8080, use the dialect rime and forward to http://tts:8000.\n\
             Every request needs one of 2 keys; the upstream gets the deployment key instead.\n\
             The policy has the {rules} rules of the dialect; to see them, run `voxgate policy`.\n\
             Health and metrics are on 127.0.0.1:8081. At shutdown, requests in flight get up to 30 seconds.\n\
             Audit records go to standard output; the delivery guarantee is `counted`.\n\
             Not checked: whether the TTS server, Redis and receivers of audit records answer.\n"
            )
        );
        let open = describe(&[upstream, deployment, ("VOXGATE_LISTEN", "0.0.0.0:80")]);
        assert!(
            open.contains(
                "No request needs a key: every client that can connect to 0.0.0.0:80 is served"
            ),
            "{open}"
        );
        assert!(
            open.contains("warning: 0.0.0.0:80 is not a loopback address"),
            "{open}"
        );
        assert!(!open.contains("hunter2") && !validate.contains("hunter2"));
        let limited = describe(&[
            upstream,
            deployment,
            ("VOXGATE_LIMIT_RATE", "50/s"),
            ("VOXGATE_REDIS_URL", "redis://:hunter2@redis"),
        ]);
        let keys = tempfile::NamedTempFile::new().expect("a file");
        let text = "[[key]]\nid = 'a'\nsecret = 'hunter2-hunter2-hunter2'\ndisabled = true\n\
                    [[key]]\nid = 'b'\nsecret = 'hunter3-hunter2-hunter2'\nexpires = 2020-01-01T00:00:00Z\n\
                    [[key]]\nid = 'c'\nsecret = 'hunter4-hunter2-hunter2'\n";
        std::fs::write(keys.path(), text).expect("written");
        let path = keys.path().to_str().expect("text");
        let told = describe(&[upstream, ("VOXGATE_KEYS_FILE", path)]);
        assert!(
            told.contains("Not accepted now: 1 disabled, 1 expired."),
            "{told}"
        );
        assert!(limited.contains("run `voxgate limits`"), "{limited}");
        assert!(limited.contains("share their limits") && !limited.contains("hunter2"));
    }

    #[test]
    fn files_with_secrets_that_every_user_can_read_are_noted() {
        use std::os::unix::fs::PermissionsExt as _;
        let names = [
            "AUDIT_SIGNING_KEY",
            "AUDIT_PEPPER",
            "AUDIT_HTTP_TOKEN",
            "KEYS",
        ];
        for name in names.map(|name| format!("VOXGATE_{name}_FILE")) {
            let mut settings = crate::settings::settings();
            let setting = settings.find(|setting| setting.variable == name);
            assert!(setting.is_some_and(|setting| setting.secret_file), "{name}");
        }
        let pepper = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(pepper.path(), "0123456789abcdef0123456789abcdef\n").expect("written");
        let vars = [
            ("VOXGATE_UPSTREAM", "http://tts:8000"),
            ("RIME_API_KEY", "deployment-key"),
            (
                "VOXGATE_AUDIT_PEPPER_FILE",
                pepper.path().to_str().expect("text"),
            ),
        ];
        for (mode, is_noted) in [(0o640, false), (0o644, true)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(pepper.path(), permissions).expect("permitted");
            let described = describe(&vars);
            let note = "note: VOXGATE_AUDIT_PEPPER_FILE: ";
            assert_eq!(described.contains(note), is_noted, "{described}");
        }
    }
}
