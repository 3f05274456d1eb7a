"""Runs the documentation: every block of sh and console in README.md and docs/. Prints the reason
for each block that is skipped.

Usage: VOXGATE_BIN=target/debug/voxgate python3 tests/docs/run.py [--planted] [PAGE]...

A block is run unless a comment directly above it says why not:

    <!-- not run: needs a cluster -->

A page declares which addresses and paths of its text are replaced while it is run:

    <!-- docs-run: upstream=127.0.0.1:8000 gateway=127.0.0.1:8080 admin=127.0.0.1:8081 -->
    <!-- docs-run: log=/var/log/voxgate pubkey=audit.pub checkpoints=checkpoints.jsonl -->

A block of another language is written to a file of the page's directory by `<!-- saved as: keys.toml -->`.
In a console block, output below a command is compared with the real one; `…` stands for any text.
With --planted, mistakes are planted in copies of a page, and each has to be found.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import planted
import static
from pages import Page, read
from runner import Failed, run_page, write_sample_log

ROOT = Path(__file__).resolve().parents[2]


def known_settings(voxgate: Path) -> set[str]:
    """What `voxgate serve --help` names, and the reference that is made from the same table."""
    done = subprocess.run([voxgate, "serve", "--help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"\b[A-Z][A-Z0-9_]+_[A-Z0-9_]+\b", done.stdout))
    reference = ROOT / "docs" / "reference" / "settings.md"
    if reference.exists():
        known |= set(re.findall(r"^\| `([A-Z0-9_]+)` \|", reference.read_text(), re.MULTILINE))
    return known


def all_pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> int:
    voxgate = Path(os.environ["VOXGATE_BIN"]).resolve()
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="voxgate-docs-") as folder:
        log = Path(folder)
        write_sample_log(voxgate, log)
        if "--planted" in arguments:
            return planted.check(voxgate, log, known_settings(voxgate))
        chosen = [Path(name).resolve() for name in arguments]
        pages = [read(path) for path in chosen or all_pages()]
        return check(pages, voxgate, log)


def check(pages: list[Page], voxgate: Path, log: Path) -> int:
    problems = list(static.problems(ROOT, pages, known_settings(voxgate)))
    reasons: Counter[str] = Counter()
    total = 0
    for page in pages:
        name = page.path.relative_to(ROOT)
        left_out = [block.not_run for block in page.blocks if block.not_run]
        reasons.update(left_out)
        if not any(block.is_shell for block in page.blocks):
            continue
        try:
            count, replaced = run_page(page, voxgate, log)
        except Failed as failed:
            problems.append(str(failed).removeprefix(f"{ROOT}/"))
            print(f"{name}: FAILED", flush=True)
            continue
        total += count
        uses = "".join(f"; {old} is {new}" for old, new in replaced.items())
        print(f"{name}: {count} run, {len(left_out)} not run{uses}", flush=True)
    print(f"\n{total} blocks were run. Not run:")
    for reason, count in sorted(reasons.items()):
        print(f"  {count:3} {reason}")
    if problems:
        print(f"\n{len(problems)} problems:", *problems, sep="\n", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
