"""The dashboard uses metrics that the gateway exports, and applies its variables."""

from __future__ import annotations

import json
import re
from itertools import combinations

import pytest

import chart
from dashboard import exported, expressions, names, told

# Labels that Prometheus adds.
TARGET = {"namespace", "instance", "job"}
VARIABLES = ('namespace=~"$namespace"', 'instance=~"$instance"')


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return TARGET | exported(told(tmp_path_factory.mktemp("gateway")))


def dashboard() -> dict:
    """The dashboard as Grafana receives it."""
    objects = chart.objects(chart.ci("alerts"))
    [text] = [
        each["data"]["voxgate.json"]
        for each in objects
        if each["kind"] == "ConfigMap" and "voxgate.json" in each["data"]
    ]
    return json.loads(text)


def rules() -> list[dict]:
    objects = chart.objects(chart.ci("alerts"))
    [rule] = [each for each in objects if each["kind"] == "PrometheusRule"]
    return [each for group in rule["spec"]["groups"] for each in group["rules"]]


def unknown(queries: list[str], known: set[str]) -> dict[str, set[str]]:
    """Queries with names that are not exported, and these names."""
    return {query: names(query) - known for query in queries if names(query) - known}


def unbound(panels: list[dict]) -> list[str]:
    """Selectors without a variable, and queries with a fixed data source."""
    problems = []
    for panel in panels:
        for target in panel.get("targets", []):
            if target["datasource"]["uid"] != "${datasource}":
                problems.append(f"{panel['title']}: a data source of its own")
            for metric in re.findall(r"\bvoxgate_\w+(?:\{[^}]*\})?", target["expr"]):
                if not all(variable in metric for variable in VARIABLES):
                    problems.append(f"{panel['title']}: {metric}")
    return problems


def overlaps(panels: list[dict]) -> list[tuple[str, str]]:
    def over(one: dict, other: dict) -> bool:
        return all(
            one[start] < other[start] + other[length] and other[start] < one[start] + one[length]
            for start, length in (("x", "w"), ("y", "h"))
        )

    return [
        (one["title"], other["title"])
        for one, other in combinations(panels, 2)
        if over(one["gridPos"], other["gridPos"])
    ]


def test_every_metric_and_label_is_one_that_the_gateway_exports(known: set[str]) -> None:
    assert unknown(list(expressions(dashboard())), known) == {}
    assert unknown([rule["expr"] for rule in rules()], known) == {}


def test_names_that_are_not_exported_are_found(known: set[str]) -> None:
    for wrong, named in (
        # Without the suffix that Prometheus requires.
        ("rate(voxgate_decisions{}[5m])", "voxgate_decisions"),
        ("sum(voxgate_nothing_total)", "voxgate_nothing_total"),
        ("sum by (outcome, why) (voxgate_decisions_total)", "why"),
        ('voxgate_keys{host=~"a"}', "host"),
    ):
        assert unknown([wrong, "voxgate_keys"], known) == {wrong: {named}}


def test_every_query_applies_the_variables() -> None:
    shown = dashboard()
    assert [each["name"] for each in shown["templating"]["list"]] == [
        "datasource",
        "namespace",
        "instance",
    ]
    assert unbound(shown["panels"]) == []


def test_a_query_without_the_variables_is_found() -> None:
    for find, put in (
        ("$namespace", "tts"),
        (", instance=~", ", pod=~"),
        ("${datasource}", "prom"),
    ):
        planted = json.loads(json.dumps(dashboard()).replace(find, put))
        assert unbound(planted["panels"]), find


def test_panels_have_unique_ids_and_places() -> None:
    panels = dashboard()["panels"]
    identifiers = [panel["id"] for panel in panels]
    assert len(set(identifiers)) == len(identifiers) > 20
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert overlaps(panels) == []
    panels[5]["gridPos"] = panels[4]["gridPos"]
    assert overlaps(panels) == [(panels[4]["title"], panels[5]["title"])]


def test_every_metric_in_the_reference_is_exported(known: set[str]) -> None:
    reference = (chart.ROOT / "docs" / "reference" / "metrics.md").read_text()
    listed = {
        name
        for row in re.findall(r"^\| (`voxgate_.*?) \|", reference, re.MULTILINE)
        for name in re.findall(r"`(voxgate_\w+)", row)
    }
    assert len(listed) > 15
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known}
    assert listed - families == set()
