//! What holds for every request, not only for those that somebody thought of.

mod arbitrary;
mod door;
mod draft;
mod forgery;
mod model;
mod paths;
mod reading;
mod strip;
mod stripping;
