"""The validating policy of `mode: inject` refuses labelled pods without the gateway. Its CEL is evaluated."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

import chart
import inject
from objects import of_kind

CASES = ("inject", "inject-full", "inject-volumes")
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def policies(name: str) -> tuple[dict, dict]:
    rendered = chart.objects(chart.ci(name))
    [changes] = of_kind(rendered, "MutatingAdmissionPolicy")
    [checks] = of_kind(rendered, "ValidatingAdmissionPolicy")
    return changes, checks


def gateway(pod: dict) -> dict:
    return pod["spec"]["initContainers"][0]


def admitted(name: str) -> list[dict]:
    changes, _ = policies(name)
    return [inject.admit(changes, sample) for sample in inject.samples(changes)]


@pytest.mark.parametrize("name", CASES)
def test_changed_pods_are_accepted_and_others_refused(name: str) -> None:
    changes, checks = policies(name)
    for pod in admitted(name):
        assert inject.refusals(checks, pod) == []
    for sample in inject.samples(changes):
        assert any("no init container voxgate" in each for each in inject.refusals(checks, sample))
        sample["metadata"]["labels"] = {"app": "tts"}
        assert inject.refusals(checks, sample) == []


def test_both_policies_cover_the_same_pods() -> None:
    for name in CASES:
        rendered = chart.objects(chart.ci(name))
        changes, checks = policies(name)
        selector = "objectSelector"
        assert changes["spec"]["matchConstraints"][selector] == (
            checks["spec"]["matchConstraints"][selector]
        )
        [one] = of_kind(rendered, "MutatingAdmissionPolicyBinding")
        [other] = of_kind(rendered, "ValidatingAdmissionPolicyBinding")
        assert one["spec"]["matchResources"] == other["spec"]["matchResources"]
        assert other["spec"]["validationActions"] == ["Deny"]


BROKEN: dict[str, tuple[str, Callable[[dict], object]]] = {
    "another image": ("must have the image", lambda p: gateway(p).update(image="busybox:1")),
    "another tag": ("must have the image", lambda p: gateway(p).update(image="voxgate:0.0.1")),
    "not a sidecar": ("restartPolicy Always", lambda p: gateway(p).pop("restartPolicy")),
    "another command": ("no command", lambda p: gateway(p).update(command=["sleep"])),
    "other arguments": ("argument serve", lambda p: gateway(p).update(args=["version"])),
    "no arguments": ("argument serve", lambda p: gateway(p).pop("args")),
    "variables of a ConfigMap": (
        "no envFrom",
        lambda p: gateway(p).update(envFrom=[{"configMapRef": {"name": "open"}}]),
    ),
    "a changed setting": (
        "settings of the release",
        lambda p: gateway(p)["env"][-1].update(value="other"),
    ),
    "a missing setting": ("settings of the release", lambda p: gateway(p)["env"].pop()),
    "a repeated setting": (
        "settings of the release",
        lambda p: gateway(p)["env"].append({"name": "VOXGATE_MODE", "value": "preconfigured"}),
    ),
    "a further setting": (
        "settings of the release",
        lambda p: gateway(p)["env"].append({"name": "VOXGATE_OTHER", "value": "on"}),
    ),
    "a setting from a ConfigMap": (
        "settings of the release",
        lambda p: gateway(p)["env"].append(
            {"name": "VOXGATE_OTHER", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}
        ),
    ),
    "no settings": ("settings of the release", lambda p: gateway(p).pop("env")),
    "a token": (
        "must not mount a token",
        lambda p: gateway(p)["volumeMounts"].append({"name": "token", "mountPath": TOKEN}),
    ),
    "the node's network": ("node's network", lambda p: p["spec"].update(hostNetwork=True)),
    "Windows": ("Linux only", lambda p: p["spec"].update(os={"name": "windows"})),
    "a Windows node": (
        "Linux only",
        lambda p: p["spec"].update(nodeSelector={"kubernetes.io/os": "windows"}),
    ),
    "a used port": (
        "a port of the gateway (8080, 8081)",
        lambda p: p["spec"]["containers"][0].update(ports=[{"containerPort": 8081}]),
    ),
    "no init containers": (
        "no init container voxgate",
        lambda p: p["spec"].pop("initContainers"),
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_pod_is_refused(fault: str) -> None:
    says, breaks = BROKEN[fault]
    _, checks = policies("inject")
    pod = admitted("inject")[0]
    breaks(pod)
    said = inject.refusals(checks, pod)
    assert len(said) == 1, said
    assert says in said[0]


def test_the_port_of_the_authorizer_is_the_gateway_s_as_well() -> None:
    given = [*chart.arguments(chart.ci("inject")), *chart.ci("inject").cluster]
    given += ["--set", "authorizer.enabled=true,proxies.trusted={10.0.0.0/8}"]
    rendered = chart.parse(chart.template("4.2.3", chart.NEWEST, given))
    [changes] = of_kind(rendered, "MutatingAdmissionPolicy")
    [checks] = of_kind(rendered, "ValidatingAdmissionPolicy")
    pod = inject.admit(changes, inject.samples(changes)[0])
    assert inject.refusals(checks, pod) == []
    pod["spec"]["containers"][0]["ports"] = [{"containerPort": 8082}]
    [said] = inject.refusals(checks, pod)
    assert "ports.http, ports.admin and authorizer.port" in said


@pytest.mark.parametrize(
    "change",
    (
        lambda p: p["spec"].update(hostNetwork=False, os={"name": "linux"}),
        lambda p: p["spec"].update(nodeSelector={"kubernetes.io/os": "linux", "a": "b"}),
        lambda p: p["spec"]["containers"][0].update(ports=[{"containerPort": 8000}]),
        # Other admission code adds variables and defaults.
        lambda p: gateway(p)["env"].append({"name": "HTTP_PROXY", "value": "http://proxy:3128"}),
        lambda p: gateway(p).update(terminationMessagePath="/dev/termination-log"),
    ),
)
def test_a_pod_with_other_fields_is_accepted(change: Callable[[dict], object]) -> None:
    _, checks = policies("inject")
    pod = admitted("inject")[0]
    change(pod)
    assert inject.refusals(checks, pod) == []


def test_a_name_alone_is_not_taken_for_the_gateway() -> None:
    """The mutating policy leaves the pod as it is, and the validating policy refuses it."""
    changes, checks = policies("inject")
    sample, _ = inject.samples(changes)
    sample["spec"]["initContainers"] = [{"name": "voxgate", "image": "busybox:1"}]
    assert inject.admit(changes, sample) == sample
    assert any("must have the image" in each for each in inject.refusals(checks, sample))


def test_updates_of_old_pods_are_accepted_and_new_labels_refused() -> None:
    changes, checks = policies("inject")
    without, _ = inject.samples(changes)
    # A pod from before the installation: a controller removes its finalizer.
    changed = copy.deepcopy(without)
    changed["metadata"]["finalizers"] = []
    assert inject.refusals(checks, changed, without) == []
    unlabelled = copy.deepcopy(without)
    unlabelled["metadata"].pop("labels")
    assert any("no init" in each for each in inject.refusals(checks, without, unlabelled))
    relabelled = copy.deepcopy(without)
    relabelled["metadata"]["labels"] = {"voxgate/inject": "disabled"}
    assert inject.refusals(checks, without, relabelled)
    # Removing the label is allowed: the Service then no longer selects the pod.
    assert inject.refusals(checks, unlabelled, without) == []
    # A pod that is being deleted.
    gone = copy.deepcopy(without)
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert inject.refusals(checks, gone, unlabelled) == []


def test_an_update_of_the_image_is_checked() -> None:
    _, checks = policies("inject")
    pod = admitted("inject")[0]
    old = copy.deepcopy(pod)
    gateway(old)["image"] = "voxgate:0.0.1"
    noted = copy.deepcopy(old)
    noted["metadata"]["annotations"]["a"] = "b"
    assert inject.refusals(checks, noted, old) == []
    assert inject.refusals(checks, pod, old) == []
    other = copy.deepcopy(pod)
    gateway(other)["image"] = "busybox:1"
    assert any("must have the image" in each for each in inject.refusals(checks, other, pod))


def test_labels_annotations_and_pull_secrets_reach_the_pod() -> None:
    changes, _ = policies("inject-volumes")
    for pod in admitted("inject-volumes"):
        assert pod["metadata"]["labels"]["team.example/cost"] == "voice"
        assert pod["metadata"]["annotations"]["sidecar.example/note"] == 'a "quoted" note'
        assert {"name": "registry-login"} in pod["spec"]["imagePullSecrets"]
        assert (
            pod["metadata"]["annotations"]["checksum/voxgate-config"]
            == changes["metadata"]["annotations"]["checksum/voxgate-config"]
        )
    sample, _ = inject.samples(changes)
    sample["metadata"]["labels"]["team.example/cost"] = "speech"
    sample["metadata"]["annotations"] = {"own": "kept"}
    sample["spec"]["imagePullSecrets"] = [{"name": "own"}]
    made = inject.admit(changes, sample)
    assert made["metadata"]["labels"]["team.example/cost"] == "speech"
    assert made["metadata"]["annotations"]["own"] == "kept"
    assert [each["name"] for each in made["spec"]["imagePullSecrets"]] == ["own", "registry-login"]


@pytest.mark.parametrize("name", (*CASES, "sidecar"))
def test_the_gateway_gets_no_token(name: str) -> None:
    if name == "sidecar":
        [deployment] = of_kind(chart.objects(chart.ci(name)), "Deployment")
        made = [deployment["spec"]["template"]]
    else:
        made = admitted(name)
    for pod in made:
        [mount] = [each for each in gateway(pod)["volumeMounts"] if each["mountPath"] == TOKEN]
        [volume] = [each for each in pod["spec"]["volumes"] if each["name"] == mount["name"]]
        assert "emptyDir" in volume
        assert mount["readOnly"] is True


FOLDER = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
SCHEMAS = json.loads((FOLDER / f"v{chart.NEWEST}.0-local" / "_definitions.json").read_text())[
    "$defs"
]


def filled(schema: dict, name: str = "") -> object:
    """A value with every field that the schema has."""
    if reference := schema.get("$ref"):
        return filled(SCHEMAS[reference.rpartition("/")[2]], name)
    if "properties" in schema:
        return {key: filled(each, key) for key, each in schema["properties"].items()}
    if "additionalProperties" in schema:
        return {"free.example/key": filled(schema["additionalProperties"])}
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = next(each for each in kind if each != "null")
    if kind == "array":
        return [filled(schema["items"])]
    return {"boolean": True, "integer": 288}.get(kind, 'a "text" of ' + name)


def test_every_field_of_a_volume_survives_the_policy(tmp_path) -> None:
    sources = filled(SCHEMAS["io.k8s.api.core.v1.Volume"])
    sources.pop("name")
    volumes = [{"name": key.lower(), key: value} for key, value in sources.items()]
    assert len(volumes) > 25
    values = chart.read(chart.ci("inject").files[0])
    values["extraVolumes"] = volumes
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    rendered = chart.objects(
        chart.Case("every volume", (file,), "inject", ("--api-versions", chart.POLICY_API))
    )
    [changes] = of_kind(rendered, "MutatingAdmissionPolicy")
    sample, _ = inject.samples(changes)
    made = inject.admit(changes, sample)["spec"]["volumes"][-len(volumes) :]
    assert json.loads(json.dumps(made)) == volumes
