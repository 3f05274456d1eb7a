//! The short-lived tokens that the gateway makes: for whom, and in answer to which requests.

use std::sync::Arc;

#[cfg(test)]
use voxgate::AuthLayer;
use voxgate::env::{Environment, Mode, Settings};
use voxgate::keys::TokenKeys;
use voxgate::token::{Grant, SpendToken, TokenIssuer};
use voxgate::{AuditSink, ConfigError, Policy, Problem};
use voxgate_mint::{
    IssuedToken, Issuer, MintLayer, Minting, NotIssued, SignatureVerifier, SignedRequests,
    TokenRequest,
};
use voxgate_token_cli::Signing;

use super::settings::{TOKEN_MINT, TOKEN_SIGNED_HOSTS, TOKEN_SIGNING_KEY_FILE, default_of};
use super::tokens::TokenSettings;

/// The verifier of the gateway: keys, the tokens that stand for them, and signed requests for tokens.
pub(crate) type Verifier = SignatureVerifier<TokenKeys>;

/// The longest name of a host (RFC 1035 §2.3.4), with a port.
const MAX_HOST_BYTES: usize = 255 + 6;

/// Whether tokens are made, and for which signed requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct MintSettings {
    /// The hosts that a signed request may name; `None` when no tokens are made.
    signed_hosts: Option<Vec<String>>,
}

/// A layer that checks keys alone.
#[cfg(test)]
pub(crate) fn keys_alone(layer: AuthLayer) -> AuthLayer<Verifier> {
    layer.map_verifier(|keys| {
        MintSettings::default().verifier(TokenKeys::without_tokens(keys), None)
    })
}

impl MintSettings {
    /// Reads the settings.
    pub(crate) fn read(
        environment: &Environment,
        mode: Option<Mode>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        Self {
            signed_hosts: signed_hosts(environment, mode, problems),
        }
    }

    /// Whether the gateway makes tokens.
    pub(crate) fn are_made(&self) -> bool {
        self.signed_hosts.is_some()
    }

    /// Verifies what `keys` does, and signed requests. Their nonces are used up in `shared`, too.
    pub(crate) fn verifier(
        &self,
        keys: TokenKeys,
        shared: Option<Arc<dyn SpendToken>>,
    ) -> Verifier {
        let hosts = self.signed_hosts.clone();
        let signed = hosts.map(|hosts| {
            let signed = SignedRequests::new(keys.keys().clone(), hosts);
            match shared {
                Some(shared) => signed.with_shared_nonces(shared),
                None => signed,
            }
        });
        SignatureVerifier::new(keys, signed)
    }

    /// The layer that answers requests for tokens, which `issuer` signs. When no tokens are made, it
    /// passes every request on.
    pub(crate) fn layer(&self, issuer: Option<TokenIssuer>, sink: Arc<dyn AuditSink>) -> MintLayer {
        match issuer.filter(|_| self.are_made()) {
            Some(issuer) => MintLayer::new(Minting::new(Signer(issuer), sink)),
            None => MintLayer::default(),
        }
    }
}

/// The policy of a gateway with these settings. The command that shows it reports no wrong setting of
/// tokens: with one, the gateway does not start.
pub(crate) fn policy(policy: Policy, environment: &Environment) -> Policy {
    match MintSettings::read(environment, None, &mut Vec::new()).are_made() {
        true => policy.with_minting(),
        false => policy,
    }
}

/// The settings of a gateway, as [`policy`] does it with a policy.
pub(crate) fn complete(settings: Settings, environment: &Environment) -> Settings {
    match MintSettings::read(environment, None, &mut Vec::new()).are_made() {
        true => settings.with_minting(),
        false => settings,
    }
}

/// What the commands sign and verify tokens with: what the gateway does.
///
/// # Errors
///
/// If a setting of tokens is wrong.
pub(crate) fn signing(environment: &Environment) -> Result<Signing, ConfigError> {
    let mut problems = Vec::new();
    let tokens = TokenSettings::read(environment, false, &mut problems);
    let signing = match tokens.issuer() {
        Some(issuer) => Signing::Key(issuer),
        None => Signing::None {
            setting: TOKEN_SIGNING_KEY_FILE,
        },
    };
    ConfigError::check(Some(signing), problems)
}

/// Signs what the vendors' endpoints ask for.
struct Signer(TokenIssuer);

impl Issuer for Signer {
    fn issue(&self, request: &TokenRequest) -> Result<IssuedToken, NotIssued> {
        let grant = Grant::new(&request.key, request.life)
            .with_rights(request.principal.clone())
            .with_single_use(request.single_use);
        let issued = self.0.issue(&grant);
        let issued = issued.map_err(|error| NotIssued(error.to_string()))?;
        Ok(IssuedToken {
            token: issued.token,
            id: issued.id,
            issued: issued.issued,
            expires: issued.expires,
        })
    }
}

