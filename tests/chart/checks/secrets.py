"""Checks of how secrets are mounted."""

from __future__ import annotations

from objects import containers, gateways, pods


def mounted(objects: list[dict]) -> list[str]:
    """Secrets are mounted as a whole and read-only. Other users or containers cannot read them, and
    no variable contains them."""
    problems = []
    for pod in pods(objects):
        kept = {
            each["name"]: each["secret"] for each in pod.spec.get("volumes", []) if "secret" in each
        }
        for volume, secret in kept.items():
            mode, group = (
                secret.get("defaultMode", 0o644),
                pod.spec.get("securityContext", {}).get("fsGroup"),
            )
            users = [
                each["name"]
                for each in containers(pod.spec)
                for mount in _mounts(each)
                if mount["name"] == volume
            ]
            if mode == 0o440 and not group and not assigned(pod.spec):
                problems.append(f"{pod.name}: {volume} is 0440, and there is no fsGroup to read it")
            elif mode == 0o444 and len(users) != 1:
                problems.append(f"{pod.name}: {volume} is 0444 and mounted by {users}")
            elif mode not in (0o440, 0o444):
                problems.append(f"{pod.name}: {volume} has mode {mode:o}")
        for container in containers(pod.spec):
            where = f"{pod.name}, {container['name']}"
            for mount in _mounts(container):
                if mount["name"] in kept and ("subPath" in mount or "subPathExpr" in mount):
                    problems.append(
                        f"{where}: {mount['name']} is a subPath, which is not updated on rotation"
                    )
                if mount["name"] in kept and mount.get("readOnly") is not True:
                    problems.append(f"{where}: {mount['name']} can be written")
            for each in container.get("env", []):
                if "secretKeyRef" in each.get("valueFrom", {}):
                    problems.append(f"{where}: {each['name']} contains a secret")
            if any("secretRef" in each for each in container.get("envFrom", [])):
                problems.append(f"{where}: the environment contains a secret")
    return problems


def assigned(spec: dict) -> bool:
    """Whether the cluster assigns user, group and fsGroup, as OpenShift does if a pod sets none."""
    contexts = [each.get("securityContext", {}) for each in (spec, *containers(spec))]
    return not any("runAsUser" in each or "runAsGroup" in each for each in contexts)


def _mounts(container: dict) -> list[dict]:
    return container.get("volumeMounts", [])


def unhashed(objects: list[dict]) -> list[str]:
    """A pod has the checksum of the configuration, and no checksum of keys."""
    problems = []
    for pod in gateways(objects):
        checksums = [
            key for key in pod.metadata.get("annotations", {}) if key.startswith("checksum/")
        ]
        # The name is unique in a parent chart.
        expected = ["checksum/voxgate-config"]
        if checksums != expected:
            problems.append(f"{pod.name} has the checksums {checksums}")
    return problems
