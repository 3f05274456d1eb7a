"""Odd names are kept or refused: names that look like numbers, and invalid names of a Service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import chart
from chart import NEWEST, OLDEST, Refused
from objects import gateways

# All numbers of the chart are smaller. All names in odd-names.yaml are larger.
LARGEST = 100_000


def render(release: str, namespace: str, *given: object, kubernetes: str = NEWEST) -> list[dict]:
    command = [chart.helm("4.2.3"), "template", release, chart.CHART, *given]
    done = chart.run(*command, "--namespace", namespace, "--kube-version", kubernetes)
    if done.returncode:
        raise Refused(done.stderr)
    return chart.parse(done.stdout)


def numbers(value: object, place: str) -> Iterator[str]:
    """The places at which a name became a number."""
    if isinstance(value, dict):
        for key, each in value.items():
            assert isinstance(key, str), place
            yield from numbers(each, f"{place}.{key}")
    elif isinstance(value, list):
        for each in value:
            yield from numbers(each, place)
    elif isinstance(value, (int, float)) and value > LARGEST:
        yield f"{place}: {value}"


@pytest.mark.parametrize("kubernetes", (OLDEST, NEWEST))
def test_a_name_that_looks_like_a_number_stays_text(kubernetes: str) -> None:
    values = chart.HERE / "odd-names.yaml"
    objects = render("200001", "200002", "--values", values, kubernetes=kubernetes)
    for each in objects:
        assert list(numbers(each, each["kind"])) == []
        assert each["metadata"]["name"].startswith("true")
        if not each["apiVersion"].startswith(("monitoring.", "gateway.")):
            chart.kubernetes_validate.validate(each, kubernetes, strict=True)
    [pod] = gateways(objects)
    volumes = {each["name"]: each for each in pod.spec["volumes"]}
    assert volumes["voxgate-redis"]["secret"]["items"] == [{"key": "null", "path": "null"}]
    assert volumes["voxgate-redis-ca"]["configMap"]["name"] == "0x100013"


def test_a_number_is_found() -> None:
    assert list(numbers({"a": [{"b": 100_001}]}, "X")) == ["X.a.b: 100001"]


def test_a_label_of_one_object_overrides_common_labels() -> None:
    """The strict parser refuses a repeated label."""
    values = chart.ci("alerts").files[0]
    shared = {"commonLabels.release": "all", "dashboard.labels.release": "grafana"}
    given = [part for key, value in shared.items() for part in ("--set-string", f"{key}={value}")]
    labels = {
        each["kind"]: each["metadata"]["labels"]["release"]
        for each in render("rel", "tts", "--values", values, *given)
        if each["kind"] in ("Deployment", "PrometheusRule", "ConfigMap")
    }
    assert labels == {"Deployment": "all", "PrometheusRule": "prometheus", "ConfigMap": "grafana"}
