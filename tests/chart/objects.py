"""Helpers that read Kubernetes objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import inject

OURS = "voxgate"


@dataclass
class Pod:
    """A pod that results from the render, from any kind of object."""

    name: str
    kind: str
    metadata: dict
    spec: dict

    @property
    def labels(self) -> dict:
        return self.metadata.get("labels", {})

    def gateway(self) -> dict | None:
        return next((each for each in containers(self.spec) if each["name"] == OURS), None)


def containers(spec: dict) -> list[dict]:
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def of_kind(objects: list[dict], *kinds: str) -> list[dict]:
    return [each for each in objects if each["kind"] in kinds]


def name(each: dict) -> str:
    return f"{each['kind']}/{each['metadata']['name']}"


def pods(objects: list[dict]) -> Iterator[Pod]:
    """The pods of workloads, single pods, and sample pods that a policy changes."""
    for each in objects:
        if each["kind"] == "Pod":
            yield Pod(name(each), "Pod", each["metadata"], each["spec"])
        elif each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            made = each["spec"]["template"]
            yield Pod(name(each), each["kind"], made.get("metadata", {}), made["spec"])
        elif each["kind"] == "MutatingAdmissionPolicy":
            for sample in inject.samples(each):
                made = inject.admit(each, sample)
                yield Pod(
                    f"{name(each)} on {sample['metadata']['name']}",
                    "Pod",
                    made["metadata"],
                    made["spec"],
                )


def gateways(objects: list[dict]) -> list[Pod]:
    """The pods with the gateway."""
    return [pod for pod in pods(objects) if pod.gateway()]


def selects(selector: dict, labels: dict) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for each in selector.get("matchExpressions") or []:
        value, values = labels.get(each["key"]), each.get("values", [])
        matched = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[each["operator"]]
        if not matched:
            return False
    return True


def env(container: dict) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
