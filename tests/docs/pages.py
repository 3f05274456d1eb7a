"""Reads Markdown pages: fenced blocks with the comments above them, links and headings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

# Why a block may be left out. A marker with any other reason is an error.
REASONS = (
    "builds from source",
    "needs Docker",
    "needs Redis",
    "needs a SIEM",
    "needs a cluster",
    "needs a network",
    "needs root",
)
# Declarations of a page in `<!-- docs-run: name=value … -->`: addresses and paths in its text that
# the runner replaces by free ports, an audit log and its public key.
FIXTURES = ("upstream", "gateway", "admin", "log", "pubkey", "checkpoints")
SHELLS = ("sh", "console")

COMMENT = re.compile(r"^<!-- (not run|saved as|docs-run): (.*?) -->$")
FENCE = re.compile(r"^(\s*)```(\S*)\s*$")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+?)\s*#*$")


@dataclass
class Block:
    line: int
    language: str
    text: str
    not_run: str | None = None
    saved_as: str | None = None

    @property
    def is_shell(self) -> bool:
        return self.language in SHELLS


@dataclass
class Page:
    path: Path
    blocks: list[Block] = field(default_factory=list)
    fixtures: dict[str, str] = field(default_factory=dict)
    links: list[tuple[int, str]] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    problems: list[tuple[int, str]] = field(default_factory=list)
    text: str = ""


def slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")


def read(path: Path) -> Page:
    page = Page(path, text=path.read_text(encoding="utf-8"))
    lines = page.text.splitlines()
    marker: tuple[int, str, str] | None = None
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at]
        at += 1
        if fence := FENCE.match(line):
            indent, language = fence[1], fence[2]
            body = []
            while at < len(lines) and lines[at].strip() != "```":
                body.append(lines[at].removeprefix(indent))
                at += 1
            if at == len(lines):
                page.problems.append((number, "this block is not closed"))
            at += 1
            block = Block(number, language, "".join(f"{each}\n" for each in body))
            if marker:
                apply(page, block, marker)
                marker = None
            page.blocks.append(block)
            continue
        if marker:
            page.problems.append((marker[0], "no block directly below this comment"))
            marker = None
        if comment := COMMENT.match(line.strip()):
            if comment[1] == "docs-run":
                declare(page, number, comment[2])
            else:
                marker = (number, comment[1], comment[2])
        elif re.match(r"\s*<!--\s*(not.?run|saved.?as|docs.?run)", line, re.IGNORECASE):
            page.problems.append((number, "this comment is not in the form that the runner reads"))
        prose = re.sub(r"`[^`]*`", "``", line)
        page.links += [(number, target) for target in LINK.findall(prose)]
        if heading := HEADING.match(line):
            anchor = base = slug(heading[1])
            count = 0
            while anchor in page.anchors:
                count += 1
                anchor = f"{base}-{count}"
            page.anchors.add(anchor)
    if marker:
        page.problems.append((marker[0], "no block directly below this comment"))
    return page


def declare(page: Page, number: int, text: str) -> None:
    for word in text.split():
        name, _, value = word.partition("=")
        if name not in FIXTURES or not value:
            page.problems.append((number, f"{word!r}: docs-run knows {', '.join(FIXTURES)}"))
        page.fixtures[name] = value


def apply(page: Page, block: Block, marker: tuple[int, str, str]) -> None:
    number, kind, value = marker
    if kind == "saved as":
        block.saved_as = value
        if block.is_shell or "/" in value:
            page.problems.append((number, "only a file in the page's directory can be saved"))
        return
    block.not_run = value
    if value not in REASONS:
        page.problems.append((number, f"{value!r} is no reason; there are: {', '.join(REASONS)}"))
    if not block.is_shell:
        page.problems.append((number, "only blocks of sh and console are run"))
