"""The notes that are printed after an installation."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

import chart
from chart import HELMS, Case

# `helm template` omits the notes. A template that includes them renders them.
SHOW = '{{ dict "notes" (include (print .Template.BasePath "/NOTES.txt") .) | toYaml }}\n'


@cache
def noted() -> Path:
    folder = chart.WORK / "noted"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(chart.CHART, folder)
    (folder / "templates" / "notes.yaml").write_text(SHOW)
    return folder


def notes(case: Case, version: str = "4.2.3", *given: str) -> str:
    values = [part for file in case.files for part in ("--values", file)]
    shown = ["--show-only", "templates/notes.yaml"]
    text = chart.template(version, chart.NEWEST, [noted(), *values, *case.cluster, *shown, *given])
    [found] = chart.parse(text)
    return found["notes"]


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize(
    ("name", "command"),
    (
        ("standalone", "helm test rel --namespace tts"),
        ("sidecar", '{{- include "voxgate.sidecar.container" .Subcharts.voxgate | nindent 4 }}'),
        ("inject", '"tts-label":"on"'),
    ),
)
def test_the_next_command_matches_the_mode(version: str, name: str, command: str) -> None:
    text = notes(chart.ci(name), version, "--set", "inject.label=tts-label,inject.labelValue=on")
    assert command in text
    assert "WARNING" not in text


def test_a_warning_names_open_access() -> None:
    assert "WARNING: callers need no key" in notes(chart.ci("preconfigured"))
    assert "creates no NetworkPolicy" not in notes(chart.ci("preconfigured"))
    assert "creates no NetworkPolicy" in notes(
        chart.ci("preconfigured"), "4.2.3", "--set", "networkPolicy.enabled=false"
    )


def test_a_note_names_unused_keys() -> None:
    assert "keys in these values are not used" in notes(chart.ci("both-kinds"))
    assert "are not used" not in notes(chart.ci("preconfigured"))


def test_a_warning_names_keys_in_values() -> None:
    assert "WARNING: keys.inline is for trials" in notes(chart.ci("inline-keys"))
    assert "only-for-a-trial" not in notes(chart.ci("inline-keys"))


def test_a_note_names_limits_of_each_replica() -> None:
    told = "each replica applies limits and quotas for itself"
    assert told in notes(chart.ci("standalone"))
    for settings in ("replicaCount=1", "limits.perReplica=true", "redis.existingSecret=limits-redis"):
        assert told not in notes(chart.ci("standalone"), "4.2.3", "--set", settings)
    for name in ("sidecar", "inject"):
        assert told not in notes(chart.ci(name))


def test_a_note_names_access_that_bypasses_the_gateway() -> None:
    assert "without the gateway" in notes(chart.ci("standalone"))
    assert "without the gateway" not in notes(chart.ci("lock-upstream"))


def test_a_note_names_a_service_that_external_clients_cannot_reach() -> None:
    told = "allows only pods of the namespace tts"
    assert told not in notes(chart.ci("standalone"))
    outside = ("--set", "service.type=LoadBalancer")
    assert told in notes(chart.ci("standalone"), "4.2.3", *outside)
    named = "networkPolicy.clients[0].ipBlock.cidr=203.0.113.0/24"
    assert told not in notes(chart.ci("standalone"), "4.2.3", *outside, "--set", named)


def test_a_warning_names_an_ingress_without_tls() -> None:
    assert "no TLS" in notes(chart.ci("ingress"), "4.2.3", "--set", "ingress.tls.clusterIssuer=")
    assert "no TLS" not in notes(chart.ci("ingress"))
