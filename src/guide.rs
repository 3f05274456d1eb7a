//! Guides to the parts of the layer.

/// Where the layer belongs among other layers.
#[doc = include_str!("docs/layer_order.md")]
pub mod layer_order {}

/// How to verify credentials against a store of your own.
#[doc = include_str!("docs/custom_verifier.md")]
pub mod custom_verifier {}

/// How callers are limited.
#[doc = include_str!("docs/limits.md")]
pub mod limits {}

/// How decisions are recorded.
#[doc = include_str!("docs/audit_trail.md")]
pub mod audit_trail {}

/// Short examples: nested routers, several policies, an asynchronous verifier, tests, tonic.
#[cfg(feature = "connect-info")]
#[cfg_attr(docsrs, doc(cfg(feature = "connect-info")))]
#[doc = include_str!("docs/examples.md")]
pub mod examples {}
