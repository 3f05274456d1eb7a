"""Generates the table of values in the chart's README from values.yaml. The comment above a value
begins with `# --` and may continue on further lines. Run this file to update the table."""

from __future__ import annotations

import json
import re
from functools import reduce
from operator import getitem
from pathlib import Path

import yaml

HELM = Path(__file__).resolve().parents[2] / "helm"
README = HELM / "README.md"
BEGIN, END = (
    "<!-- values: generated from values.yaml by tests/chart/documentation.py -->\n",
    "<!-- end of values -->",
)


def documented() -> dict[str, str]:
    """The path of each value that has a comment, and the comment."""
    found: dict[str, str] = {}
    path: list[str] = []
    comment = ""
    for line in (HELM / "values.yaml").read_text().splitlines():
        if match := re.match(r"\s*# -- (.*)$", line):
            comment = match[1]
        elif comment and (match := re.match(r"\s*# (.*)$", line)):
            comment += f" {match[1]}"
        elif match := re.match(r"( *)([A-Za-z]\w*):", line):
            path = [*path[: len(match[1]) // 2], match[2]]
            if comment:
                found[".".join(path)] = comment
            comment = ""
    return found


def table() -> str:
    rows = ["| value | meaning | default |", "|---|---|---|"]
    defaults = yaml.safe_load((HELM / "values.yaml").read_text())
    for path, meaning in documented().items():
        value = reduce(getitem, path.split("."), defaults)
        shown = (
            ""
            if value in ("", [], {})
            else f"`{value if isinstance(value, str) else json.dumps(value)}`"
        )
        rows.append(f"| `{path}` | {meaning} | {shown} |".replace("|  |", "| |"))
    return "\n".join(rows) + "\n"


def parts() -> tuple[str, str, str]:
    """The README before the table, the table, and what comes after it."""
    before, rest = README.read_text().split(BEGIN)
    inside, after = rest.split(END)
    return before + BEGIN, inside, END + after


if __name__ == "__main__":
    head, _, tail = parts()
    README.write_text(head + table() + tail)
