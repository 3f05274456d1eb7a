//! Property tests: statements about all requests.

mod arbitrary;
mod door;
mod draft;
mod forgery;
mod model;
mod paths;
mod reading;
mod strip;
mod stripping;
