"""What NetworkPolicies let through."""

from __future__ import annotations

from urllib.parse import urlsplit

import chart
from objects import Pod, env, gateways, name, of_kind, selects

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


def needed(objects: list[dict]) -> list[str]:
    """Where the gateway is closed in, it resolves names, reaches Redis and who gets copies, and is
    asked for metrics by whom a monitor tells to."""
    problems = []
    monitored = bool(of_kind(objects, "ServiceMonitor", "PodMonitor"))
    for pod in gateways(objects):
        admin = int(env(pod.gateway())["VOXGATE_ADMIN_LISTEN"].rpartition(":")[2])
        for policy in of_kind(objects, "NetworkPolicy"):
            spec = policy["spec"]
            if not selects(spec["podSelector"], pod.labels):
                continue
            if monitored and admin not in _ports(spec.get("ingress")):
                problems.append(f"{name(policy)} keeps Prometheus from {pod.name}")
            if "Egress" not in spec["policyTypes"]:
                continue
            for protocol in ("UDP", "TCP"):
                if not _ports(spec.get("egress"), protocol) & {53, 5353}:
                    problems.append(f"{name(policy)} keeps {pod.name} from names by {protocol}")
            for url in _others(pod, objects):
                port = urlsplit(url).port or {"https": 443, "http": 80}[urlsplit(url).scheme]
                if port not in _ports(spec.get("egress")):
                    problems.append(f"{name(policy)} keeps {pod.name} from port {port}")
    return problems


def locked(objects: list[dict]) -> list[str]:
    """Whoever is let through the lock comes from the gateway, or to the gateway's own ports."""
    problems = []
    for policy in of_kind(objects, "NetworkPolicy"):
        if not policy["metadata"]["name"].endswith(LOCK):
            continue
        for rule in policy["spec"]["ingress"]:
            strangers = [
                peer for peer in rule["from"] if not peer.get("podSelector", {}).get("matchLabels")
            ]
            if strangers and not rule.get("ports"):
                problems.append(f"{name(policy)} lets strangers in to every port")
            for pod in gateways(objects):
                beyond = _ports([rule]) & upstream_ports(pod.gateway())
                if beyond and selects(policy["spec"]["podSelector"], pod.labels):
                    problems.append(f"{name(policy)} opens the server's ports {sorted(beyond)}")
    return problems


def _others(pod: Pod, objects: list[dict]) -> list[str]:
    """The URLs of Redis and of the receivers of copies."""
    settings = env(pod.gateway())
    urls = [settings.get(f"VOXGATE_AUDIT_{name}", "") for name in ("SYSLOG", "HTTP")]
    for volume in pod.spec["volumes"]:
        if volume["name"] == "voxgate-redis":
            secret = next(
                each
                for each in [*objects, *chart.existing()]
                if each["metadata"]["name"] == volume["secret"]["secretName"]
            )
            urls += [secret["stringData"][item["key"]] for item in volume["secret"]["items"]]
    return [url for url in urls if url]


def _ports(rules: list[dict] | None, protocol: str = "TCP") -> set[int]:
    return {
        port["port"]
        for rule in rules or []
        for port in rule.get("ports", [])
        if port.get("protocol", "TCP") == protocol
    }


def upstream_ports(gateway: dict) -> set[int]:
    entries = env(gateway)["VOXGATE_UPSTREAM"].split(",")
    urls = [entry.partition("=")[2] if entry.startswith("/") else entry for entry in entries]
    return {urlsplit(url).port for url in urls}
