//! Keeps the credentials in a client's messages from the upstream.

use http::Request;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use voxgate::{AuthMethod, Dialect, Digest};
use voxgate_websocket::{CredentialFormat, Message, VendorError};

use super::accepted::Accepted;
use super::tunnel::{Inspect, Refusal};

/// The subprotocol with which Rime's engine answers in protobuf.
pub(crate) const RIME_BINARY: &str = "rime.v1.binary";

/// Where the messages of a vendor hold a credential.
pub(crate) fn credential_format(dialect: Dialect) -> Option<CredentialFormat> {
    match dialect {
        Dialect::Rime => Some(CredentialFormat::Rime),
        Dialect::ElevenLabs => Some(CredentialFormat::ElevenLabs),
        _ => None,
    }
}

/// Whether the server of Rime's engine answers this request's WebSocket in protobuf: it agrees on
/// the first offer that it knows.
pub(super) fn answers_in_binary<B>(request: &Request<B>) -> bool {
    let offers = request.headers().get(SEC_WEBSOCKET_PROTOCOL);
    let offers = offers.and_then(|offers| offers.to_str().ok());
    let mut offers = offers.into_iter().flat_map(|offers| offers.split(','));
    let recognized = offers.find(|offer| offer.trim().starts_with("rime.v1."));
    recognized.is_some_and(|offer| offer.trim() == RIME_BINARY)
}

/// The values that the credentials of a message have in the vendor's header. ElevenLabs'
/// `authorization` may begin with the scheme `Bearer`; its header has none.
pub(crate) fn header_values(
    format: CredentialFormat,
    credentials: Vec<String>,
) -> impl Iterator<Item = String> {
    credentials.into_iter().map(move |credential| {
        let (scheme, key) = credential.split_at_checked(7).unwrap_or_default();
        match format {
            CredentialFormat::ElevenLabs if scheme.eq_ignore_ascii_case("bearer ") => {
                key.trim_start().to_owned()
            }
            _ => credential,
        }
    })
}

/// Removes the credentials from the messages of one client.
pub(super) struct MessageCredentials {
    format: CredentialFormat,
    dialect: Dialect,
    /// What the connection was accepted with; `None` if callers have no credentials.
    accepted_with: Option<Digest>,
    /// Whether the first message is the one that the credential was read from.
    is_first_judged: bool,
    /// What stands in place of the credential.
    in_place: Option<&'static str>,
    /// Whether the vendor's server answers in its binary form.
    binary: bool,
    request_id: String,
}

impl MessageCredentials {
    /// `None` if no message of this request's WebSocket can hold a credential.
    pub(super) fn of<B>(
        request: &Request<B>,
        accepted: &Accepted,
        is_first_judged: bool,
        has_deployment_key: bool,
    ) -> Option<Self> {
        let dialect = accepted.dialect.of_credential_in_message(request)?;
        let has_key = matches!(
            accepted.caller.auth_method(),
            AuthMethod::ApiKey | AuthMethod::Jwt
        );
        Some(Self {
            format: credential_format(dialect)?,
            dialect,
            accepted_with: match has_key {
                true => Some(dialect.presented_digest(request)?),
                false => None,
            },
            is_first_judged,
            // An engine with an offline licence requires a value, and does not look at it.
            in_place: (is_first_judged && !has_deployment_key).then_some(""),
            binary: answers_in_binary(request),
            request_id: accepted.request_id().to_string(),
        })
    }

    fn refuse(&self, why: &'static str, kind: &str, message: &str) -> Refusal {
        let error = VendorError {
            kind,
            message,
            request_id: Some(&self.request_id),
            close_code: 1008,
        };
        Refusal::new(why, 1008, Some(self.format.error(error, self.binary)))
    }

    /// The refusal of a credential that the connection was not accepted with.
    fn refuse_credential(&self) -> Refusal {
        match self.format {
            CredentialFormat::ElevenLabs => self.refuse(
                "another key in a message",
                "invalid_api_key",
                "All contexts of a connection must use the key that it began with.",
            ),
            _ => self.refuse(
                "credential in a later message",
                "unauthenticated",
                "config.authorization is not allowed on a connection that is authenticated.",
            ),
        }
    }

    fn is_accepted(&self, value: &str, with: &Digest) -> bool {
        let digest = self.dialect.digest_of_value(value);
        digest.is_some_and(|digest| digest.matches(with))
    }
}

impl Inspect for MessageCredentials {
    fn inspect(&mut self, message: Message) -> Result<Message, Refusal> {
        let is_judged = std::mem::take(&mut self.is_first_judged);
        let in_place = self.in_place.filter(|_| is_judged);
        let stripped = self.format.strip(message, in_place).map_err(|_| {
            self.refuse(
                "malformed message",
                "invalid_input",
                "The message is malformed.",
            )
        })?;
        let Some(with) = self.accepted_with.as_ref().filter(|_| !is_judged) else {
            return Ok(stripped.message);
        };
        let mut values = header_values(self.format, stripped.credentials);
        let refused = match self.format {
            CredentialFormat::ElevenLabs => values.any(|value| !self.is_accepted(&value, with)),
            // At most one `config`, and none with a credential after another one.
            _ => values.next().is_some(),
        };
        match refused {
            true => Err(self.refuse_credential()),
            false => Ok(stripped.message),
        }
    }
}
