//! Keys from the Kubernetes API.

use super::Setting;

pub(crate) const KEYS_KUBERNETES_SECRET: &str = "VOXGATE_KEYS_KUBERNETES_SECRET";
pub(crate) const KEYS_KUBERNETES_SELECTOR: &str = "VOXGATE_KEYS_KUBERNETES_SELECTOR";
pub(crate) const KEYS_KUBERNETES_NAMESPACE: &str = "VOXGATE_KEYS_KUBERNETES_NAMESPACE";

pub(super) const GROUP: &str = "Keys from Kubernetes";

pub(super) const KUBERNETES: &[Setting] = &[
    Setting::new(
        GROUP,
        KEYS_KUBERNETES_SECRET,
        "NAME",
        "Name of the Secret with the callers' keys, which the gateway watches through the Kubernetes API: a \
         change is in force within a second. `VOXGATE_KEYS_FILE` is then used only until the API server has \
         answered",
    ),
    Setting::new(
        GROUP,
        KEYS_KUBERNETES_SELECTOR,
        "LABELS",
        "Label selector of the Secrets that the gateway watches, such as `voxgate.dev/keys=true`, in place of \
         one name: the keys of all of them are in force",
    ),
    Setting::new(
        GROUP,
        KEYS_KUBERNETES_NAMESPACE,
        "NAME",
        "Namespace of the watched Secrets",
    )
    .with_default("the namespace of the pod"),
];
