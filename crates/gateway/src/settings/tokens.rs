//! Short-lived tokens: whether they are made, the keys that sign them, and other issuers.

use super::Setting;

pub(crate) const TOKEN_MINT: &str = "VOXGATE_TOKEN_MINT";
pub(crate) const TOKEN_SIGNED_HOSTS: &str = "VOXGATE_TOKEN_SIGNED_HOSTS";
pub(crate) const TOKEN_SIGNING_KEY_FILE: &str = "VOXGATE_TOKEN_SIGNING_KEY_FILE";
pub(crate) const TOKEN_SECOND_KEY_FILE: &str = "VOXGATE_TOKEN_SECOND_KEY_FILE";
pub(crate) const TOKEN_ISSUER: &str = "VOXGATE_TOKEN_ISSUER";
pub(crate) const TOKEN_AUDIENCE: &str = "VOXGATE_TOKEN_AUDIENCE";
pub(crate) const TOKEN_SINGLE_USE_MAX: &str = "VOXGATE_TOKEN_SINGLE_USE_MAX";
pub(crate) const TOKEN_CUT: &str = "VOXGATE_TOKEN_CUT";
pub(crate) const TOKEN_JWKS: &str = "VOXGATE_TOKEN_JWKS";
pub(crate) const ISSUERS_FILE: &str = "VOXGATE_ISSUERS_FILE";

const GROUP: &str = "Tokens";

pub(super) const TOKENS: &[Setting] = &[
    Setting::new(
        GROUP,
        TOKEN_MINT,
        "SWITCH",
        "Whether the gateway answers the vendors' requests for short-lived tokens: `on` or `off`",
    )
    .with_default("off"),
    Setting::new(
        GROUP,
        TOKEN_SIGNED_HOSTS,
        "LIST",
        "Hosts that signed requests for tokens may name (Inworld), separated by commas; with the port unless it is 443",
    )
    .with_default("api-engine.inworld.ai,api.inworld.ai"),
    Setting::new(
        GROUP,
        TOKEN_SIGNING_KEY_FILE,
        "PATH",
        "File with the key that signs short-lived tokens, which replicas share: a private key in PEM \
         (Ed25519, P-256 or RSA), or a JWK with a secret for HS256",
    )
    .with_secret_file(),
    Setting::new(
        GROUP,
        TOKEN_SECOND_KEY_FILE,
        "PATH",
        "File with a key whose tokens are accepted, too: the next or the previous signing key, during a rotation",
    )
    .with_secret_file(),
    Setting::new(
        GROUP,
        TOKEN_ISSUER,
        "TEXT",
        "Issuer (`iss`) of the tokens that the gateway signs; the same for all replicas",
    )
    .with_default("voxgate"),
    Setting::new(
        GROUP,
        TOKEN_AUDIENCE,
        "TEXT",
        "Audience (`aud`) of the tokens that the gateway signs; the same for all replicas",
    )
    .with_default("voxgate"),
    Setting::new(
        GROUP,
        TOKEN_SINGLE_USE_MAX,
        "NUMBER",
        "Most used single-use tokens that this process remembers; further single-use tokens are \
         refused until one expires",
    )
    .with_default("100000"),
    Setting::new(
        GROUP,
        TOKEN_CUT,
        "SWITCH",
        "Whether a tunnel is closed when its token expires: `on` or `off`; it is always closed when \
         the key behind the token is revoked",
    )
    .with_default("off"),
    Setting::new(
        GROUP,
        TOKEN_JWKS,
        "SWITCH",
        "Whether the admin listener publishes the public signing keys at `/.well-known/jwks.json`: `on` \
         or `off`",
    )
    .with_default("off"),
    Setting::new(
        GROUP,
        ISSUERS_FILE,
        "PATH",
        "File of other issuers whose tokens are accepted, such as an identity provider \
         (`issuers.toml`)",
    ),
];
