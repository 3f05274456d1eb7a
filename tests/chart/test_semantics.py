"""What has to hold of every render, and that each check sees it when it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import chart
from chart import Case, cases
from checks import network, pods, references, secrets, selectors

Check = Callable[[list[dict]], list[str]]


def named(objects: list[dict]) -> list[str]:
    return references.kept(objects, chart.existing())


CHECKS: tuple[Check, ...] = (
    pods.admitted,
    pods.hardened,
    pods.probed,
    pods.ends_in_time,
    pods.updated_gently,
    selectors.found,
    selectors.ports,
    secrets.mounted,
    secrets.unhashed,
    network.closed,
    network.reachable,
    named,
    references.mounts,
    references.routed,
)


@pytest.mark.parametrize("case", cases(), ids=str)
def test_nothing_is_wrong(case: Case) -> None:
    objects = chart.objects(case)
    assert [problem for check in CHECKS for problem in check(objects)] == []


def get(objects: list[dict], kind: str, name: str = "") -> dict:
    return next(each for each in objects if each["kind"] == kind and name in each["metadata"]["name"])


def spec(objects: list[dict], kind: str = "Deployment") -> dict:
    found = get(objects, kind)["spec"]
    return found["template"]["spec"] if "template" in found else found


def first(objects: list[dict], kind: str = "Deployment") -> dict:
    return spec(objects, kind)["containers"][0]


def drop(mapping: dict, key: str) -> None:
    del mapping[key]


def setting(container: dict, name: str, value: str) -> None:
    next(each for each in container["env"] if each["name"] == name)["value"] = value


# Each plants one fault into a render that is right: (check, case, what is done, what is said of it).
PLANTED: tuple[tuple[Check, str, Callable[[list[dict]], object], str], ...] = (
    (pods.admitted, "standalone", lambda o: first(o)["securityContext"].update(privileged=True), "privileged"),
    (pods.admitted, "helm-test", lambda o: drop(first(o, "Pod"), "securityContext"), "does not drop ALL"),
    (pods.hardened, "standalone", lambda o: drop(spec(o), "automountServiceAccountToken"), "mounts a token"),
    (pods.hardened, "standalone", lambda o: spec(o, "Pod").update(enableServiceLinks=True), "service links"),
    (pods.hardened, "standalone", lambda o: drop(spec(o)["securityContext"], "fsGroup"), "cannot read secrets"),
    (pods.hardened, "standalone", lambda o: drop(first(o), "resources"), "requests no resources"),
    (pods.hardened, "standalone", lambda o: first(o)["securityContext"].update(readOnlyRootFilesystem=False), "write"),
    (pods.hardened, "standalone", lambda o: first(o)["securityContext"].update(runAsUser=1000), "65532"),
    (pods.hardened, "standalone", lambda o: first(o).update(image="registry:5000/voxgate"), "neither tag"),
    (pods.probed, "standalone", lambda o: first(o)["livenessProbe"]["httpGet"].update(port="voxgate"), "livenessProbe"),
    (pods.probed, "standalone", lambda o: drop(first(o), "readinessProbe"), "readinessProbe"),
    (pods.probed, "standalone", lambda o: setting(first(o), "VOXGATE_LISTEN", "0.0.0.0:1"), "not the port voxgate"),
    (pods.ends_in_time, "standalone", lambda o: spec(o).update(terminationGracePeriodSeconds=35), "grace of 35 s"),
    (pods.updated_gently, "autoscaling", lambda o: get(o, "Deployment")["spec"].update(replicas=2), "an autoscaler"),
    (
        pods.updated_gently,
        "standalone",
        lambda o: get(o, "Deployment")["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1),
        "takes pods away",
    ),
    (
        pods.updated_gently,
        "standalone",
        lambda o: get(o, "Deployment")["spec"].update(strategy={"type": "Recreate"}),
        "takes pods away",
    ),
    (
        pods.updated_gently,
        "autoscaling",
        lambda o: drop(get(o, "HorizontalPodAutoscaler")["spec"]["behavior"], "scaleDown"),
        "scales down fast",
    ),
    (selectors.found, "standalone", lambda o: get(o, "Service")["spec"].update(selector={"app": "x"}), "selects no"),
    (
        selectors.found,
        "standalone",
        lambda o: drop(get(o, "Service")["spec"]["selector"], "app.kubernetes.io/component"),
        "selects the test pod",
    ),
    (
        selectors.found,
        "sidecar",
        lambda o: get(o, "Deployment", "tts")["spec"]["template"]["metadata"].update(labels={}),
        "selects no",
    ),
    (selectors.ports, "standalone", lambda o: get(o, "Service")["spec"]["ports"][0].update(targetPort="x"), "port x"),
    (
        selectors.ports,
        "standalone",
        lambda o: get(o, "Service")["spec"]["ports"].append({"name": "m", "targetPort": "voxgate-admin"}),
        "clients and metrics",
    ),
    (
        selectors.ports,
        "service-monitor",
        lambda o: get(o, "ServiceMonitor")["spec"]["endpoints"][0].update(port="http"),
        "ServiceMonitor/",
    ),
    (
        selectors.ports,
        "pod-monitor",
        lambda o: get(o, "PodMonitor")["spec"]["podMetricsEndpoints"][0].update(port="x"),
        "PodMonitor/",
    ),
    (
        secrets.mounted,
        "standalone",
        lambda o: first(o)["volumeMounts"][0].update(subPath="keys.toml"),
        "subPath",
    ),
    (secrets.mounted, "standalone", lambda o: first(o)["volumeMounts"][0].update(readOnly=False), "can be written"),
    (secrets.mounted, "standalone", lambda o: drop(spec(o)["volumes"][0]["secret"], "defaultMode"), "has mode 644"),
    (secrets.mounted, "sidecar", lambda o: drop(spec(o)["securityContext"], "fsGroup"), "no fsGroup"),
    (
        secrets.mounted,
        "sidecar-full",
        lambda o: first(o).update(volumeMounts=[{"name": "voxgate-keys", "mountPath": "/k"}]),
        "mounted by",
    ),
    (
        secrets.mounted,
        "standalone",
        lambda o: first(o)["env"].append({"name": "K", "valueFrom": {"secretKeyRef": {}}}),
        "K holds a secret",
    ),
    (secrets.mounted, "standalone", lambda o: first(o).update(envFrom=[{"secretRef": {}}]), "holds a secret"),
    (
        secrets.unhashed,
        "inline-keys",
        lambda o: get(o, "Deployment")["spec"]["template"]["metadata"]["annotations"].update({"checksum/keys": "x"}),
        "checksum/keys",
    ),
    (
        secrets.unhashed,
        "sidecar",
        lambda o: drop(get(o, "Deployment")["spec"]["template"]["metadata"], "annotations"),
        "checksums []",
    ),
    (network.closed, "standalone", lambda o: drop(get(o, "NetworkPolicy")["spec"]["ingress"][0], "from"), "everybody"),
    (network.closed, "standalone", lambda o: drop(get(o, "NetworkPolicy")["spec"]["egress"][1], "to"), "everybody"),
    (network.closed, "standalone", lambda o: get(o, "NetworkPolicy")["spec"]["policyTypes"].pop(), "has the types"),
    (
        network.closed,
        "lock-upstream",
        lambda o: get(o, "NetworkPolicy", "-upstream")["spec"]["policyTypes"].append("Egress"),
        "has the types",
    ),
    (
        network.closed,
        "lock-upstream",
        lambda o: get(o, "NetworkPolicy", "-upstream")["spec"].update(podSelector={}),
        "about every pod",
    ),
    (network.reachable, "standalone", lambda o: get(o, "NetworkPolicy")["spec"]["ingress"].pop(0), "keeps clients"),
    (network.reachable, "inject", lambda o: get(o, "NetworkPolicy")["spec"]["ingress"].pop(0), "keeps clients"),
    (network.reachable, "lock-upstream", lambda o: setting(first(o), "VOXGATE_UPSTREAM", "http://a:9"), "ports [9]"),
    (named, "standalone", lambda o: spec(o)["volumes"][0]["secret"].update(secretName="x"), "Secret x"),
    (named, "policy", lambda o: o.remove(get(o, "ConfigMap")), "ConfigMap rel-voxgate-policy"),
    (named, "audit-pvc", lambda o: o.remove(get(o, "PersistentVolumeClaim")), "PersistentVolumeClaim"),
    (named, "policy-existing", lambda o: spec(o)["volumes"][1]["configMap"]["items"][0].update(key="x"), "wants x"),
    (named, "image", lambda o: spec(o)["imagePullSecrets"][0].update(name="x"), "Secret x"),
    (named, "scheduling", lambda o: spec(o).update(serviceAccountName="x"), "ServiceAccount x"),
    (named, "scheduling", lambda o: spec(o).update(priorityClassName="x"), "PriorityClass x"),
    (named, "autoscaling", lambda o: o.remove(get(o, "Deployment")), "Deployment"),
    (named, "ingress", lambda o: o.remove(get(o, "Service")), "Ingress/"),
    (named, "ingress-secret", lambda o: spec(o, "Ingress")["tls"][0].update(secretName="x"), "Secret x"),
    (named, "httproute", lambda o: spec(o, "HTTPRoute")["parentRefs"][0].update(name="x"), "Gateway x"),
    (named, "gateway", lambda o: drop(get(o, "Gateway")["metadata"], "annotations"), "Secret rel-voxgate-tls"),
    (named, "httproute", lambda o: o.remove(get(o, "Service")), "HTTPRoute/"),
    (named, "inject", lambda o: spec(o, "MutatingAdmissionPolicyBinding").update(policyName="x"), "Policy x"),
    (references.mounts, "standalone", lambda o: spec(o).update(volumes=[]), "no volume voxgate-keys"),
    (references.mounts, "standalone", lambda o: first(o).update(volumeMounts=[]), "nobody mounts"),
    (references.mounts, "standalone", lambda o: spec(o)["volumes"].append(spec(o)["volumes"][0]), "twice"),
    (
        references.mounts,
        "standalone",
        lambda o: first(o)["volumeMounts"].append(first(o)["volumeMounts"][0]),
        "two mounts",
    ),
    (
        references.routed,
        "ingress",
        lambda o: get(o, "Service")["spec"]["ports"][0].update(name="x"),
        "Ingress/rel-voxgate goes to a port",
    ),
    (references.routed, "httproute", lambda o: get(o, "Service")["spec"]["ports"][0].update(port=1), "HTTPRoute/"),
    (references.routed, "httproute", lambda o: drop(spec(o, "HTTPRoute")["rules"][0], "timeouts"), "time limit"),
)


@pytest.mark.parametrize(("check", "name", "plant", "said"), PLANTED)
def test_a_planted_fault_is_found(check: Check, name: str, plant: Callable, said: str) -> None:
    objects = chart.objects(chart.ci(name))
    assert check(objects) == []
    plant(objects)
    assert any(said in problem for problem in check(objects)), check(objects)


def test_every_check_has_a_planted_fault() -> None:
    assert {check for check, *_ in PLANTED} == set(CHECKS)

