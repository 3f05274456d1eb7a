"""Tests of scripts/debian-package.sh, with an `apt-get` of its own: nothing is installed."""

from __future__ import annotations

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "debian-package.sh"

# What the scripts of packages with a service do after they are unpacked (debhelper's own snippets).
POSTINST = """#!/bin/sh
set -e
echo "$@" >>"$LOG.apt"
if deb-systemd-helper --quiet was-enabled demo.service; then
    deb-systemd-helper enable demo.service
fi
update-rc.d demo defaults
deb-systemd-invoke start demo.service
invoke-rc.d demo start
service demo start
systemctl enable --now demo.service
"""
MANAGERS = ("deb-systemd-helper", "deb-systemd-invoke", "invoke-rc.d", "service", "systemctl", "update-rc.d")


class DebianPackage(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.log = self.folder / "log"
        self.program("apt-get", POSTINST)
        self.program("id", "#!/bin/sh\necho 0\n")
        for each in MANAGERS:
            self.program(each, f'#!/bin/sh\necho {each} "$@" >>"$LOG"\n')

    def program(self, name: str, text: str) -> None:
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o755)

    def install(self, **more: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}:{os.environ['PATH']}"
        environment = {"PATH": path, "LOG": str(self.log), "HOME": str(self.folder), **more}
        return subprocess.run(
            [str(SCRIPT), "voxgate-test-demo"],
            env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def tearDown(self) -> None:
        (ROOT / "target" / "apt-voxgate-test-demo.log").unlink(missing_ok=True)

    def test_no_service_is_enabled_or_started(self) -> None:
        done = self.install()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        asked = Path(f"{self.log}.apt").read_text()
        self.assertIn("install --no-install-recommends voxgate-test-demo", asked)
        self.assertFalse(self.log.exists(), self.log.exists() and self.log.read_text())

    def test_the_scripts_of_the_test_would_start_services(self) -> None:
        """Without the script, every manager is called."""
        path = f"{self.folder}:{os.environ['PATH']}"
        environment = {"PATH": path, "LOG": str(self.log)}
        subprocess.run([str(self.folder / "apt-get")], env=environment, check=True, timeout=60)
        called = {line.split()[0] for line in self.log.read_text().splitlines()}
        self.assertEqual(called, set(MANAGERS))

    def test_a_failure_and_a_prohibition_have_a_reason(self) -> None:
        self.program("apt-get", "#!/bin/sh\necho no such package\nexit 100\n")
        done = self.install()
        self.assertEqual(done.returncode, 1)
        self.assertIn("apt-get could not install voxgate-test-demo", done.stdout)
        done = self.install(NO_INSTALL="1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("NO_INSTALL is set", done.stdout)


if __name__ == "__main__":
    unittest.main()
