//! The principal: the owner of a credential, with its rights, limits and validity.

pub use voxgate_core::network::{InvalidNetwork, Network};
pub use voxgate_core::principal::{
    Account, InvalidScope, KeyKind, KeyState, Principal, Scope, SpeechRights, Validity,
};

pub use crate::caller::{AuthMethod, Caller};
