//! What to change, for each reason.

use voxgate::policy::Rule;
use voxgate::principal::Network;
use voxgate::speech::Field;
use voxgate::{DenialKind, Dialect, Principal};

use super::decided::Decided;

/// What advice depends on besides the reason.
#[derive(Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) decided: &'a Decided,
    /// The dialect of the request, if it is known.
    pub(crate) dialect: Option<Dialect>,
    /// The key as it is now.
    pub(crate) principal: Option<&'a Principal>,
    /// The rule that decided, if there is one in the policy of now.
    pub(crate) rule: Option<&'a Rule>,
}

/// The kinds of names that a key can be restricted to.
struct Names {
    /// One of them.
    one: &'static str,
    /// The field of a keys file.
    field: &'static str,
    /// The fields of a request with such a name.
    places: &'static [Field],
}

const VOICE: Names = Names {
    one: "voice",
    field: "voices",
    places: &[Field::Voice, Field::DefaultVoice],
};
const MODEL: Names = Names {
    one: "model",
    field: "models",
    places: &[Field::Model],
};
const LANGUAGE: Names = Names {
    one: "language",
    field: "languages",
    places: &[Field::Language],
};

/// What to change so that the request is accepted: one or more sentences. `None` for a reason that
/// this program does not know.
pub(crate) fn of(kind: DenialKind, about: Circumstances<'_>) -> Option<Vec<String>> {
    use DenialKind as Kind;
    let key = about.decided.key_id.as_deref().unwrap_or("the key");
    let one = |text: &str| Some(vec![text.to_owned()]);
    match kind {
        Kind::AmbiguousPath => Some(vec![
            "Send a path without dot segments, `//`, backslashes, control characters and encoded \
             slashes."
                .to_owned(),
            "If a name may have an encoded slash, write {name%2F} for it in a rule of the policy file."
                .to_owned(),
        ]),
        Kind::InvalidHost => one("Send one Host header with a name or address, and a port if needed."),
        Kind::MethodNotAllowed => one("Use another method: TRACE and CONNECT are never forwarded."),
        Kind::InvalidScheme => one("Send a target with the scheme http or https, or only a path."),
        Kind::InvalidHeader => Some(vec![
            "Correct the header: its value begins or ends with a space, or its name has a character \
             that servers confuse with another."
                .to_owned(),
            "With VOXGATE_HEADER_NAMES=drop, headers with such names are not forwarded instead of \
             refused."
                .to_owned(),
        ]),
        Kind::InvalidContentLength => {
            one("Send one Content-Length with a plain decimal number, or none with chunked coding.")
        }
        Kind::UnsupportedTransferCoding => {
            one("Send the body with Content-Length, or with `Transfer-Encoding: chunked` only.")
        }
        Kind::UnclearOriginal => one(
            "Have the proxy in front overwrite the fields in which it names the request, and remove those \
             of other proxies, as docs/how-to/authorize-for-proxies.md shows.",
        ),
        Kind::LimitNotEnforced => Some(vec![
            format!(
                "Send requests of {key} through VOXGATE_LISTEN, or remove its concurrency limit and its \
                 quotas of characters and audio: a proxy that only asks cannot enforce them."
            ),
            "Or set VOXGATE_AUTHORIZE_UNENFORCED=accept to accept such keys without these limits."
                .to_owned(),
        ]),
        Kind::UnrecognizedDialect => Some(vec![
            "Send the request to a path of the vendor's API, with the key where the vendor's client \
             has it."
                .to_owned(),
            "If all clients are of one vendor, set VOXGATE_DIALECT to its name instead of auto."
                .to_owned(),
        ]),
        Kind::MissingCredential => Some(vec![format!(
            "Send the key in one of these places: {}.",
            places(about.dialect)
        )]),
        Kind::MalformedCredential => Some(vec![format!(
            "Write the key exactly in one of these forms: {}.",
            places(about.dialect)
        )]),
        Kind::ConflictingCredentials => {
            one("Send one key only, once: the request has two different ones, or one place twice.")
        }
        Kind::UnknownCredential => Some(vec![
            "Find out which key the client sends: `voxgate key verify` tells whether a token is in the \
             keys file."
                .to_owned(),
            "If the key is new, check that the gateway has loaded the file \
             (voxgate_key_ring_info); if there is none, make one with `voxgate key new`."
                .to_owned(),
        ]),
        Kind::MistypedCredential => {
            one("Copy the whole token again: its checksum is wrong, so that a part is missing or changed.")
        }
        Kind::DisabledCredential => Some(vec![format!(
            "The key was revoked. Give the client a new one (`voxgate key new`); if it was revoked by \
             mistake, remove `disabled = true` of {key} from the keys file and its id from [revoked]."
        )]),
        Kind::ExpiredCredential => Some(vec![format!(
            "Replace the key with `voxgate key rotate {key} --force`, or set a later `expires` in the \
             keys file."
        )]),
        Kind::AddressNotAllowed => Some(vec![
            match about.principal.and_then(Principal::allow_from) {
                Some(networks) => format!(
                    "Send the request from a network that {key} may be used from ({}), or add the network \
                     of the client to `allow_from` of {key} in the keys file.",
                    shown(networks)
                ),
                None => format!(
                    "Add the network of the client to `allow_from` of {key} in the keys file."
                ),
            },
            "If the record names a proxy as the client, name the proxy in VOXGATE_TRUSTED_PROXIES, or the \
             load balancer in VOXGATE_PROXY_PROTOCOL."
                .to_owned(),
        ]),
        Kind::OriginNotAllowed => Some(vec![
            "Add the origin of the page, such as `https://app.example`, to VOXGATE_CORS_ORIGINS."
                .to_owned(),
            "A client that is no browser must not send the header Origin when it opens a WebSocket."
                .to_owned(),
        ]),
        Kind::NotYetValidCredential => Some(vec![format!(
            "Wait until the key is valid, or set an earlier `not_before` of {key} in the keys file."
        )]),
        Kind::InvalidToken => Some(vec![
            "The record has the reason in `token_error`: ask the issuer for a token with the right \
             audience, validity and signature, and check VOXGATE_TOKEN_AUDIENCE and the other settings of \
             tokens."
                .to_owned(),
        ]),
        Kind::InvalidSignature => one(
            "Sign the request with the signing secret of the key that it names (`signing_secret_file`).",
        ),
        Kind::StaleSignature => {
            one("Set the client's clock, and sign each request shortly before it is sent.")
        }
        Kind::ReplayedSignature => one("Use a new nonce for each request."),
        Kind::InsufficientScope => Some(missing_scope(key, about)),
        Kind::NoRule => Some(vec![
            format!(
                "Add a rule for {} {} to the policy file (VOXGATE_POLICY_FILE), or a [rest] for every other \
                 request; `voxgate policy` shows the rules.",
                about.decided.method, about.decided.path
            ),
            format!(
                "Or use a key without restrictions: {key} has scopes, voices, models, languages or a \
                 kind, and may do only what a rule names."
            ),
        ]),
        Kind::RealtimeOnly => Some(vec![
            format!("Use a standard key: {key} is of the kind realtime, for realtime sessions only."),
            "If this route is for realtime sessions, add `realtime = true` to its rule in the policy \
             file."
                .to_owned(),
        ]),
        Kind::VoiceNotAllowed => Some(not_allowed(&VOICE, key, about)),
        Kind::ModelNotAllowed => Some(not_allowed(&MODEL, key, about)),
        Kind::LanguageNotAllowed => Some(not_allowed(&LANGUAGE, key, about)),
        Kind::VoiceNotSeen => Some(not_seen(&VOICE, about)),
        Kind::ModelNotSeen => Some(not_seen(&MODEL, about)),
        Kind::LanguageNotSeen => Some(not_seen(&LANGUAGE, about)),
        Kind::FetchNotAllowed => Some(vec![format!(
            "Send the text itself and the name of a voice, instead of a URL, a file or a voice sample; or \
             add the scope `tts:fetch` to {key} in the keys file."
        )]),
        Kind::UnreadableBody => {
            one("Send one document in UTF-8, not compressed, with the Content-Type of the route's API.")
        }
        Kind::ContentTooLarge => {
            one("Send a smaller body, or raise VOXGATE_BODY_INSPECT_KIB for restricted keys.")
        }
        Kind::TokenCannotMint => one("Ask for the token with an API key, not with another token."),
        Kind::InvalidTokenRequest => {
            one("Correct the body of the request for a token, as the vendor's API documents it.")
        }
        Kind::QuotaExhausted => Some(vec![format!(
            "Wait until the quota begins anew, or raise `quota` of {key} or of its account in the keys \
             file; `voxgate limits` shows the quotas."
        )]),
        Kind::RateLimited => Some(vec![limited(key, about.decided.limit.as_deref())]),
        Kind::Unavailable => Some(vec![
            "Retry after a second. The gateway could not reach what the decision needs: its audit log, \
             Redis, the store of the keys, or memory for bodies."
                .to_owned(),
            "Read the gateway's log at that time, and the alerts in the runbook.".to_owned(),
        ]),
        Kind::NoUpstream => one("Add a server for this path to VOXGATE_UPSTREAM."),
        Kind::UpstreamUnreachable => {
            one("Check that the TTS server runs, and that the gateway can reach its address and port.")
        }
        Kind::UpstreamUnavailable => one(
            "Check the servers of VOXGATE_UPSTREAM: none of them is healthy or has room for a request.",
        ),
        Kind::UpstreamTimeout => one(
            "Check whether the TTS server is overloaded; VOXGATE_UPSTREAM_TIMEOUT_SECONDS is the time \
             that it has.",
        ),
        Kind::InternalError => {
            one("Read the gateway's log at that time for a line with `panic`, and report it.")
        }
        _ => None,
    }
}

