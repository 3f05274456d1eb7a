"""Every case renders to the same valid objects, with both versions of Helm and with the oldest and
the newest Kubernetes."""

from __future__ import annotations

import copy
import json
import subprocess
from functools import cache

import kubernetes_validate
import pytest

import chart
from chart import HELMS, NEWEST, OLDEST, Case, Refused, cases
from objects import of_kind

OTHERS = ("monitoring.coreos.com/", "gateway.networking.k8s.io/")
# Kubernetes 1.30 has no MutatingAdmissionPolicy; test_refusals.py tests its message.
VERSIONS = {"inject": (NEWEST,), "standalone": (OLDEST, NEWEST), "sidecar": (OLDEST, NEWEST)}


@pytest.mark.parametrize("case", cases(), ids=str)
@pytest.mark.parametrize("version", HELMS)
def test_lint_passes(case: Case, version: str) -> None:
    done = chart.run(
        chart.helm(version), "lint", "--strict", *chart.arguments(case), "--kube-version", OLDEST
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout, done.stdout


@pytest.mark.parametrize("case", cases(), ids=str)
def test_both_helm_versions_render_the_same(case: Case) -> None:
    for kubernetes in VERSIONS[case.mode]:
        first, *others = [by_name(chart.objects(case, version, kubernetes)) for version in HELMS]
        assert first, "nothing was rendered"
        for other in others:
            assert other == first


def by_name(objects: list[dict]) -> dict[tuple, dict]:
    """Objects by name, because Helm does not sort unknown kinds consistently."""
    named = {(each["apiVersion"], each["kind"], each["metadata"]["name"]): each for each in objects}
    assert len(named) == len(objects), "two objects have one name"
    return named


@pytest.mark.parametrize("case", cases(), ids=str)
def test_objects_are_valid(case: Case) -> None:
    for kubernetes in VERSIONS[case.mode]:
        for each in chart.objects(case, kubernetes=kubernetes):
            if not each["apiVersion"].startswith(OTHERS):
                validate(json.dumps(each, sort_keys=True), kubernetes)


@cache
def validate(each: str, kubernetes: str) -> None:
    kubernetes_validate.validate(json.loads(each), kubernetes, strict=True)


@pytest.mark.parametrize("kubernetes", (OLDEST, NEWEST))
def test_an_unknown_field_of_kubernetes_is_found(kubernetes: str) -> None:
    [service] = of_kind(chart.objects(chart.ci("standalone")), "Service")
    service["spec"]["selectr"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="selectr"):
        validate(json.dumps(service), kubernetes)


def test_custom_resources_are_valid() -> None:
    """Validates custom resources with the types of their vendors, in one run because it is slow."""
    found = [
        each
        for case in cases()
        for each in chart.objects(case)
        if each["apiVersion"].startswith(OTHERS)
    ]
    kinds = {each["kind"] for each in found}
    assert kinds == {"Gateway", "HTTPRoute", "PodMonitor", "PrometheusRule", "ServiceMonitor"}
    assert complaints(found) == []


def test_an_unknown_field_of_a_custom_resource_is_found() -> None:
    monitor = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": "wrong"},
        "spec": {"selector": {}, "endpoints": [{"port": "x", "intervall": "30s"}]},
    }
    another = copy.deepcopy(monitor)
    another["spec"]["endpoints"] = [{"port": "x", "interval": "30q"}]
    unknown, unreadable = sorted(complaints([monitor, another]), key=len)
    assert "intervall" in unknown
    assert "interval must match pattern" in unreadable


def complaints(objects: list[dict]) -> list[str]:
    program = ["node", chart.HERE / "crds.mjs", chart.MODULES]
    done = subprocess.run(
        program, input=json.dumps(objects), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("version", ("v1", "v1beta1"))
def test_the_policy_has_the_api_version_of_the_cluster(version: str) -> None:
    api = f"admissionregistration.k8s.io/{version}"
    given = [
        chart.CHART,
        "--values",
        chart.ci("inject").files[0],
        "--api-versions",
        f"{api}/MutatingAdmissionPolicy",
    ]
    objects = chart.parse(
        chart.template("4.2.3", "1.34" if version == "v1beta1" else NEWEST, given)
    )
    policies = [each for each in objects if each["kind"].startswith("MutatingAdmissionPolicy")]
    assert [each["apiVersion"] for each in policies] == [api, api]
    for each in policies:
        validate(json.dumps(each), "1.34" if version == "v1beta1" else NEWEST)


def test_repeated_keys_and_refusals_are_errors() -> None:
    with pytest.raises(Exception, match="repeated keys"):
        chart.parse("a: 1\na: 2\n")
    with pytest.raises(Refused, match="No keys are set"):
        chart.template("4.2.3", NEWEST, [chart.CHART])
