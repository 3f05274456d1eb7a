//! The listener for proxies that only ask whether to forward a request.

use std::net::SocketAddr;

use voxgate::env::{Environment, Settings};
use voxgate::{PeerAddr, Problem};

use super::clients::TRUSTED_PROXIES;
use super::{Setting, default_of};

pub(crate) const AUTHORIZE_LISTEN: &str = "VOXGATE_AUTHORIZE_LISTEN";
pub(crate) const AUTHORIZE_UNENFORCED: &str = "VOXGATE_AUTHORIZE_UNENFORCED";

const GROUP: &str = "Authorizer";

pub(super) const AUTHORIZER: &[Setting] = &[
    Setting::new(
        GROUP,
        AUTHORIZE_LISTEN,
        "ADDRESS",
        "Address on which proxies ask whether to forward a request: nginx `auth_request`, Traefik \
         `forwardAuth`, Caddy `forward_auth`, HAProxy, and Envoy `ext_authz` over HTTP and gRPC. Only the \
         networks of `VOXGATE_TRUSTED_PROXIES` may ask",
    )
    .with_default("none"),
    Setting::new(
        GROUP,
        AUTHORIZE_UNENFORCED,
        "ACTION",
        "What happens there to keys with limits that need the stream of the request (concurrency, and \
         quotas of audio and of text that is not seen): `refuse` (403), or `accept` without these limits",
    )
    .with_default("refuse"),
];

/// Where proxies ask, and what cannot be enforced there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AuthorizerSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) accepts_unenforced: bool,
}

/// Reads the settings. `auth` has the limits of all keys.
pub(crate) fn read(
    environment: &Environment,
    auth: Option<&Settings>,
    has_proxies: bool,
    problems: &mut Vec<Problem>,
) -> Option<AuthorizerSettings> {
    let mut problem = |variable, message: String| problems.push(Problem::new(variable, message));
    let given = environment.get(AUTHORIZE_UNENFORCED);
    let accepts_unenforced = match given
        .unwrap_or_else(|| default_of(AUTHORIZE_UNENFORCED))
        .trim()
    {
        "refuse" => false,
        "accept" => true,
        _ => {
            problem(
                AUTHORIZE_UNENFORCED,
                "must be `refuse` or `accept`".to_owned(),
            );
            false
        }
    };
    let Some(listen) = environment.get(AUTHORIZE_LISTEN) else {
        if given.is_some() {
            let message = format!(
                "has no effect without {AUTHORIZE_LISTEN}; set that, or remove this setting"
            );
            problem(AUTHORIZE_UNENFORCED, message);
        }
        return None;
    };
    if !has_proxies {
        let message = format!(
            "needs {TRUSTED_PROXIES}: set that to the networks of the proxies that ask; no other may say \
             which request is meant"
        );
        problem(AUTHORIZE_LISTEN, message);
    }
    let limits = auth.map(Settings::limits);
    let limits_all = limits.is_some_and(|limits| {
        limits.upstream_concurrency().is_some() || limits.defaults().concurrency.is_some()
    });
    if limits_all && !accepts_unenforced {
        let message = format!(
            "cannot enforce a limit of concurrency, because the requests do not pass: remove \
             VOXGATE_LIMIT_CONCURRENCY and VOXGATE_LIMIT_UPSTREAM_CONCURRENCY, or set \
             {AUTHORIZE_UNENFORCED}=accept"
        );
        problem(AUTHORIZE_LISTEN, message);
    }
    let address = listen.trim().parse().map(PeerAddr).map(PeerAddr::canonical);
    match address {
        Ok(listen) => Some(AuthorizerSettings {
            listen,
            accepts_unenforced,
        }),
        Err(_) => {
            let message = "must be an IP address and a port, such as 0.0.0.0:8082 or [::]:8082";
            problem(AUTHORIZE_LISTEN, message.to_owned());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::ffi::OsString;

    use super::super::settings;

    fn problems(vars: &[(&str, &str)], has_proxies: bool) -> Vec<String> {
        let keys = ("VOXGATE_API_KEYS", "a-long-enough-key-1");
        let vars = vars.iter().chain([&keys]);
        let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let environment = Environment::new(vars, settings());
        let auth = Settings::from_environment(&environment).ok();
        let mut problems = Vec::new();
        read(&environment, auth.as_ref(), has_proxies, &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn it_starts_only_for_trusted_proxies_and_enforceable_limits() {
        let listen = (AUTHORIZE_LISTEN, "127.0.0.1:8082");
        assert!(problems(&[listen], true).is_empty());
        assert!(problems(&[], false).is_empty());
        let found = problems(&[listen], false);
        assert!(found[0].contains(TRUSTED_PROXIES), "{found:?}");
        for limit in [
            "VOXGATE_LIMIT_CONCURRENCY",
            "VOXGATE_LIMIT_UPSTREAM_CONCURRENCY",
        ] {
            let found = problems(&[listen, (limit, "4")], true);
            assert!(found[0].contains("concurrency"), "{found:?}");
            let accepted = [listen, (limit, "4"), (AUTHORIZE_UNENFORCED, "accept")];
            assert!(problems(&accepted, true).is_empty());
        }
        assert!(problems(&[(AUTHORIZE_UNENFORCED, "accept")], true)[0].contains("no effect"));
        assert!(problems(&[(AUTHORIZE_LISTEN, "x")], true)[0].contains("must be"));
    }
}