/// The networks of a key, separated by commas.
pub(crate) fn shown(networks: &[Network]) -> String {
    let networks: Vec<String> = networks.iter().map(Network::to_string).collect();
    networks.join(", ")
}

/// Where a vendor's clients send their key.
fn places(dialect: Option<Dialect>) -> String {
    let places = dialect.map(|dialect| dialect.description().credentials);
    let places = places.filter(|places| !places.is_empty());
    places.map_or_else(
        || "where the vendor's client has it (docs/reference/dialects.md)".to_owned(),
        |places| places.join(", "),
    )
}

fn missing_scope(key: &str, about: Circumstances<'_>) -> Vec<String> {
    let scope = about.decided.required_scope.as_deref();
    let scope = scope.or_else(|| about.rule?.scope());
    let add = match scope {
        Some(scope) => format!("Add the scope `{scope}` to {key} in the keys file."),
        None => format!("Add the scope that the rule requires to {key} in the keys file."),
    };
    let other = match about.rule.is_some_and(Rule::is_explicit) {
        true => "The rule has `explicit = true`, so that a key without scopes is refused as well.",
        false => {
            "Or change the scope of the rule in the policy file; `voxgate policy` shows the rules."
        }
    };
    vec![add, other.to_owned()]
}

fn not_allowed(names: &Names, key: &str, about: Circumstances<'_>) -> Vec<String> {
    let Names { one, field, .. } = names;
    let list = about.principal.and_then(|principal| match *field {
        "voices" => principal.voices(),
        "models" => principal.models(),
        _ => principal.languages(),
    });
    let mut advice = vec![format!(
        "Add the {one} to `{field}` of {key} in the keys file, and to `{field}` of its account if that has \
         a list."
    )];
    if let Some(list) = list {
        advice.push(format!(
            "Or use one that the key may use: {}.",
            listed(list)
        ));
    }
    advice
}

