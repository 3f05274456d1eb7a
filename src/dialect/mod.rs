//! The dialects: the credential locations and the refusals of each vendor.
//!
//! Each vendor has one file with one `Profile`: its credential locations, its refusals, and the
//! form in which a deployment key is sent upstream. To add a vendor, add a file and a line in
//! `vendors!`.

mod auto;
mod basic;
mod caller_key;
mod credential_location;
mod description;
mod grpc;
mod messages;
mod presented;
mod query;
mod refusal;
mod route;
mod subprotocol;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http::header::{HeaderName, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, Request, Response};
use voxgate_core::denial::{Denial, DenialKind};

use crate::policy::Policy;
use crate::secret::{Digest, Secret};

use self::credential_location::{Canonical, Credential, CredentialLocation, Form};
use self::refusal::{Refusal, Retry};
use self::route::Route;

#[doc(hidden)]
pub use self::basic::id as basic_id;
pub use self::caller_key::IssuedKey;
#[doc(hidden)]
pub use self::description::Description;
#[doc(hidden)]
pub use self::grpc::is_grpc;
pub(crate) use self::presented::{PresentedCredentials, Search, may_be_copied};
pub use self::refusal::RefusalContext;

/// The variables of all vendors' deployment keys, including vendors whose dialect is not in use.
pub(crate) const DEPLOYMENT_VARIABLES: [&str; 5] = [
    "RIME_API_KEY",
    "SUPERTONE_API_KEY",
    "SMALLEST_API_KEY",
    "KUGELAUDIO_API_KEY",
    "INWORLD_API_KEY",
];

/// The properties of a vendor.
struct Profile {
    name: &'static str,
    credential_locations: &'static [CredentialLocation],
    canonical: Canonical,
    /// The header and form in which a deployment key is sent upstream.
    upstream: (HeaderName, Form),
    /// The variable that a deployment key is read from.
    deployment_variable: Option<&'static str>,
    refuse: fn(DenialKind, RefusalContext) -> Refusal,
    retry: Retry,
    routes: &'static [Route],
}