/// The hosts that a signed request may name. `None` when no tokens are made.
fn signed_hosts(
    environment: &Environment,
    mode: Option<Mode>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<String>> {
    let value = |variable| {
        let given = environment.get(variable);
        given.unwrap_or_else(|| default_of(variable)).trim()
    };
    let mut problem = |variable, message: String| problems.push(Problem::new(variable, message));
    let signed_hosts = hosts(value(TOKEN_SIGNED_HOSTS));
    if signed_hosts.is_none() {
        let message = "must be hosts separated by commas, such as \
                       api-engine.inworld.ai,tts.example.com:8443";
        problem(TOKEN_SIGNED_HOSTS, message.to_owned());
    }
    match value(TOKEN_MINT) {
        "off" => {
            if environment.get(TOKEN_SIGNED_HOSTS).is_some() {
                let message = format!(
                    "has no effect without {TOKEN_MINT}=on; set that, or remove this setting"
                );
                problem(TOKEN_SIGNED_HOSTS, message);
            }
            return None;
        }
        "on" if mode == Some(Mode::Preconfigured) => {
            let message = "needs callers with keys, and no caller has one in preconfigured \
                           mode; set VOXGATE_MODE=validate and give callers keys, or remove \
                           this setting";
            problem(TOKEN_MINT, message.to_owned());
        }
        "on" => {}
        _ => problem(TOKEN_MINT, "must be `on` or `off`".to_owned()),
    }
    signed_hosts
}

/// Hosts in lower case, as the SDKs sign them. `None` if one is not a host.
fn hosts(text: &str) -> Option<Vec<String>> {
    let host = |host: &str| {
        let host = host.trim().to_ascii_lowercase();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
        let is_host = (1..=MAX_HOST_BYTES).contains(&host.len()) && host.bytes().all(plain);
        // The SDKs remove the port of HTTPS before they sign.
        let host = host.strip_suffix(":443").unwrap_or(&host).to_owned();
        is_host.then_some(host)
    };
    text.split(',').map(host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::ffi::OsString;

    use super::super::settings;

    fn read(vars: &[(&str, &str)], mode: Mode) -> (MintSettings, Vec<String>) {
        let vars = vars.iter();
        let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let environment = Environment::new(vars, settings::settings());
        let mut problems = Vec::new();
        let read = MintSettings::read(&environment, Some(mode), &mut problems);
        (read, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn no_tokens_are_made_unless_the_operator_says_so() {
        for (vars, mode) in [
            (&[][..], Mode::Validate),
            (&[(TOKEN_MINT, "off")], Mode::Preconfigured),
        ] {
            let (off, problems) = read(vars, mode);
            assert!(!off.are_made());
            assert!(problems.is_empty(), "{problems:?}");
        }
        let (on, problems) = read(&[(TOKEN_MINT, "on")], Mode::Validate);
        let hosts = ["api-engine.inworld.ai", "api.inworld.ai"].map(str::to_owned);
        assert_eq!(on.signed_hosts, Some(hosts.to_vec()));
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn hosts_are_read_as_the_sdks_sign_them() {
        let hosts = |text| {
            read(
                &[(TOKEN_MINT, "on"), (TOKEN_SIGNED_HOSTS, text)],
                Mode::Validate,
            )
        };
        let (on, problems) = hosts("TTS.example.com:443, 127.0.0.1:8080,[::1]:80");
        let expected = ["tts.example.com", "127.0.0.1:8080", "[::1]:80"].map(str::to_owned);
        assert_eq!(on.signed_hosts, Some(expected.to_vec()), "{problems:?}");
        for wrong in ["https://tts.example.com", "a,,b", "a b"] {
            let (_, problems) = hosts(wrong);
            assert_eq!(problems.len(), 1, "{wrong}: {problems:?}");
        }
    }

    #[test]
    fn what_has_no_effect_is_a_problem() {
        let (_, problems) = read(&[(TOKEN_SIGNED_HOSTS, "a")], Mode::Validate);
        assert!(problems[0].contains("has no effect without VOXGATE_TOKEN_MINT=on"));
        let (_, problems) = read(&[(TOKEN_MINT, "on")], Mode::Preconfigured);
        assert!(
            problems[0].contains("VOXGATE_MODE=validate"),
            "{problems:?}"
        );
        let (_, problems) = read(&[(TOKEN_MINT, "yes")], Mode::Validate);
        assert!(
            problems[0].contains("must be `on` or `off`"),
            "{problems:?}"
        );
    }
}
