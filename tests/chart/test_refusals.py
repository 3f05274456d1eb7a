"""The chart refuses wrong values with a message that names the value and the fix.

Each file in wrong/ has one mistake and begins with `# says: …`, a part of the message. For errors
of the schema, it has two variants, because the versions of Helm use different words, and `# at: …`
names the value. `# lint: refuses` means that `helm lint` reports the mistake, too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import chart
from chart import HELMS, NEWEST, Refused
from objects import pods

WRONG = sorted((chart.HERE / "wrong").glob("*.yaml"))
LINTED = [file for file in WRONG if "# lint: refuses\n" in file.read_text()]


@pytest.mark.parametrize("file", WRONG, ids=lambda file: file.stem)
@pytest.mark.parametrize("version", HELMS)
def test_wrong_values_are_refused_with_a_message(file: Path, version: str) -> None:
    head = dict(re.findall(r"^# (at|says): (.*)$", file.read_text(), re.MULTILINE))
    with pytest.raises(Refused) as refused:
        chart.template(version, NEWEST, [chart.CHART, "--values", file])
    message = str(refused.value)
    assert any(variant in message for variant in head["says"].split(" | ")), message
    if place := head.get("at"):
        assert f"at '/{place.replace('.', '/')}'" in message or f"- {place}: " in message, message


@pytest.mark.parametrize("file", LINTED, ids=lambda file: file.stem)
@pytest.mark.parametrize("version", HELMS)
def test_lint_refuses_them_as_well(file: Path, version: str) -> None:
    """`helm lint` only logs `fail`."""
    [says] = re.findall(r"^# says: (.*)$", file.read_text(), re.MULTILINE)
    given = ["lint", chart.CHART, "--values", file, "--kube-version", chart.OLDEST]
    done = chart.run(chart.helm(version), *given)
    assert done.returncode != 0
    assert says in done.stdout, done.stdout + done.stderr


OLD = re.findall(
    r'^  "(\S+Key) (\S+)"$',
    (chart.CHART / "templates" / "_guards.tpl").read_text(),
    re.MULTILINE,
)


@pytest.mark.parametrize(("old", "new"), OLD)
def test_the_key_of_an_object_is_part_of_its_name(old: str, new: str) -> None:
    """The message has the new value, complete. The new value selects the key."""
    given = [*chart.arguments(chart.ci("standalone")), "--set", "auth.mode=validate"]
    # What a single value needs besides.
    given += ["--set", "upstream.scheme=https,tls.existingSecret=a,test.tls.serverName=a"]
    given += ["--set", "audit.volume.type=emptyDir,audit.retention=1d,redis.existingSecret=a"]
    given += ["--set", "audit.syslog=tls://a:1,audit.http.url=https://a,networkPolicy.enabled=false"]
    # With client certificates, there is no test pod.
    given += ["--set", "tls.clientCaConfigMap=a"] if new.startswith("tls.client") else []
    given += ["--set", f"{new}=object"]
    with pytest.raises(Refused) as refused:
        chart.template("4.2.3", NEWEST, [*given, "--set", f"{old}=my.key"])
    assert f"{old} has a new form. Set {new} to object/my.key instead" in str(refused.value)
    rendered = chart.parse(
        chart.template("4.2.3", NEWEST, [*given, "--set", f"{new}=object/my.key"])
    )
    sources = [
        volume.get("secret") or volume.get("configMap") or {}
        for pod in pods(rendered)
        for volume in pod.spec.get("volumes", [])
    ]
    named = [
        [item["key"] for item in each["items"]]
        for each in sources
        if each.get("secretName", each.get("name")) == "object"
    ]
    assert named == [["my.key"]]


def test_there_are_enough_cases() -> None:
    assert len(WRONG) >= 15
    assert len(LINTED) >= 15
    assert len(OLD) == 20


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("kubernetes", (chart.OLDEST, NEWEST))
def test_a_cluster_without_the_policy_api_is_refused(version: str, kubernetes: str) -> None:
    given = [chart.CHART, "--values", chart.ci("inject").files[0]]
    with pytest.raises(Refused) as refused:
        chart.template(version, kubernetes, given)
    assert f"this cluster (Kubernetes v{kubernetes}" in str(refused.value)
    assert "use mode sidecar instead" in str(refused.value)


def test_an_old_cluster_is_refused() -> None:
    with pytest.raises(Refused, match=r"incompatible with Kubernetes v1\.29"):
        chart.template("4.2.3", "1.29", [chart.CHART, "--values", chart.ci("standalone").files[0]])


NULLS = ("image", "keys.fileMode", "audit.volume", "metrics", "networkPolicy.clients", "test.labels")


@pytest.mark.parametrize("value", NULLS)
@pytest.mark.parametrize("version", HELMS)
def test_a_value_that_is_null_is_named(value: str, version: str) -> None:
    """Helm removes a value that is null. Templates that need it would fail in words of Go."""
    given = [*chart.arguments(chart.ci("standalone")), "--set", f"{value}=null"]
    with pytest.raises(Refused) as refused:
        chart.template(version, NEWEST, given)
    message = str(refused.value)
    assert value.rpartition(".")[2] in message, message
    assert re.search(r"missing property|missing properties|is required", message), message
    assert "nil pointer" not in message, message


def test_the_schema_has_no_patterns() -> None:
    """It would show the regular expression: texts have their forms in _forms.tpl."""
    assert '"pattern"' not in (chart.CHART / "values.schema.json").read_text()
