"""Pod Security Standards, profile `restricted`, like the admission controller: every control of
`baseline` and `restricted` for pods on Linux."""

from __future__ import annotations

CAPABILITIES_TO_ADD = {"NET_BIND_SERVICE"}
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SELINUX_TYPES = {
    None,
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def problems(metadata: dict, spec: dict) -> list[str]:
    """The reasons for which the pod would be refused."""
    found = list(_of_pod(metadata, spec))
    pod = spec.get("securityContext") or {}
    for container in _containers(spec):
        context = container.get("securityContext") or {}
        found += [
            f"container {container['name']}: {each}"
            for each in _of_container(container, context, pod)
        ]
    return found


def _containers(spec: dict) -> list[dict]:
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [container for kind in kinds for container in spec.get(kind) or []]


def _of_pod(metadata: dict, spec: dict):
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"{name} is set"
    for volume in spec.get("volumes") or []:
        kinds = set(volume) - {"name"}
        # Kubernetes treats a volume without a kind as an emptyDir.
        if kinds - VOLUMES:
            yield f"volume {volume['name']} is a {', '.join(sorted(kinds))}"
    context = spec.get("securityContext") or {}
    for sysctl in context.get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    if context.get("runAsUser") == 0:
        yield "runAsUser is 0"
    yield from _confinement(context)
    for key, value in (metadata.get("annotations") or {}).items():
        allowed = value in ("", "runtime/default") or value.startswith("localhost/")
        if key.startswith(APPARMOR) and not allowed:
            yield f"annotation {key}"


def _of_container(container: dict, context: dict, pod: dict):
    if context.get("privileged"):
        yield "privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if context.get("procMount") not in (None, "Default"):
        yield "procMount"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield "does not drop ALL capabilities"
    if set(capabilities.get("add") or []) - CAPABILITIES_TO_ADD:
        yield "adds capabilities"
    # A field of a container takes precedence over the field of its pod, also if it is false.
    if context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    if context.get("runAsUser") == 0:
        yield "runAsUser is 0"
    seccomp = (context.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
    if seccomp not in ("RuntimeDefault", "Localhost"):
        yield f"seccompProfile is {seccomp}"
    for port in container.get("ports") or []:
        if port.get("hostPort"):
            yield f"hostPort {port['hostPort']}"
    yield from _confinement(context)
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        yield from _host_of(probe, container.get(probe) or {})
    for hook, handler in (container.get("lifecycle") or {}).items():
        if isinstance(handler, dict):
            yield from _host_of(hook, handler)


def _confinement(context: dict):
    """SELinux, AppArmor and Windows, for a pod and for a container."""
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield "seLinuxOptions"
    if (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault") not in (
        "RuntimeDefault",
        "Localhost",
    ):
        yield "appArmorProfile"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess"


def _host_of(name: str, handler: dict):
    """Since 1.34, a probe or hook may not be sent to another host."""
    for action in ("httpGet", "tcpSocket"):
        if (handler.get(action) or {}).get("host"):
            yield f"{name} goes to another host"
