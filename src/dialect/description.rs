//! The dialects in words, for the reference page.

use std::fmt::Write as _;

use http::HeaderName;
use voxgate_core::denial::DenialKind;

use super::credential_location::{Case, CredentialLocation, Form};
use super::subprotocol::Offer;
use super::{Dialect, RefusalContext, Retry};

/// What the page about dialects says about one of them, in Markdown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Description {
    /// The places in which a caller's key is looked for, in their order.
    pub credentials: Vec<String>,
    /// The variable of the deployment key, and the form in which it is sent upstream.
    pub deployment_key: Option<(&'static str, String)>,
    /// How a caller that must wait for more than a second is kept from waiting in its SDK.
    pub long_wait: &'static str,
    dialect: Dialect,
}

impl Description {
    pub(super) fn of(dialect: Dialect) -> Self {
        let profile = dialect.profile();
        let (name, form) = &profile.upstream;
        let deployment_key = profile
            .deployment_variable
            .map(|variable| (variable, in_header(name, form)));
        Self {
            credentials: profile
                .credential_locations
                .iter()
                .flat_map(described)
                .collect(),
            deployment_key,
            long_wait: match profile.retry {
                Retry::Bounded => "the true `Retry-After`",
                Retry::Header => "the true `Retry-After`, `x-should-retry: false`",
                Retry::Shortened => "`Retry-After: 1`",
            },
            dialect,
        }
    }

    /// The status of a refusal.
    #[must_use]
    pub fn status(&self, kind: DenialKind, context: RefusalContext) -> u16 {
        let refusal = (self.dialect.profile().refuse)(kind, context);
        refusal.status.as_u16()
    }
}

fn described(location: &CredentialLocation) -> Vec<String> {
    match location {
        CredentialLocation::Header(name, forms) => {
            forms.iter().map(|form| in_header(name, form)).collect()
        }
        CredentialLocation::Query(name) => vec![format!("`?{name}=KEY` on a WebSocket")],
        CredentialLocation::AnyQuery(name) => vec![format!("`?{name}=KEY`")],
        CredentialLocation::Subprotocol(Offer::After(names)) => {
            let offers = names.iter().map(|name| format!("`{name}, KEY`"));
            vec![format!(
                "subprotocol {} on a WebSocket",
                offers.collect::<Vec<_>>().join(" or ")
            )]
        }
        CredentialLocation::Subprotocol(Offer::Prefix(prefix)) => {
            vec![format!("subprotocol `{prefix}KEY` on a WebSocket")]
        }
        CredentialLocation::Subprotocol(Offer::PrefixBeside(prefix, beside)) => {
            vec![format!(
                "subprotocol `{prefix}KEY`, beside `{beside}`, on a WebSocket"
            )]
        }
    }
}

fn in_header(name: &HeaderName, form: &Form) -> String {
    let mut shown = String::new();
    for part in name.as_str().split('-') {
        let (first, rest) = part.split_at(part.len().min(1));
        let separator = if shown.is_empty() { "" } else { "-" };
        let _ = write!(shown, "{separator}{}{rest}", first.to_ascii_uppercase());
    }
    match form {
        Form::Raw => format!("`{shown}: KEY`"),
        Form::Scheme(scheme, Case::Any) => format!("`{shown}: {scheme} KEY`"),
        Form::Scheme(scheme, Case::Exact) => {
            format!("`{shown}: {scheme} KEY` in exactly this case")
        }
        Form::Basic => format!("`{shown}: Basic base64(ID:SECRET)`"),
        Form::Signature(scheme, _) => {
            format!("`{shown}: {scheme} PARAMETERS`, a signature, on a request for a token")
        }
    }
}
