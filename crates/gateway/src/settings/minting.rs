//! Short-lived tokens that the gateway makes and accepts.

use super::Setting;

pub(crate) const TOKEN_SIGNING_KEY_FILE: &str = "VOXGATE_TOKEN_SIGNING_KEY_FILE";
pub(crate) const TOKEN_MINT: &str = "VOXGATE_TOKEN_MINT";
pub(crate) const TOKEN_SIGNED_HOSTS: &str = "VOXGATE_TOKEN_SIGNED_HOSTS";

const GROUP: &str = "Short-lived tokens";

pub(super) const MINTING: &[Setting] = &[
    Setting::new(
        GROUP,
        TOKEN_SIGNING_KEY_FILE,
        "PATH",
        "File with the private key that signs short-lived tokens (Ed25519, P-256 or RSA in PEM, or a JWK with a secret); replicas share it",
    )
    .with_secret_file(),
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
];
