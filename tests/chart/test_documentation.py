"""README, schema, comments and values agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import chart
import documentation

SCHEMA = json.loads((chart.CHART / "values.schema.json").read_text())
README = documentation.README.read_text()


def test_the_table_matches_the_values() -> None:
    _, inside, _ = documentation.parts()
    assert inside == documentation.table(), "run: python3 tests/chart/documentation.py"


def leaves(values: dict, known: set[str], prefix: str = "") -> Iterator[str]:
    """The values that can be set. A documented map counts as one value."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value and path not in known:
            yield from leaves(value, known, f"{path}.")
        else:
            yield path


def test_every_value_is_documented() -> None:
    known = documentation.documented()
    assert set(leaves(chart.read(chart.CHART / "values.yaml"), set(known))) == set(known)
    assert all(len(meaning) > 5 for meaning in known.values())


def resolved(schema: dict) -> dict:
    if "$ref" in schema:
        return resolved(SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]])
    return schema


def properties(schema: dict, known: set[str], prefix: str = "") -> Iterator[str]:
    for key, each in schema["properties"].items():
        path = f"{prefix}{key}"
        if path not in known and "properties" in resolved(each):
            yield from properties(resolved(each), known, f"{path}.")
        else:
            yield path


def test_the_schema_has_exactly_the_values() -> None:
    known = set(documentation.documented())
    assert set(properties(SCHEMA, known)) == known


def objects(schema: object, path: str = "") -> Iterator[tuple[str, dict]]:
    """Every schema of an object, with its path."""
    if isinstance(schema, dict):
        if "object" in (schema.get("type") or []):
            yield path, schema
        for key, each in schema.items():
            yield from objects(
                each, f"{path}/{key}" if key not in ("properties", "items") else path
            )
    elif isinstance(schema, list):
        for each in schema:
            yield from objects(each, path)


# Types of Kubernetes, which Kubernetes validates.
FOREIGN = {
    "/global",
    "/autoscaling/behavior",
    "/dnsConfig",
    "/podSecurityContext",
    "/securityContext",
    "/startupProbe",
    "/readinessProbe",
    "/livenessProbe",
    "/extraInitContainers",
    "/affinity",
    "/metrics/tlsConfig",
    "/extraEnv/valueFrom",
    "/extraVolumes",
    "/extraVolumeMounts",
    "/extraContainers",
    "/extraObjects",
    "/definitions/objects",
}


def test_the_schema_is_strict() -> None:
    """An object allows only its listed properties, or is a map with one type of value."""
    open_to_anything = {path for path, each in objects(SCHEMA) if not is_strict(each)}
    assert open_to_anything == FOREIGN


def is_strict(schema: dict) -> bool:
    more = schema.get("additionalProperties", True)
    return more is False if "properties" in schema else isinstance(more, dict)


def test_no_value_has_a_conditional_schema() -> None:
    """Helm's messages for these name neither the mistake nor the fix: the templates refuse such values."""
    words = {"anyOf", "oneOf", "not", "if", "then", "else", "dependencies"}

    def conditions(schema: object, path: str = "") -> Iterator[str]:
        if isinstance(schema, dict):
            yield from (path for key in schema if key in words)
            for key, each in schema.items():
                yield from conditions(each, f"{path}/{key}")

    # A name, or an object with it, as in other charts.
    assert set(conditions(SCHEMA)) == {"/properties/global/properties/imagePullSecrets/items"}


SHARES = {"maxUnavailable", "maxSurge"}


def numbers(schema: dict, prefix: str = "") -> Iterator[str]:
    for key, each in schema.get("properties", {}).items():
        # Texts of the two others are shares, whose form is in _forms.tpl.
        if each.get("type") == ["integer", "string"] and key not in SHARES:
            yield f"{prefix}{key} {each['minimum']} {each['maximum']}"
        yield from numbers(each, f"{prefix}{key}.")


def test_the_template_knows_every_number_that_may_be_empty() -> None:
    guards = (chart.CHART / "templates" / "_guards.tpl").read_text()
    listed = re.findall(r'^  "(\S+ \d+ \d+)"$', guards, re.MULTILINE)
    assert listed == list(numbers(SCHEMA))
    assert len(listed) > 25


def test_the_documented_snippet_for_other_charts_is_tested() -> None:
    """Each line of the README's example is in the parent chart of the tests."""
    [example] = re.findall(r"```yaml\n# templates/deployment\.yaml.*?\n(.*?)```", README, re.DOTALL)
    fixture = (chart.HERE / "parent" / "templates" / "deployment.yaml").read_text()
    lines = [line.strip() for line in example.splitlines() if "include" in line]
    assert len(lines) == 6
    for line in lines:
        assert line in fixture, line


def test_every_setting_of_the_gateway_can_be_set() -> None:
    """Except secrets in plain text, because the chart mounts Secrets, and the permissions of Unix
    sockets, because the gateway listens on ports."""
    reference = (chart.ROOT / "docs" / "reference" / "settings.md").read_text()
    settings = re.findall(r"^\| `([A-Z_]+)` \|", reference, re.MULTILINE)
    templates = "".join(file.read_text() for file in chart.CHART.glob("templates/_*.tpl"))
    offered = set(re.findall(r'"((?:VOXGATE_)?[A-Z_]+)"', templates))
    missing = {setting for setting in settings if setting not in offered}
    missing.remove("VOXGATE_LISTEN_MODE")
    assert missing == {setting for setting in settings if f"{setting}_FILE" in settings}
    assert settings, "no table of settings"


def test_every_ci_file_and_preset_is_unique() -> None:
    files = [*chart.CHART.glob("ci/*.yaml"), *chart.CHART.glob("presets/*.yaml")]
    texts = [json.dumps(chart.read(file), sort_keys=True) for file in files]
    assert len(set(texts)) == len(texts) > 30
