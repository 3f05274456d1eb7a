"""Checks that run nothing: links, anchors, settings, and the length of the README."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pages import Page, read

README_LINES = 150
# Pages whose links are checked, but whose blocks are not run.
OTHERS = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "examples/compose/README.md",
    "helm/README.md",
)
SETTING = re.compile(r"\b(VOXGATE_[A-Z0-9_]*[A-Z0-9]|[A-Z]+_API_KEY(?:_FILE)?)\b(?![_*])")


def problems(root: Path, pages: list[Page], known: set[str]) -> Iterator[str]:
    others = [read(root / name) for name in OTHERS if (root / name).exists()]
    for page in pages + others:
        for line, target in page.links:
            if why := broken(page, target, root):
                yield f"{place(root, page, line)}: {target}: {why}"
    for page in pages:
        for line, message in page.problems:
            yield f"{place(root, page, line)}: {message}"
        for number, text in enumerate(page.text.splitlines(), 1):
            for name in SETTING.findall(text):
                if name not in known:
                    yield f"{place(root, page, number)}: {name} is no setting of `voxgate serve`"
        if page.path == root / "README.md" and (lines := page.text.count("\n")) > README_LINES:
            yield f"README.md: has {lines} lines; at most {README_LINES} are allowed"


def place(root: Path, page: Page, line: int) -> str:
    return f"{page.path.relative_to(root)}:{line}"


def broken(page: Page, target: str, root: Path) -> str | None:
    if re.match(r"[a-z]+:", target):
        return None
    path, _, anchor = target.partition("#")
    file = (page.path.parent / path).resolve() if path else page.path
    if not file.is_relative_to(root) or not file.exists():
        return "there is no such file"
    if not anchor:
        return None
    if file.suffix != ".md":
        return "only a Markdown page has anchors"
    return None if anchor in read(file).anchors else "the page has no such heading"
