"""The packaged chart, and values that platforms set for all charts."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

import chart
from objects import containers, gateways, of_kind, pods


@pytest.mark.parametrize("version", chart.HELMS)
def test_the_package_has_what_users_need_and_no_tests(version: str, tmp_path) -> None:
    done = chart.run(chart.helm(version), "package", chart.CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.glob("voxgate-*.tgz")
    with tarfile.open(package) as archive:
        names = {name.removeprefix("voxgate/") for name in archive.getnames()}
    assert not any(name.startswith("ci/") for name in names)
    wanted = {"Chart.yaml", "README.md", "values.yaml", "values.schema.json", "icon.svg"}
    presets = {f"presets/{file.name}" for file in chart.CHART.glob("presets/*.yaml")}
    assert wanted | presets <= names
    given = [package, "--values", chart.ci("standalone").files[0]]
    rendered = chart.parse(chart.template(version, chart.NEWEST, given))
    assert rendered == chart.objects(chart.ci("standalone"), version)


def packed(version: str, folder: Path, when: str) -> Path:
    """A package of a copy of the chart, whose files have another time than those of the chart."""
    copy = folder / "helm"
    shutil.copytree(chart.CHART, copy)
    for number, file in enumerate(sorted(copy.rglob("*"))):
        os.utime(file, (number, 86400 * number))
    done = subprocess.run(
        [chart.ROOT / "scripts" / "package-chart.sh", copy, folder / "dist"],
        env={**os.environ, "HELM": str(chart.helm(version)), "SOURCE_DATE_EPOCH": when},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [package] = (folder / "dist").glob("voxgate-*.tgz")
    assert done.stdout.strip() == str(package)
    return package


@pytest.mark.parametrize("version", chart.HELMS)
def test_a_package_is_reproducible(version: str, tmp_path) -> None:
    one = packed(version, tmp_path / "one", "1700000000")
    two = packed(version, tmp_path / "two", "1700000000")
    later = packed(version, tmp_path / "later", "1800000000")
    digests = [hashlib.sha256(each.read_bytes()).hexdigest() for each in (one, two, later)]
    assert digests[0] == digests[1] != digests[2]
    given = [one, "--values", chart.ci("standalone").files[0]]
    rendered = chart.parse(chart.template(version, chart.NEWEST, given))
    assert rendered == chart.objects(chart.ci("standalone"), version)


def test_the_chart_names_its_home_and_its_icon() -> None:
    about = chart.read(chart.CHART / "Chart.yaml")
    assert about["home"] in about["sources"]
    assert about["maintainers"]
    assert (chart.ROOT / about["icon"].partition("/main/")[2]).is_file()


def test_openshift_assigns_all_ids() -> None:
    for pod in pods(chart.objects(chart.ci("openshift"))):
        for each in (pod.spec, *containers(pod.spec)):
            context = each.get("securityContext", {})
            assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context), pod.name
        assert pod.spec["securityContext"]["runAsNonRoot"] is True


def test_a_global_registry_replaces_the_image_s_own() -> None:
    rendered = chart.objects(chart.ci("openshift"))
    for pod in pods(rendered):
        ours = [each for each in containers(pod.spec) if each["name"] != "wait"]
        assert ours
        for each in ours:
            assert each["image"].startswith("mirror.example/platform/voxgate:")
        assert pod.spec["imagePullSecrets"] == [{"name": "registry-login"}]
    given = [*chart.arguments(chart.ci("openshift")), "--set", "global.imageRegistry="]
    [pod] = gateways(chart.parse(chart.template("4.2.3", chart.NEWEST, given)))
    assert pod.gateway()["image"].startswith("registry.example/platform/voxgate:")


@pytest.mark.parametrize("secrets", ("{a,b}", "[{name: a}, {name: b}]"))
def test_global_pull_secrets_have_two_forms(secrets: str) -> None:
    given = chart.arguments(chart.ci("image"))
    if secrets.startswith("{"):
        given += ["--set", f"global.imagePullSecrets={secrets}"]
    else:
        given += ["--set-json", 'global.imagePullSecrets=[{"name":"a"},{"name":"b"}]']
    [pod] = gateways(chart.parse(chart.template("4.2.3", chart.NEWEST, given)))
    names = [each["name"] for each in pod.spec["imagePullSecrets"]]
    assert names == ["registry-login", "a", "b"]


def test_common_labels_reach_pods_and_a_pod_label_wins() -> None:
    [pod] = gateways(chart.objects(chart.ci("openshift")))
    assert pod.labels["team"] == "speech"
    [deployment] = of_kind(chart.objects(chart.ci("openshift")), "Deployment")
    assert deployment["metadata"]["labels"]["team"] == "voice"
    assert "team" not in deployment["spec"]["selector"]["matchLabels"]


def test_fields_of_probes_and_contexts_replace_the_chart_s() -> None:
    given = [
        *chart.arguments(chart.ci("openshift")),
        *("--set", "securityContext.runAsUser=1000,podSecurityContext.fsGroup=2000"),
        *("--set", "autoscaling.enabled=true"),
        *("--set", "autoscaling.behavior.scaleDown.stabilizationWindowSeconds=900"),
    ]
    rendered = chart.parse(chart.template("4.2.3", chart.NEWEST, given))
    [pod] = gateways(rendered)
    gateway = pod.gateway()
    assert gateway["securityContext"]["runAsUser"] == 1000
    assert gateway["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod.spec["securityContext"]["fsGroup"] == 2000
    assert gateway["readinessProbe"]["periodSeconds"] == 2
    assert gateway["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert gateway["startupProbe"]["failureThreshold"] == 300
    [scaler] = of_kind(rendered, "HorizontalPodAutoscaler")
    down = scaler["spec"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 900
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]
