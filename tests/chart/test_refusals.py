"""What the chart refuses, and whether it says why so that somebody can mend it.

Each file in wrong/ begins with `# says: …`: what Helm says, or two variants where its versions have
words of their own for what a schema refuses. `# at: …` before it is the value that they blame. The
rest would render if it were not for the one mistake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import chart
from chart import HELMS, NEWEST, Refused

WRONG = sorted((chart.HERE / "wrong").glob("*.yaml"))


@pytest.mark.parametrize("file", WRONG, ids=lambda file: file.stem)
@pytest.mark.parametrize("version", HELMS)
def test_wrong_values_are_refused_in_words(file: Path, version: str) -> None:
    head = dict(re.findall(r"^# (at|says): (.*)$", file.read_text(), re.MULTILINE))
    with pytest.raises(Refused) as refused:
        chart.template(version, NEWEST, [chart.CHART, "--values", file])
    message = str(refused.value)
    assert any(variant in message for variant in head["says"].split(" | ")), message
    if place := head.get("at"):
        assert f"at '/{place.replace('.', '/')}'" in message or f"- {place}: " in message, message


def test_there_are_enough() -> None:
    assert len(WRONG) >= 15


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("kubernetes", (chart.OLDEST, NEWEST))
def test_a_cluster_without_the_policy_is_told_so(version: str, kubernetes: str) -> None:
    given = [chart.CHART, "--values", chart.ci("inject").files[0]]
    with pytest.raises(Refused) as refused:
        chart.template(version, kubernetes, given)
    assert f"this cluster (Kubernetes v{kubernetes}" in str(refused.value)
    assert "use mode sidecar instead" in str(refused.value)


def test_an_old_cluster_is_refused() -> None:
    with pytest.raises(Refused, match=r"incompatible with Kubernetes v1\.29"):
        chart.template("4.2.3", "1.29", [chart.CHART, "--values", chart.ci("standalone").files[0]])
