//! The short-lived tokens that the gateway makes and accepts.

use std::path::Path;
use std::sync::Arc;

use voxgate::env::{Environment, Mode, path_to_show, read_text};
use voxgate::keys::TokenKeys;
use voxgate::token::{Grant, SigningKey, SpentTokens, TokenIssuer, TokenVerifier};
use voxgate::{AuditSink, AuthLayer, ConfigError, Problem, SharedKeyRing};
use voxgate_mint::{
    IssuedToken, Issuer, MintLayer, Minting, NotIssued, SignatureVerifier, SignedRequests,
    TokenRequest,
};
use voxgate_token_cli::Signing;

use super::settings::{TOKEN_MINT, TOKEN_SIGNED_HOSTS, TOKEN_SIGNING_KEY_FILE, default_of};

/// The verifier of the gateway: keys, the tokens that stand for them, and signed requests for tokens.
pub(crate) type Verifier = SignatureVerifier<TokenKeys>;

/// What the operator is told about a signing key that the gateway made.
pub(crate) const EPHEMERAL: &str = "tokens are signed with a key that this process makes: neither \
                                    other replicas nor this gateway after a restart accept them; \
                                    set VOXGATE_TOKEN_SIGNING_KEY_FILE";
/// `iss` and `aud` of the tokens.
const ISSUER: &str = "voxgate";
/// Single-use tokens that are remembered until they end.
const MAX_SPENT: usize = 100_000;

/// The longest name of a host (RFC 1035 §2.3.4), with a port.
const MAX_HOST_BYTES: usize = 255 + 6;

/// What tokens are made and checked with.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenSettings {
    /// What signs tokens; `None` when none are accepted.
    issuer: Option<TokenIssuer>,
    /// Whether the signing key exists in this process alone.
    pub(crate) is_ephemeral: bool,
    /// The hosts that a signed request may name; `None` when no tokens are made.
    signed_hosts: Option<Vec<String>>,
}

/// A layer that checks keys alone.
#[cfg(test)]
pub(crate) fn keys_alone(layer: AuthLayer) -> AuthLayer<Verifier> {
    TokenSettings::default().accept(layer)
}

impl TokenSettings {
    /// Reads the settings, and the signing key.
    pub(crate) fn read(
        environment: &Environment,
        mode: Option<Mode>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let signing = environment.get(TOKEN_SIGNING_KEY_FILE);
        let signing = signing.map(|path| signing_key(Path::new(path), problems));
        let signed_hosts = signed_hosts(environment, mode, problems);
        let is_ephemeral = signing.is_none() && signed_hosts.is_some();
        let key = match signing {
            Some(key) => key,
            None if is_ephemeral => match SigningKey::ephemeral() {
                Ok(key) => Some(key),
                Err(error) => {
                    problems.push(Problem::new(
                        TOKEN_MINT,
                        format!("needs a key to sign with: {error}"),
                    ));
                    None
                }
            },
            None => None,
        };
        Self {
            issuer: key.map(|key| TokenIssuer::new(ISSUER, ISSUER, key, [])),
            is_ephemeral,
            signed_hosts,
        }
    }

    /// Whether the gateway makes tokens.
    pub(crate) fn are_made(&self) -> bool {
        self.signed_hosts.is_some()
    }

    /// Lets the layer accept tokens and signed requests beside keys.
    pub(crate) fn accept(&self, layer: AuthLayer<SharedKeyRing>) -> AuthLayer<Verifier> {
        let spent = || Arc::new(SpentTokens::new(MAX_SPENT));
        layer.map_verifier(|keys| {
            let hosts = self.signed_hosts.clone();
            let signed = hosts.map(|hosts| SignedRequests::new(keys.clone(), hosts));
            let keys = match &self.issuer {
                Some(issuer) => {
                    TokenKeys::new(keys, TokenVerifier::new(Some(issuer.clone())), spent())
                }
                None => TokenKeys::without_tokens(keys),
            };
            SignatureVerifier::new(keys, signed)
        })
    }

    /// The layer that answers requests for tokens. Without them, it passes every request on.
    pub(crate) fn mint_layer(&self, sink: Arc<dyn AuditSink>) -> MintLayer {
        match &self.issuer {
            Some(issuer) if self.are_made() => {
                MintLayer::new(Minting::new(Signer(issuer.clone()), sink))
            }
            _ => MintLayer::default(),
        }
    }
}

/// What the commands sign and verify tokens with.
///
/// # Errors
///
/// If the signing key cannot be used.
pub(crate) fn signing(environment: &Environment) -> Result<Signing, ConfigError> {
    let mut problems = Vec::new();
    let path = environment.get(TOKEN_SIGNING_KEY_FILE).map(Path::new);
    let key = path.and_then(|path| signing_key(path, &mut problems));
    let signing = match key {
        Some(key) => Signing::Key(TokenIssuer::new(ISSUER, ISSUER, key, [])),
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

fn signing_key(path: &Path, problems: &mut Vec<Problem>) -> Option<SigningKey> {
    let shown = path_to_show(path).unwrap_or("its value");
    let mut problem = |message| problems.push(Problem::new(TOKEN_SIGNING_KEY_FILE, message));
    match read_text(path) {
        Err(error) => {
            problem(format!(
                "cannot read {shown} ({error}); mount the Secret with the key"
            ));
            None
        }
        Ok(text) => match SigningKey::parse(&text) {
            Ok(key) => Some(key),
            Err(error) => {
                problem(format!("{shown} {error}"));
                None
            }
        },
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

    fn read(vars: &[(&str, &str)], mode: Mode) -> (TokenSettings, Vec<String>) {
        let vars = vars.iter();
        let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let environment = Environment::new(vars, settings::settings());
        let mut problems = Vec::new();
        let read = TokenSettings::read(&environment, Some(mode), &mut problems);
        (read, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn no_tokens_are_made_unless_the_operator_says_so() {
        for (vars, mode) in [
            (&[][..], Mode::Validate),
            (&[(TOKEN_MINT, "off")], Mode::Preconfigured),
        ] {
            let (off, problems) = read(vars, mode);
            assert!(!off.are_made() && off.issuer.is_none() && !off.is_ephemeral);
            assert!(problems.is_empty(), "{problems:?}");
        }
        let (on, problems) = read(&[(TOKEN_MINT, "on")], Mode::Validate);
        let hosts = ["api-engine.inworld.ai", "api.inworld.ai"].map(str::to_owned);
        assert_eq!(on.signed_hosts, Some(hosts.to_vec()));
        assert!(on.are_made() && on.issuer.is_some() && on.is_ephemeral);
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
    fn a_signing_key_is_read_or_is_a_problem_without_its_content() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("key.pem");
        let shown = path.display().to_string();
        let vars = [(TOKEN_MINT, "on"), (TOKEN_SIGNING_KEY_FILE, shown.as_str())];
        let (_, problems) = read(&vars, Mode::Validate);
        assert!(problems[0].contains("cannot read"), "{problems:?}");
        std::fs::write(&path, "hunter2").expect("written");
        let (_, problems) = read(&vars, Mode::Validate);
        assert!(problems[0].contains("openssl genpkey"), "{problems:?}");
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
        let pem = include_str!("../../token/src/tests/ed25519.pem");
        std::fs::write(&path, pem).expect("written");
        let (on, problems) = read(&vars, Mode::Validate);
        assert!(problems.is_empty(), "{problems:?}");
        assert!(on.issuer.is_some() && !on.is_ephemeral);
        // Tokens are accepted without being made.
        let (accepts, _) = read(&vars[1..], Mode::Validate);
        assert!(accepts.issuer.is_some() && !accepts.are_made());
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
