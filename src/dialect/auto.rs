//! The dialect that recognizes the vendor by the request.

use std::sync::LazyLock;

use http::Request;
use http::header::AUTHORIZATION;

use crate::policy::Policy;

use super::credential_location::{Case, Form};
use super::{Dialect, Profile, as_it_is, bearer};

/// This dialect has no credential locations. An unrecognized request is refused before a credential
/// is read.
pub(super) static PROFILE: Profile = Profile {
    name: "auto",
    credential_locations: &[],
    canonical: as_it_is,
    upstream: (AUTHORIZATION, Form::Scheme("Bearer", Case::Any)),
    deployment_variable: None,
    refuse: bearer::refuse,
    routes: &[],
};

/// Every vendor with the routes of its API.
static POLICIES: LazyLock<Vec<(Dialect, Policy)>> = LazyLock::new(|| {
    let vendors = Dialect::ALL
        .into_iter()
        .filter(|dialect| *dialect != Dialect::Auto);
    vendors.map(|dialect| (dialect, dialect.policy())).collect()
});

/// Returns the only vendor whose routes match the path. If several vendors match, one of the
/// credential locations must be in use. Returns `None` for no vendor, or for more than one.
pub(super) fn recognize<B>(request: &Request<B>) -> Option<Dialect> {
    let (method, path) = (request.method(), request.uri().path());
    let of_path = POLICIES
        .iter()
        .filter(|(_, policy)| policy.find(method, path).is_some());
    let candidates: Vec<Dialect> = of_path.map(|(dialect, _)| *dialect).collect();
    if let [only] = candidates.as_slice() {
        return Some(*only);
    }
    let carries = |dialect: &&Dialect| {
        let mut credential_locations = dialect.profile().credential_locations.iter();
        credential_locations.any(|carrier| carrier.is_there(request))
    };
    let mut carrying = candidates.iter().filter(carries);
    carrying
        .next()
        .copied()
        .filter(|_| carrying.next().is_none())
}
