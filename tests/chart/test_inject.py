"""The policy of `mode: inject` changes pods as intended. Its CEL is evaluated."""

from __future__ import annotations

import json

import kubernetes_validate
import pytest
import yaml

import chart
import inject
from objects import of_kind

CASES = ("inject", "inject-full")


def policy(name: str) -> dict:
    [found] = of_kind(chart.objects(chart.ci(name)), "MutatingAdmissionPolicy")
    return found


def admitted(name: str) -> tuple[dict, dict]:
    """The two sample pods: the minimal one and the full one."""
    bare, rich = (inject.admit(policy(name), sample) for sample in inject.samples(policy(name)))
    return bare, rich


@pytest.mark.parametrize("name", CASES)
def test_the_sidecar_equals_the_one_of_mode_sidecar(name: str, tmp_path) -> None:
    values = chart.read(chart.ci(name).files[0])
    values.update(mode="sidecar")
    values["upstream"]["podLabels"] = {"app": "tts"}
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    rendered = chart.objects(chart.Case(f"{name} as a sidecar", (file,), "sidecar"))
    [deployment] = of_kind(rendered, "Deployment")
    expected = deployment["spec"]["template"]["spec"]
    bare, rich = admitted(name)
    assert bare["spec"]["initContainers"] == expected["initContainers"]
    assert bare["spec"]["volumes"] == expected["volumes"]
    assert rich["spec"]["initContainers"][0] == expected["initContainers"][0]
    assert rich["spec"]["volumes"][1:] == expected["volumes"]


@pytest.mark.parametrize("name", CASES)
def test_existing_fields_of_a_pod_are_kept(name: str) -> None:
    _, sample = inject.samples(policy(name))
    _, rich = admitted(name)
    assert rich["spec"]["initContainers"][1:] == sample["spec"]["initContainers"]
    assert rich["spec"]["volumes"][:1] == sample["spec"]["volumes"]
    for key in ("containers", "securityContext", "terminationGracePeriodSeconds"):
        assert rich["spec"][key] == sample["spec"][key]


def test_a_short_grace_period_is_extended_and_a_missing_group_is_set() -> None:
    bare, _ = admitted("inject")
    assert bare["spec"]["terminationGracePeriodSeconds"] == 45
    assert bare["spec"]["securityContext"] == {
        "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch",
    }
    open_files, _ = admitted("inject-full")
    assert open_files["spec"]["securityContext"] == {}
    sample, _ = inject.samples(policy("inject"))
    del sample["spec"]["securityContext"], sample["spec"]["terminationGracePeriodSeconds"]
    made = inject.admit(policy("inject"), sample)
    assert made["spec"]["securityContext"] == bare["spec"]["securityContext"]
    assert made["spec"]["terminationGracePeriodSeconds"] == 45


@pytest.mark.parametrize("name", CASES)
def test_pods_are_valid_and_changed_once(name: str) -> None:
    for pod in admitted(name):
        kubernetes_validate.validate(json.loads(json.dumps(pod)), chart.NEWEST, strict=True)
        assert inject.admit(policy(name), pod) == pod


def test_other_pods_are_unchanged() -> None:
    sample, _ = inject.samples(policy("inject"))
    sample["metadata"]["labels"] = {"voxgate/inject": "disabled"}
    assert inject.admit(policy("inject"), sample) == sample


def test_a_type_at_the_wrong_path_is_refused() -> None:
    value = 'Object.spec.initContainers{name: "x"}'
    wrong = f'[JSONPatch{{op: "add", path: "/spec/volumes/-", value: {value}}}]'
    with pytest.raises(inject.Misplaced, match=r"spec\.initContainers at Object\.spec\.volumes"):
        inject.patch(wrong, {})
    with pytest.raises(Exception, match="no such member"):
        inject.patch("object.spec.nothing", {"spec": {}})
