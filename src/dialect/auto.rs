//! The dialect that detects the vendor from the request.

use std::sync::LazyLock;

use http::Request;
use http::header::AUTHORIZATION;

use crate::policy::{Policy, Specificity};

use super::credential_location::{Case, Form};
use super::{Dialect, Profile, Retry, as_it_is, bearer};

/// It has no credential locations of its own: a request of no vendor is refused before a credential
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

/// How well a request fits a vendor. Fields that are declared first count first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// Whether one of the vendor's credential locations holds a credential.
    has_credential: bool,
    /// The most specific route that names the path.
    route: Specificity,
    /// In how many of the vendor's locations there is a credential.
    locations: usize,
    /// Whether a credential has the form that the vendor's clients send first of all.
    is_usual_form: bool,
}

impl Fit {
    /// `None` if no route of the vendor names the path.
    fn of<B>(dialect: Dialect, policy: &Policy, request: &Request<B>) -> Option<Self> {
        let route = policy.specificity(request.method(), request.uri().path())?;
        let locations = dialect.profile().credential_locations.iter();
        let forms: Vec<usize> = locations
            .filter_map(|location| location.form_in_use(request))
            .collect();
        Some(Self {
            has_credential: !forms.is_empty(),
            route,
            locations: forms.len(),
            is_usual_form: forms.contains(&0),
        })
    }
}

/// The vendor whom the request fits best: one whose routes name the path, preferably with a
/// credential in one of its locations, by its most specific route. Of vendors that a credential
/// fits equally well, OpenAI is taken, because most servers speak its API (`GET /v1/models` with
/// `Authorization: Bearer`). `None` if there is no such vendor, or more than one.
pub(super) fn recognize<B>(request: &Request<B>) -> Option<Dialect> {
    let fits = POLICIES.iter().filter_map(|(dialect, policy)| {
        let fit = Fit::of(*dialect, policy, request)?;
        Some((fit, *dialect))
    });
    let fits: Vec<(Fit, Dialect)> = fits.collect();
    let best = fits.iter().map(|(fit, _)| fit).max()?;
    let mut vendors = fits.iter().filter(|(fit, _)| fit == best);
    let (_, first) = vendors.next()?;
    match vendors.next() {
        None => Some(*first),
        Some(_) => {
            let openai = fits.iter().find(|(_, dialect)| *dialect == Dialect::OpenAi);
            let (_, openai) = openai.filter(|(fit, _)| fit == best && fit.has_credential)?;
            Some(*openai)
        }
    }
}

/// The one vendor in whose credential locations there is a credential, whatever the path. A request
/// that belongs to no API is refused in the form of this vendor.
pub(super) fn by_credential<B>(request: &Request<B>) -> Option<Dialect> {
    let holds = |dialect: &Dialect| {
        let mut locations = dialect.profile().credential_locations.iter();
        locations.any(|location| location.form_in_use(request).is_some())
    };
    let mut holding = Dialect::ALL.into_iter().filter(holds);
    holding.next().filter(|_| holding.next().is_none())
}
