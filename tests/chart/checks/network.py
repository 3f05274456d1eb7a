"""What NetworkPolicies let through."""

from __future__ import annotations

from urllib.parse import urlsplit

from objects import env, gateways, name, of_kind, selects

LOCK = "-upstream"


def closed(objects: list[dict]) -> list[str]:
    """A rule without a peer would be for everybody, a policy without its types would not bind, and
    one without labels would bind the whole namespace."""
    problems = []
    for policy in of_kind(objects, "NetworkPolicy"):
        spec = policy["spec"]
        expected = (
            ["Ingress"] if policy["metadata"]["name"].endswith(LOCK) else ["Ingress", "Egress"]
        )
        if spec.get("policyTypes") != expected:
            problems.append(
                f"{name(policy)} has the types {spec.get('policyTypes')}, not {expected}"
            )
        if not spec["podSelector"].get("matchLabels"):
            problems.append(f"{name(policy)} is about every pod")
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for rule in spec.get(direction) or []:
                if not rule.get(peers):
                    problems.append(f"{name(policy)} has an {direction} rule for everybody")
    return problems


def reachable(objects: list[dict]) -> list[str]:
    """Where the gateway is closed in, clients reach its port, and it reaches its upstream's."""
    problems = []
    for pod in gateways(objects):
        port = int(env(pod.gateway())["VOXGATE_LISTEN"].rpartition(":")[2])
        for policy in of_kind(objects, "NetworkPolicy"):
            spec = policy["spec"]
            if not selects(spec["podSelector"], pod.labels):
                continue
            if port not in _ports(spec.get("ingress")):
                problems.append(f"{name(policy)} keeps clients from {pod.name}")
            beyond = upstream_ports(pod.gateway()) - _ports(spec.get("egress"))
            if "Egress" in spec["policyTypes"] and beyond:
                problems.append(
                    f"{name(policy)} keeps {pod.name} from the upstream's ports {sorted(beyond)}"
                )
    return problems


def _ports(rules: list[dict] | None) -> set[int]:
    return {port["port"] for rule in rules or [] for port in rule.get("ports", [])}


def upstream_ports(gateway: dict) -> set[int]:
    entries = env(gateway)["VOXGATE_UPSTREAM"].split(",")
    urls = [entry.partition("=")[2] if entry.startswith("/") else entry for entry in entries]
    return {urlsplit(url).port for url in urls}
