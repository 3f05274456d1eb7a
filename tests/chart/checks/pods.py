"""Checks of pods: pods with the gateway, and other pods of the chart."""

from __future__ import annotations

from objects import OURS, Pod, containers, env, of_kind, pods

from . import pod_security, secrets

PREFIX = "app.kubernetes.io/name"


def admitted(objects: list[dict]) -> list[str]:
    """Pod Security `restricted` admits every pod."""
    return [
        f"{pod.name}: {why}"
        for pod in pods(objects)
        for why in pod_security.problems(pod.metadata, pod.spec)
    ]


def hardened(objects: list[dict]) -> list[str]:
    """Rules beyond `restricted` for the chart's containers and pods."""
    found = []
    for pod in pods(objects):
        assigned = secrets.assigned(pod.spec)
        own = pod.labels.get(PREFIX) is not None
        found += [f"{pod.name}: {why}" for why in _of_pod(pod.spec) if own]
        for container in containers(pod.spec):
            if container["name"] == OURS or own:
                found += [
                    f"{pod.name}, {container['name']}: {why}"
                    for why in _of_container(container, assigned)
                ]
    return found


def _of_pod(spec: dict):
    if spec.get("automountServiceAccountToken") is not False:
        yield "mounts a token"
    if spec.get("enableServiceLinks") is not False:
        yield "has service links, which are VOXGATE_ variables"
    if spec.get("securityContext", {}).get("fsGroup", 65532) != 65532:
        yield "has a group that is not the gateway's"


def _of_container(container: dict, assigned: bool):
    if not container.get("resources", {}).get("requests"):
        yield "requests no resources"
    context = container.get("securityContext", {})
    if container["name"] != OURS and "probe" not in container.get("args", []):
        return  # a user's container, from `extraContainers`
    if context.get("readOnlyRootFilesystem") is not True:
        yield "can write to its root"
    if not assigned and (context.get("runAsUser"), context.get("runAsGroup")) != (65532, 65532):
        yield "does not run as 65532"
    image = container["image"]
    if "@sha256:" not in image and ":" not in image.rsplit("/", 1)[-1]:
        yield f"image {image} has neither tag nor digest"


def probed(objects: list[dict]) -> list[str]:
    """Probes use only the admin port, over TLS if it speaks TLS."""
    found = []
    for pod in pods(objects):
        gateway = pod.gateway()
        names = {each["name"] for each in gateway["env"]} if gateway else set()
        tls = {"scheme": "HTTPS"} if "VOXGATE_ADMIN_TLS_CERT_FILE" in names else {}
        for kind, path in (
            ("startupProbe", "/livez"),
            ("readinessProbe", "/readyz"),
            ("livenessProbe", "/livez"),
        ):
            if gateway and gateway.get(kind, {}).get("httpGet") != {
                "path": path,
                "port": "voxgate-admin",
                **tls,
            }:
                found.append(f"{pod.name}: {kind} does not request {path} on the admin port")
        if gateway:
            ports = {each["name"]: each["containerPort"] for each in gateway["ports"]}
            for name, variable in (
                ("voxgate", "VOXGATE_LISTEN"),
                ("voxgate-admin", "VOXGATE_ADMIN_LISTEN"),
            ):
                if env(gateway)[variable].rpartition(":")[2] != str(ports[name]):
                    found.append(f"{pod.name}: {variable} is not the port {name}")
    return found


def ends_in_time(objects: list[dict]) -> list[str]:
    """A pod's grace period is longer than its pause and its drain together."""
    return [f"{pod.name}: {why}" for pod in pods(objects) for why in _grace(pod)]


def _grace(pod: Pod):
    gateway = pod.gateway()
    if gateway is None:
        return
    sleep = gateway.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = int(env(gateway)["VOXGATE_DRAIN_SECONDS"])
    grace = pod.spec.get("terminationGracePeriodSeconds", 30)
    if grace <= sleep + drain:
        yield f"grace of {grace} s, but it pauses for {sleep} s and drains for {drain} s"


def updated_gently(objects: list[dict]) -> list[str]:
    """Updates remove no pod before another is ready. With an autoscaler, `replicas` is not set."""
    found = []
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]
        for each in of_kind(objects, "HorizontalPodAutoscaler")
    }
    for each in of_kind(objects, "Deployment"):
        name = each["metadata"]["name"]
        if name in scaled and "replicas" in each["spec"]:
            found.append(f"{name} has replicas, and an autoscaler")
        strategy = each["spec"].get("strategy", {})
        alone = strategy.get("type") == "Recreate"
        gentle = strategy.get("rollingUpdate", {}).get("maxUnavailable") == 0
        if (
            PREFIX in each["metadata"].get("labels", {})
            and not gentle
            and not (alone and _one_writer(each, objects))
        ):
            found.append(f"{name} removes pods during an update")
    for each in of_kind(objects, "HorizontalPodAutoscaler"):
        down = each["spec"].get("behavior", {}).get("scaleDown", {})
        if (
            down.get("stabilizationWindowSeconds", 0) < 300
            or down.get("policies", [{}])[0].get("value") != 1
        ):
            found.append(f"{each['metadata']['name']} scales down fast")
    return found


def _one_writer(deployment: dict, objects: list[dict]) -> bool:
    """Whether the pod has a claim that two pods cannot mount, as far as the render shows."""
    spec = deployment["spec"]
    claims = [each.get("persistentVolumeClaim") for each in spec["template"]["spec"]["volumes"]]
    return spec.get("replicas") == 1 and any(claims)
