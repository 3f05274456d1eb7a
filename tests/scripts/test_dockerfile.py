"""The files that the Dockerfile copies are enough for cargo. `make image` builds the image."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import tomllib
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WORKFLOW = (ROOT / ".github" / "workflows" / "release.yml").read_text()


def context() -> list[str]:
    """The committed files that .dockerignore lets through: the last pattern that matches decides."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]

    def is_excluded(file: str) -> bool:
        parts = file.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        excluded = False
        for pattern in patterns:
            depth = pattern.lstrip("!").count("/")
            # A wildcard does not match a slash.
            if any(
                place.count("/") == depth and fnmatch.fnmatchcase(place, pattern.lstrip("!"))
                for place in above
            ):
                excluded = not pattern.startswith("!")
        return excluded

    return [file for file in listed if not is_excluded(file) and (ROOT / file).is_file()]


def copied() -> set[str]:
    """The files of the context that the Dockerfile copies."""
    folders = [
        each
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
        for each in line.split()
    ]
    return {file for file in context() if file.split("/")[0] in folders}


class Dockerfile(unittest.TestCase):
    def test_cargo_finds_every_target_that_a_manifest_names(self) -> None:
        """cargo refuses a manifest with a target whose file it cannot find, unless the target has a path."""
        files = copied()
        self.assertIn("Cargo.lock", files)
        manifests = [file for file in files if file.rpartition("/")[2] == "Cargo.toml"]
        self.assertGreater(len(manifests), 20)
        for manifest in manifests:
            about = tomllib.loads((ROOT / manifest).read_text())
            folder = manifest.rpartition("/")[0]
            prefix = f"{folder}/" if folder else ""
            for kind in ("test", "bench", "example"):
                for target in about.get(kind, []):
                    if "path" not in target:
                        place = f"{prefix}{kind}{'es' if kind == 'bench' else 's'}/{target['name']}"
                        found = {f"{place}.rs", f"{place}/main.rs"} & files
                        self.assertTrue(found, f"{manifest}: the image has no {kind} {target['name']}")

    def test_a_release_pins_every_base_image(self) -> None:
        """The workflow resolves the digest of each base that the Dockerfile names, and passes it."""
        bases = re.findall(r"^FROM \$\{(\w+)\}", DOCKERFILE, re.MULTILINE)
        self.assertEqual(len(bases), DOCKERFILE.count("\nFROM "))
        [resolved] = re.findall(r"for argument in (.*); do", WORKFLOW)
        self.assertEqual(resolved.split(), bases)
        for base in bases:
            self.assertRegex(DOCKERFILE, rf"(?m)^ARG {base}=\S+$")
            self.assertIn(f"{base}=${{{{ needs.version.outputs.{base.lower()} }}}}", WORKFLOW)
            self.assertIn(f"{base.lower()}: ${{{{ steps.bases.outputs.{base} }}}}", WORKFLOW)


if __name__ == "__main__":
    unittest.main()
