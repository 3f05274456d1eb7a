"""Checks that selectors match the intended pods and Services."""

from __future__ import annotations

from objects import gateways, name, of_kind, pods, selects

TEST = {"app.kubernetes.io/component": "test"}


def found(objects: list[dict]) -> list[str]:
    """Every selector matches a pod with the gateway, and does not match the pod of `helm test`."""
    problems = []
    for each, selector in _selectors(objects):
        hit = [pod for pod in gateways(objects) if selects(selector, pod.labels)]
        if not hit:
            problems.append(f"{each} selects no gateway")
        for pod in pods(objects):
            if pod.labels.items() >= TEST.items() and selects(selector, pod.labels):
                problems.append(f"{each} selects the test pod")
    return problems


def _selectors(objects: list[dict]):
    for each in objects:
        spec = each.get("spec") or {}
        match each["kind"]:
            case "Service":
                yield name(each), {"matchLabels": spec["selector"]}
            case "PodDisruptionBudget" | "PodMonitor":
                yield name(each), spec["selector"]
            case "NetworkPolicy" if not each["metadata"]["name"].endswith("-upstream"):
                yield name(each), spec["podSelector"]
            case "Deployment":
                yield name(each), spec["selector"]
                for spread in spec["template"]["spec"].get("topologySpreadConstraints", []):
                    yield f"{name(each)}'s spread", spread["labelSelector"]


def ports(objects: list[dict]) -> list[str]:
    """Services and monitors use ports of the container, and clients cannot reach metrics."""
    problems = []
    ports = {
        port["name"]: port["containerPort"]
        for pod in gateways(objects)
        for port in pod.gateway()["ports"]
    }
    names = set(ports)
    alone = bool(of_kind(objects, "Deployment")) and all(
        pod.gateway() in pod.spec["containers"] for pod in gateways(objects)
    )
    for service in of_kind(objects, "Service"):
        # By name, so that an update can change a number. Endpoints did not always resolve the names of a sidecar's ports (kubernetes#128850).
        targets = [port["targetPort"] for port in service["spec"]["ports"]]
        problems += [
            f"{name(service)} goes to port {target}, which is not a port of the gateway"
            for target in targets
            if target not in (names if alone else ports.values())
        ]
        served = {ports.get(target, target) for target in targets}
        if {ports["voxgate"], ports["voxgate-admin"]} <= served:
            problems.append(f"{name(service)} serves clients and metrics")
    for monitor in of_kind(objects, "ServiceMonitor"):
        services = [
            each
            for each in of_kind(objects, "Service")
            if selects(monitor["spec"]["selector"], each["metadata"]["labels"])
        ]
        offered = {port["name"] for service in services for port in service["spec"]["ports"]}
        wanted = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
        if len(services) != 1 or not wanted <= offered:
            problems.append(f"{name(monitor)} finds {sorted(offered)} in {len(services)} Services")
    for monitor in of_kind(objects, "PodMonitor"):
        wanted = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
        if not wanted <= names:
            problems.append(f"{name(monitor)} reads ports {sorted(wanted)}")
    return problems
