"""Changes that restart pods, changes that do not, and no generated values in a render."""

from __future__ import annotations

import re

import pytest

import chart
from objects import of_kind

GENERATING = (
    r"\b(rand\w*|gen(CA|PrivateKey|SelfSigned|Signed)\w*"
    r"|derivePassword|uuidv4|lookup|now|htpasswd|bcrypt)\b"
)


def deployment(name: str, **settings: str) -> dict:
    """The Deployment of a CI case with some values replaced."""
    given = [
        part
        for key, value in settings.items()
        for part in ("--set-string", f"{key.replace('__', '.')}={value}")
    ]
    objects = chart.parse(
        chart.template("4.2.3", chart.NEWEST, [*chart.arguments(chart.ci(name)), *given])
    )
    [found] = of_kind(objects, "Deployment")
    return found


def test_a_rotated_key_restarts_no_pod() -> None:
    assert deployment("inline-keys") == deployment(
        "inline-keys", keys__inline="another-key-Gh5jK8lM2n"
    )


@pytest.mark.parametrize(
    ("name", "changed"),
    (
        ("policy", {"policy__inline": "# no rules"}),
        ("standalone", {"log__filter": "debug"}),
        ("standalone", {"upstream__host": "other"}),
    ),
)
def test_another_configuration_restarts_pods(name: str, changed: dict[str, str]) -> None:
    def checksum(found: dict) -> str:
        return found["spec"]["template"]["metadata"]["annotations"]["checksum/voxgate-config"]

    assert checksum(deployment(name)) != checksum(deployment(name, **changed))
    assert checksum(deployment(name)) == checksum(deployment(name, commonLabels__a="b"))


def test_nothing_is_generated() -> None:
    for file in chart.CHART.glob("templates/*"):
        actions = re.findall(r"\{\{(?!-?\s*/\*).*?\}\}", file.read_text(), re.DOTALL)
        code = re.sub(r'"[^"]*"', '""', " ".join(actions))
        assert not re.search(GENERATING, code), file.name


def test_generating_functions_are_found() -> None:
    assert re.search(GENERATING, "{{ randAlphaNum 32 }}")
    assert re.search(GENERATING, '{{ (lookup "v1" "Secret" "ns" "name") }}')
