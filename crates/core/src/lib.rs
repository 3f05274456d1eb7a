//! The basic types of Voxgate, on which its other crates build.
//!
//! Use the crate `voxgate`: it re-exports the types that a server needs. What is public here and hidden
//! from the documentation is for the crates of this repository, and may change in any release.

#[doc(hidden)]
pub mod declassify;
pub mod denial;
pub mod error;
#[doc(hidden)]
pub mod files;
pub mod network;
pub mod principal;
pub mod request_id;
pub mod secret;
#[doc(hidden)]
pub mod toml_file;
pub mod trace;
