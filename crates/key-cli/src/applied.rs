//! The keys file of a Secret in the cluster, changed by server-side apply. Builds without the feature
//! `kubernetes` say that they cannot.

use super::failure::KeyCommandError;
use super::manifest::Manifest;
use super::store::FileState;

#[cfg(feature = "kubernetes")]
use super::manifest::FIELD;

#[cfg(feature = "kubernetes")]
use voxgate_kubernetes::SecretPart;

const FLAG: &str = "--apply";

/// A Secret as it was read.
#[cfg(feature = "kubernetes")]
pub(super) struct AppliedSecret(SecretPart);

#[cfg(feature = "kubernetes")]
impl AppliedSecret {
    /// Reads the Secret from the cluster.
    pub(super) fn read(manifest: &Manifest) -> Result<Self, KeyCommandError> {
        let read = SecretPart::read(manifest.name(), manifest.namespace(), FIELD);
        let read = read.map_err(|error| KeyCommandError::failed(FLAG, error))?;
        Ok(Self(read.with_labels(manifest.labels().clone())))
    }

    /// The namespace and the name.
    pub(super) fn place(&self) -> String {
        self.0.place()
    }

    /// The keys file in it, if there is one.
    pub(super) fn state(&self) -> FileState {
        match self.0.text() {
            Some(text) => FileState::of(text.to_owned()),
            None => FileState::missing(),
        }
    }

    /// Writes the keys file, unless the Secret was changed since it was read.
    pub(super) fn apply(&self, text: &str) -> Result<(), KeyCommandError> {
        let applied = self.0.apply(text);
        applied.map_err(|error| KeyCommandError::failed(FLAG, error))
    }
}

/// No Secret can be read.
#[cfg(not(feature = "kubernetes"))]
pub(super) enum AppliedSecret {}

#[cfg(not(feature = "kubernetes"))]
impl AppliedSecret {
    pub(super) fn read(_: &Manifest) -> Result<Self, KeyCommandError> {
        let message = "needs the feature `kubernetes`, which this build lacks; leave it out, and apply the \
                       manifest with kubectl";
        Err(KeyCommandError::wrong(FLAG, message))
    }

    pub(super) fn place(&self) -> String {
        match *self {}
    }

    pub(super) fn state(&self) -> FileState {
        match *self {}
    }

    pub(super) fn apply(&self, _: &str) -> Result<(), KeyCommandError> {
        match *self {}
    }
}
