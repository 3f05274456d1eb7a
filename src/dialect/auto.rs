//! The dialect that detects the vendor from the request.

use std::sync::LazyLock;

use http::Request;
use http::header::AUTHORIZATION;

use crate::policy::{Policy, Specificity};

use super::credential_location::{Case, Form};
use super::{Dialect, Profile, Retry, as_it_is, bearer};

/// This dialect has no credential locations. An unrecognized request is refused before a credential
/// is read.
pub(super) static PROFILE: Profile = Profile {
    name: "auto",
    credential_locations: &[],
    canonical: as_it_is,
    upstream: (AUTHORIZATION, Form::Scheme("Bearer", Case::Any)),
    deployment_variable: None,
    refuse: bearer::refuse,
    retry: Retry::Bounded,
    routes: &[],
};

/// Every vendor with the routes of its API.
static POLICIES: LazyLock<Vec<(Dialect, Policy)>> = LazyLock::new(|| {
    let vendors = Dialect::ALL
        .into_iter()
        .filter(|dialect| *dialect != Dialect::Auto);
    vendors.map(|dialect| (dialect, dialect.policy())).collect()
});

/// How well a request fits a vendor whose routes name it. A field decides if the fields before it
/// are equal.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// Whether one of the vendor's credential locations contains a credential.
    has_credential: bool,
    /// The most specific route that names the path.
    route: Specificity,
    /// The number of the vendor's locations that contain a credential.
    locations: usize,
    /// Whether many servers implement the API. Such a vendor is preferred among vendors that share
    /// a route and a credential location: OpenAI for `GET /v1/models`, Deepgram for `POST
    /// /v1/speak`.
    is_widespread: bool,
    /// Whether a credential has the form that the vendor's clients usually send.
    is_usual_form: bool,
}

impl Fit {
    fn of<B>(dialect: Dialect, route: Specificity, request: &Request<B>) -> Self {
        let locations = dialect.profile().credential_locations.iter();
        let forms: Vec<(usize, usize)> = locations
            .enumerate()
            .filter_map(|(index, location)| Some((index, location.form_in_use(request)?)))
            .collect();
        let has_credential = !forms.is_empty();
        let widespread = matches!(dialect, Dialect::OpenAi | Dialect::Deepgram);
        Self {
            has_credential,
            route,
            locations: forms.len(),
            is_widespread: has_credential && widespread,
            is_usual_form: forms.contains(&(0, 0)),
        }
    }
}

/// Returns the vendor that the request fits best. `None` for no vendor, or for more than one.
pub(super) fn recognize<B>(request: &Request<B>) -> Option<Dialect> {
    let (method, path) = (request.method(), request.uri().path());
    let named = POLICIES.iter().filter_map(|(dialect, policy)| {
        let route = policy.specificity(method, path)?;
        Some((*dialect, route))
    });
    let mut named: Vec<(Dialect, Specificity)> = named.collect();
    if named.len() < 2 {
        // No other vendor has this path, so the credential does not matter.
        return named.pop().map(|(dialect, _)| dialect);
    }
    let fits = named.into_iter();
    let fits = fits.map(|(dialect, route)| (Fit::of(dialect, route, request), dialect));
    let fits: Vec<(Fit, Dialect)> = fits.collect();
    let best = fits.iter().map(|(fit, _)| fit).max()?;
    let mut vendors = fits.iter().filter(|(fit, _)| fit == best);
    let (_, vendor) = vendors.next()?;
    vendors.next().is_none().then_some(*vendor)
}

/// Returns the only vendor whose credential locations contain a credential, for any path. A request
/// without a matching API is refused in the form of this vendor.
pub(super) fn by_credential<B>(request: &Request<B>) -> Option<Dialect> {
    let holds = |dialect: &Dialect| {
        let mut locations = dialect.profile().credential_locations.iter();
        locations.any(|location| location.form_in_use(request).is_some())
    };
    let mut holding = Dialect::ALL.into_iter().filter(holds);
    holding.next().filter(|_| holding.next().is_none())
}