/// The closed list of dialects: the variant, its file, and its description.
macro_rules! vendors {
    ($($(#[$doc:meta])* $variant:ident: $file:ident,)*) => {
        $(mod $file;)*

        /// The vendor whose clients send the requests.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Dialect {
            $($(#[$doc])* $variant,)*
            /// Recognizes the dialect of each request by its path and the location of its
            /// credential. An unrecognized request is refused in the form of `Bearer`.
            Auto,
        }

        impl Dialect {
            /// Every dialect, in the order in which help and errors name them.
            pub const ALL: [Self; [$(stringify!($variant),)* "Auto"].len()] =
                [$(Self::$variant,)* Self::Auto];

            fn profile(self) -> &'static Profile {
                match self {
                    $(Self::$variant => &$file::PROFILE,)*
                    Self::Auto => &auto::PROFILE,
                }
            }
        }
    };
}

vendors! {
    /// No vendor: `Authorization: Bearer`, and refusals as RFC 6750 §3 defines them.
    #[default]
    Bearer: bearer,
    /// Rime: `Authorization: Bearer` with a capital B, refusals in plain text.
    Rime: rime,
    /// Supertone: `x-sup-api-key`.
    Supertone: supertone,
    /// Smallest AI: `Authorization: Bearer`.
    Smallest: smallest,
    /// KugelAudio: `Authorization: Bearer`, `X-API-Key`, and `?api_key=` on an upgrade.
    Kugel: kugel,
    /// Inworld: `Authorization: Basic`.
    Inworld: inworld,
    /// OpenAI and compatible servers: `Authorization: Bearer`.
    OpenAi: openai,
    /// ElevenLabs: `xi-api-key`.
    ElevenLabs: elevenlabs,
    /// Deepgram: `Authorization: Token`, or the subprotocol `token` on an upgrade.
    Deepgram: deepgram,
    /// Cartesia: `Authorization: Bearer`, `X-API-Key`, and `?api_key=` on an upgrade.
    Cartesia: cartesia,
    /// Azure Speech: `Ocp-Apim-Subscription-Key`.
    Azure: azure,
    /// Google Cloud: `x-goog-api-key`, `?key=`, `Authorization: Bearer`.
    Google: google,
}

/// The default: a credential is looked up as it is presented.
fn as_it_is(credential: &[u8]) -> &[u8] {
    credential
}

impl Dialect {
    /// The name in settings and audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.profile().name
    }

    /// This dialect in words, for the reference page.
    #[doc(hidden)]
    #[must_use]
    pub fn description(self) -> Description {
        Description::of(self)
    }

    /// The environment variable of this vendor's deployment key, if there is one.
    #[must_use]
    pub fn deployment_variable(self) -> Option<&'static str> {
        self.profile().deployment_variable
    }

    /// The default policy: the scope that each route of the vendor requires.
    #[must_use]
    pub fn policy(self) -> Policy {
        let mut policy = Policy::default();
        for dialect in self.each() {
            for route in dialect.profile().routes {
                let rule = route.rule();
                policy = policy.rule(match self {
                    Self::Auto => rule.of_dialect(dialect.as_str()),
                    _ => rule,
                });
            }
        }
        policy.rule(route::NEUTRAL_MINT.rule())
    }

    /// The dialect of `request`: this one, or the one that `Auto` recognizes.
    pub(crate) fn recognize<B>(self, request: &Request<B>) -> Option<Self> {
        match self {
            Self::Auto => auto::recognize(request),
            _ => Some(self),
        }
    }

    /// The dialect in whose form a request is refused. For `Auto`, it is the only dialect whose
    /// credential locations contain a credential, if there is one.
    pub(crate) fn for_refusal<B>(self, request: &Request<B>) -> Self {
        match self {
            Self::Auto => auto::by_credential(request).unwrap_or(self),
            _ => self,
        }
    }

    /// The fields in which the vendor's responses tell the concurrency: used and allowed.
    pub(crate) fn concurrency_fields(self) -> Option<&'static [HeaderName; 2]> {
        (self == Self::ElevenLabs).then_some(&elevenlabs::CONCURRENCY_FIELDS)
    }

    /// Reads the credential from the credential locations of this dialect.
    pub(crate) fn credential<B>(self, request: &Request<B>) -> Result<Credential<'_>, DenialKind> {
        let Profile {
            credential_locations,
            canonical,
            ..
        } = self.profile();
        credential_location::read(credential_locations, *canonical, request)
    }

    /// Whether a deployment key can be written in the vendor's form.
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub(crate) fn check_deployment_key(self, key: &Secret) -> Result<(), &'static str> {
        match self.profile().upstream.1 {
            Form::Basic if !basic::is_valid(key) => Err("must be `id:secret`, or its base64"),
            _ => Ok(()),
        }
    }

    /// Marks headers that may contain a credential as sensitive, so that `Debug` hides them and
    /// HTTP/2 does not index them.
    pub(crate) fn mark_sensitive(self, headers: &mut HeaderMap) {
        for dialect in self.each() {
            for carrier in dialect.profile().credential_locations {
                carrier.mark_sensitive(headers);
            }
        }
    }

    /// The dialects that a request may have.
    fn each(&self) -> &[Self] {
        match self {
            Self::Auto => &Self::ALL,
            one => std::slice::from_ref(one),
        }
    }

    /// Removes the caller's credential: the values in the credential locations of every dialect,
    /// headers in every spelling that a server might accept, and each parameter, subprotocol, cookie or
    /// other header that repeats the credential of this dialect. Headers that the upstream needs to
    /// serve the request, such as `Content-Type`, and the path stay. Every other byte stays unchanged.
    pub fn strip_credential<B>(self, request: &mut Request<B>) {
        let credential = self.credential(request).ok();
        let copies = credential
            .as_ref()
            .map(|credential| PresentedCredentials::read(self, credential.presented().expose()));
        // Only there can another form of the credential be left.
        let can_repeat = request.uri().query().is_some()
            || request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL);
        let digest = credential
            .filter(|_| can_repeat)
            .map(|credential| credential.presented().digest());
        for dialect in Self::ALL {
            for carrier in dialect.profile().credential_locations {
                // Headers of all dialects are removed below, in one pass.
                if self.each().contains(&dialect) || carrier.is_distinctive() {
                    carrier.strip_besides_headers(request);
                }
            }
        }
        credential_location::remove_headers(request.headers_mut());
        if let Some(copies) = copies {
            presented::remove_copies(request.headers_mut(), &copies);
        }
        if let Some(digest) = digest {
            let canonical = self.profile().canonical;
            let is_known = |bytes: &[u8]| Digest::of(canonical(bytes)).matches(&digest);
            // Also remove Basic credentials in their encoded form.
            let is_it = |bytes: &[u8]| {
                is_known(bytes) || basic::decode(bytes).is_some_and(|decoded| is_known(&decoded))
            };
            query::remove_values(request.uri_mut(), is_it);
            subprotocol::remove_values(request.headers_mut(), is_it);
        }
    }

    /// The subprotocol that the server selects if an offered subprotocol contains the credential.
    /// Call this before the credential is stripped.
    #[must_use]
    pub fn subprotocol(self, headers: &HeaderMap) -> Option<&'static str> {
        let mut credential_locations = self.profile().credential_locations.iter();
        credential_locations.find_map(|carrier| carrier.subprotocol(headers))
    }

    /// Adds a deployment key in the vendor's own form. The header is marked sensitive.
    pub fn add_deployment_key(self, key: &Secret, headers: &mut HeaderMap) {
        self.add_deployment_key_for("", key, headers);
    }

    /// Adds a deployment key in the form of the vendor's server that has this path: a self-hosted
    /// server of Smallest AI reads `Token` where its cloud reads `Bearer`.
    pub fn add_deployment_key_for(self, path: &str, key: &Secret, headers: &mut HeaderMap) {
        let (name, form) = &self.profile().upstream;
        let value = match self {
            Self::Smallest => smallest::upstream_form(path).write(key),
            _ => form.write(key),
        };
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }

    /// The response to a refused request, in the vendor's form. It contains the request id and, if
    /// the denial has one, `Retry-After` in whole seconds, rounded up. For an SDK that would wait
    /// for minutes, `Retry-After` is shortened, or `x-should-retry: false` is added. A gRPC call is
    /// refused in the form of gRPC.
    #[must_use]
    pub fn refuse(self, denial: &Denial, context: RefusalContext) -> Response<Bytes> {
        refusal::respond(self.profile(), denial, context)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|dialect| dialect.as_str() == name)
            .ok_or(UnknownDialect(()))
    }
}

/// The error for an unknown dialect. Its text lists the known dialects.
#[derive(Debug)]
pub struct UnknownDialect(());

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Dialect::ALL.map(Dialect::as_str);
        write!(
            f,
            "is not a known dialect; use one of: {}",
            names.join(", ")
        )
    }
}

impl std::error::Error for UnknownDialect {}

#[cfg(test)]
mod tests;