fn listed(names: &[Box<str>]) -> String {
    const MOST: usize = 10;
    let mut shown: Vec<&str> = names.iter().take(MOST).map(|name| &**name).collect();
    if shown.is_empty() {
        return "none".to_owned();
    }
    if names.len() > MOST {
        shown.push("…");
    }
    shown.join(", ")
}

fn not_seen(names: &Names, about: Circumstances<'_>) -> Vec<String> {
    let Names { one, places, .. } = names;
    let Some(rule) = about.rule else {
        return vec![format!(
            "Name one {one}, once, where the rule of the route says; `voxgate policy` shows the place of \
             the voice."
        )];
    };
    let profile = rule.speech().into_iter();
    let known: Vec<String> = profile
        .flat_map(|profile| profile.places().iter().chain(profile.messages()))
        .filter(|(field, _)| places.contains(field))
        .map(|(_, place)| place.to_string())
        .collect();
    match known.is_empty() {
        true => vec![format!(
            "The rule does not say where the {one} is: add `{one} = \"json:/{one}\"`, or its true place, \
             to a rule for this route in the policy file."
        )],
        false => vec![format!(
            "Name one {one}, once, in one of these places: {}. The server's default does not count.",
            known.join(", ")
        )],
    }
}

fn limited(key: &str, limit: Option<&str>) -> String {
    match limit {
        Some("key_rate") => format!(
            "Wait as long as Retry-After says, or raise `rate` or `burst` of {key} in the keys file (without \
             them, VOXGATE_LIMIT_RATE applies)."
        ),
        Some("key_concurrency") => format!(
            "Let fewer requests and WebSockets run at once, or raise `concurrency` of {key} in the keys \
             file (without it, VOXGATE_LIMIT_CONCURRENCY applies)."
        ),
        Some("account_rate" | "account_concurrency") => format!(
            "The keys of the account of {key} exceed its limit together: raise it in [[account]] of the \
             keys file."
        ),
        Some("upstream_concurrency") => "The TTS server is full: scale it and raise \
             VOXGATE_LIMIT_UPSTREAM_CONCURRENCY, or let requests wait with VOXGATE_LIMIT_QUEUE."
            .to_owned(),
        Some("peer_failures") => {
            "The address failed to authenticate too often: give the client its \
             key, and wait a minute."
                .to_owned()
        }
        Some("shared") => "The limits that replicas share were unavailable: repair Redis; \
             VOXGATE_LIMIT_ON_FAILURE decides what happens meanwhile."
            .to_owned(),
        _ => {
            format!("Wait as long as Retry-After says; `voxgate limits` shows the limits of {key}.")
        }
    }
}
