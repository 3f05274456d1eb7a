"""Checks that referenced objects exist: in the render, or in the cluster (existing.yaml)."""

from __future__ import annotations

from collections.abc import Iterator

import chart
from objects import containers, name, of_kind, pods

Reference = tuple[str, str, str]


def kept(objects: list[dict]) -> list[str]:
    """Every reference names an existing object."""
    there = {
        (each["kind"], each["metadata"]["name"]): each for each in [*objects, *chart.existing()]
    }
    problems = []
    for source, kind, target in _references(objects):
        if (kind, target) not in there:
            problems.append(f"{source} names {kind} {target}, which does not exist")
    for source, kind, target, key in _files(objects):
        each = there.get((kind, target), {})
        if each and key not in {**each.get("data", {}), **each.get("stringData", {})}:
            problems.append(f"{source} needs {key} of {kind} {target}, which does not have it")
    return problems


def mounts(objects: list[dict]) -> list[str]:
    """Every mount has a volume, every volume is mounted, and mount paths are unique."""
    problems = []
    for pod in pods(objects):
        volumes = [each["name"] for each in pod.spec.get("volumes", [])]
        used = {
            mount["name"] for each in containers(pod.spec) for mount in each.get("volumeMounts", [])
        }
        problems += [
            f"{pod.name}: volume {each} twice" for each in set(volumes) if volumes.count(each) > 1
        ]
        problems += [f"{pod.name}: no volume {each}" for each in used - set(volumes)]
        ours = {each for each in volumes if each.startswith("voxgate-")}
        problems += [f"{pod.name}: no container mounts {each}" for each in ours - used]
        for each in containers(pod.spec):
            places = [mount["mountPath"] for mount in each.get("volumeMounts", [])]
            problems += [
                f"{pod.name}: two mounts at {place}"
                for place in set(places)
                if places.count(place) > 1
            ]
    return problems


def _files(objects: list[dict]) -> Iterator[tuple[str, str, str, str]]:
    for pod in pods(objects):
        for volume in pod.spec.get("volumes", []):
            for item in volume.get("secret", {}).get("items", []):
                yield pod.name, "Secret", volume["secret"]["secretName"], item["key"]
            for item in volume.get("configMap", {}).get("items", []):
                yield pod.name, "ConfigMap", volume["configMap"]["name"], item["key"]


def _references(objects: list[dict]) -> Iterator[Reference]:
    for pod in pods(objects):
        yield from _of_pod(pod.name, pod.spec)
    for each in objects:
        spec, source = each.get("spec") or {}, name(each)
        issued = any(
            key.startswith("cert-manager.io/") for key in each["metadata"].get("annotations", {})
        )
        match each["kind"]:
            case "HorizontalPodAutoscaler":
                yield source, spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]
            case "MutatingAdmissionPolicyBinding" | "ValidatingAdmissionPolicyBinding":
                yield source, each["kind"].removesuffix("Binding"), spec["policyName"]
            case "Ingress":
                for rule in spec["rules"]:
                    for path in rule["http"]["paths"]:
                        yield source, "Service", path["backend"]["service"]["name"]
                for tls in [] if issued else spec.get("tls", []):
                    yield source, "Secret", tls["secretName"]
            case "HTTPRoute":
                for parent in spec["parentRefs"]:
                    yield source, "Gateway", parent["name"]
                for rule in spec["rules"]:
                    for backend in rule["backendRefs"]:
                        yield source, "Service", backend["name"]
            case "Gateway":
                for listener in [] if issued else spec["listeners"]:
                    for certificate in listener["tls"]["certificateRefs"]:
                        yield source, "Secret", certificate["name"]


def _of_pod(source: str, spec: dict) -> Iterator[Reference]:
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            yield source, "Secret", volume["secret"]["secretName"]
        if "configMap" in volume:
            yield source, "ConfigMap", volume["configMap"]["name"]
        if "persistentVolumeClaim" in volume:
            yield source, "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for secret in spec.get("imagePullSecrets", []):
        yield source, "Secret", secret["name"]
    if "serviceAccountName" in spec:
        yield source, "ServiceAccount", spec["serviceAccountName"]
    if "priorityClassName" in spec:
        yield source, "PriorityClass", spec["priorityClassName"]


def routed(objects: list[dict]) -> list[str]:
    """Routes use a port of the Service, and have no timeout that would end streams."""
    ports: dict[str, list] = {}
    for service in of_kind(objects, "Service"):
        ports[service["metadata"]["name"]] = [
            v for port in service["spec"]["ports"] for v in (port["name"], port["port"])
        ]
    problems = []
    for each in of_kind(objects, "Ingress"):
        for rule in each["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                if service["port"]["name"] not in ports.get(service["name"], []):
                    problems.append(f"{name(each)} goes to a port that does not exist")
    for each in of_kind(objects, "HTTPRoute"):
        for rule in each["spec"]["rules"]:
            if rule.get("timeouts") != {"request": "0s", "backendRequest": "0s"}:
                problems.append(f"{name(each)} has a time limit")
            for backend in rule["backendRefs"]:
                if backend["port"] not in ports.get(backend["name"], []):
                    problems.append(f"{name(each)} goes to a port that does not exist")
    return problems
