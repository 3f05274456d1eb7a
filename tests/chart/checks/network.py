"""Checks of NetworkPolicies."""

from __future__ import annotations

from urllib.parse import urlsplit

import chart
from objects import Pod, env, gateways, name, of_kind, selects

LOCK = "-upstream"


def closed(objects: list[dict]) -> list[str]:
    """Every rule has peers, because a rule without peers allows all. Every policy has its types, so
    that it has an effect, and labels, so that it does not select the whole namespace."""
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
            problems.append(f"{name(policy)} selects every pod")
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for rule in spec.get(direction) or []:
                if not rule.get(peers):
                    problems.append(f"{name(policy)} has an {direction} rule without peers")
    return problems


def reachable(objects: list[dict]) -> list[str]:
    """Policies for the gateway allow clients to reach it, and allow it to reach its upstreams."""
    problems = []
    for pod in gateways(objects):
        port = int(env(pod.gateway())["VOXGATE_LISTEN"].rpartition(":")[2])
        for policy in of_kind(objects, "NetworkPolicy"):
            spec = policy["spec"]
            if not selects(spec["podSelector"], pod.labels):
                continue
            if port not in _ports(spec.get("ingress")):
                problems.append(f"{name(policy)} blocks clients of {pod.name}")
            beyond = upstream_ports(pod.gateway()) - _ports(spec.get("egress"))
            if "Egress" in spec["policyTypes"] and beyond:
                problems.append(
                    f"{name(policy)} blocks {pod.name} from the upstream's ports {sorted(beyond)}"
                )
    return problems


def needed(objects: list[dict]) -> list[str]:
    """Policies for the gateway allow DNS, Redis and the receivers of audit copies. If there is a
    monitor, they allow Prometheus."""
    problems = []
    monitored = bool(of_kind(objects, "ServiceMonitor", "PodMonitor"))
    for pod in gateways(objects):
        admin = int(env(pod.gateway())["VOXGATE_ADMIN_LISTEN"].rpartition(":")[2])
        for policy in of_kind(objects, "NetworkPolicy"):
            spec = policy["spec"]
            if not selects(spec["podSelector"], pod.labels):
                continue
            if monitored and admin not in _ports(spec.get("ingress")):
                problems.append(f"{name(policy)} blocks Prometheus from {pod.name}")
            if "Egress" not in spec["policyTypes"]:
                continue
            for protocol in ("UDP", "TCP"):
                if not _ports(spec.get("egress"), protocol) & {53, 5353}:
                    problems.append(f"{name(policy)} blocks {pod.name} from DNS over {protocol}")
            for url in _others(pod, objects):
                port = urlsplit(url).port or {"https": 443, "http": 80}[urlsplit(url).scheme]
                if port not in _ports(spec.get("egress")):
                    problems.append(f"{name(policy)} blocks {pod.name} from port {port}")
    return problems


def locked(objects: list[dict]) -> list[str]:
    """The lock allows only traffic from the gateway, or to the gateway's ports."""
    problems = []
    for policy in of_kind(objects, "NetworkPolicy"):
        if not policy["metadata"]["name"].endswith(LOCK):
            continue
        for rule in policy["spec"]["ingress"]:
            unknown = [
                peer for peer in rule["from"] if not peer.get("podSelector", {}).get("matchLabels")
            ]
            if unknown and not rule.get("ports"):
                problems.append(f"{name(policy)} allows unknown peers on every port")
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
