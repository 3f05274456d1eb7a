"""The alerts fire when they must, and each has instructions in the runbook."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

import chart
from objects import of_kind
from test_dashboard import rules

RUNBOOK = (chart.ROOT / "docs" / "RUNBOOK.md").read_text()
TESTS = yaml.safe_load((chart.HERE / "alerts_test.yaml").read_text())


@pytest.mark.parametrize("version", chart.HELMS)
def test_the_rules_pass_promtool(version: str) -> None:
    """Without promtool, the test is added to the list of skipped checks."""
    rendered = chart.WORK / f"alerts-{version}.yaml"
    rendered.write_text(yaml.safe_dump_all(chart.objects(chart.ci("alerts"), version)))
    script = [str(chart.HERE / "alerts.sh"), str(rendered)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_firing_and_silent() -> None:
    checks = [check for test in TESTS["tests"] for check in test["alert_rule_test"]]
    fires = {check["alertname"] for check in checks if check["exp_alerts"]}
    silent = {check["alertname"] for check in checks if not check["exp_alerts"]}
    assert fires == silent == {rule["alert"] for rule in rules()}


def test_every_alert_names_its_release() -> None:
    """Alertmanager treats alerts with the same labels as one, even if their releases differ."""
    for test in TESTS["tests"]:
        for check in test["alert_rule_test"]:
            for alert in check["exp_alerts"]:
                assert {"namespace", "job"} <= alert["exp_labels"].keys(), check["alertname"]


def test_every_alert_has_a_severity_and_a_runbook_section() -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule
        notes = rule["annotations"]
        assert notes["summary"] and notes["description"], rule
        assert notes["runbook_url"].endswith(f"RUNBOOK.md#{rule['alert'].lower()}"), rule
        section = sections.pop(rule["alert"])
        assert "**Means:**" in section or "**Look and do:**" in section, rule["alert"]
    assert sections == {}


def test_values_set_severities_and_labels() -> None:
    def severities(name: str) -> dict[str, str]:
        [found] = of_kind(chart.objects(chart.ci(name)), "PrometheusRule")
        given = [rule for group in found["spec"]["groups"] for rule in group["rules"]]
        assert all(("team" in rule["labels"]) == (name == "annotations") for rule in given)
        return {rule["alert"]: rule["labels"]["severity"] for rule in given}

    before, after = severities("alerts"), severities("annotations")
    assert after["VoxgateKeysExpire"] == "ticket" and after["VoxgateReplicaDown"] == "page"
    others = before.keys() - {"VoxgateKeysExpire", "VoxgateReplicaDown"}
    for alert in others:
        assert after[alert] == {"critical": "page"}.get(before[alert], before[alert]), alert
    assert {"critical", "warning", "info"} == {before[alert] for alert in others}


def test_the_runbook_url_is_set_by_the_values() -> None:
    values = chart.CHART / "ci" / "alerts-values.yaml"
    place = "https://wiki.example/voxgate"
    given = [chart.CHART, "--values", values, "--set", f"alerts.runbookUrl={place}"]
    rendered = chart.template("4.2.3", chart.NEWEST, given)
    assert rendered.count(f"runbook_url: {place}#voxgate") == len(rules())
