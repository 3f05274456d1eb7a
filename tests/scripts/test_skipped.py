"""Tests of scripts/skipped.sh. Run them with `python3 -m unittest discover tests/scripts`."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "skipped.sh"
ALLOWED = ROOT / "scripts" / "skipped.allowed"


class Skipped(unittest.TestCase):
    """Each test has its own list and its own file of allowed checks."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.list = Path(folder.name) / "new" / "skipped"
        self.allowed = Path(folder.name) / "allowed"
        self.allowed.write_text("# a comment\nmsrv: one toolchain\nc++ (any): no compiler\n")

    def run_script(self, *arguments: str, ci: str | None) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "CI"}
        environment |= {"SKIPPED_LIST": str(self.list), "SKIPPED_ALLOWED": str(self.allowed)}
        if ci is not None:
            environment["CI"] = ci
        command = [str(SCRIPT), *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    def test_without_ci_every_check_may_be_skipped(self) -> None:
        for ci in (None, "", "false"):
            with self.subTest(ci=ci):
                self.assertEqual(self.run_script("reset", ci=ci).returncode, 0)
                added = self.run_script("add", "valgrind", "not installed", ci=ci)
                self.assertEqual((added.returncode, added.stderr), (0, ""))
                self.assertEqual(added.stdout, "skipped valgrind: not installed\n")
                report = self.run_script("report", ci=ci)
                self.assertEqual((report.returncode, report.stderr), (0, ""))
                self.assertIn("valgrind: not installed", report.stdout)

    def test_in_ci_an_unlisted_check_fails_at_once_and_in_the_report(self) -> None:
        self.run_script("reset", ci="true")
        added = self.run_script("add", "valgrind", "not installed", ci="true")
        self.assertEqual(added.returncode, 1)
        self.assertIn("CI must not skip this check: valgrind", added.stderr)
        self.assertIn(str(self.allowed), added.stderr)
        report = self.run_script("report", ci="true")
        self.assertEqual(report.returncode, 1)
        self.assertIn("CI must not skip this check: valgrind", report.stderr)

    def test_the_report_names_every_unlisted_check(self) -> None:
        for check in ("msrv", "valgrind", "promtool"):
            self.run_script("add", check, "not installed: offline", ci=None)
        report = self.run_script("report", ci="true")
        self.assertEqual(report.returncode, 1)
        refused = re.findall(r"must not skip this check: (.*)", report.stderr)
        self.assertEqual(refused, ["valgrind", "promtool"])

    def test_in_ci_a_listed_check_may_be_skipped(self) -> None:
        for check in ("msrv", "c++ (any)"):
            self.assertEqual(self.run_script("add", check, "why", ci="true").returncode, 0)
        self.assertEqual(self.run_script("report", ci="true").returncode, 0)

    def test_a_listed_name_is_compared_as_a_whole(self) -> None:
        for check in ("msr", "msrv2", ".*", "c++", "# a comment"):
            with self.subTest(check=check):
                self.assertEqual(self.run_script("add", check, "why", ci="true").returncode, 1)

    def test_a_missing_file_of_allowed_checks_allows_none(self) -> None:
        self.allowed.unlink()
        self.assertNotEqual(self.run_script("add", "msrv", "why", ci="true").returncode, 0)

    def test_reset_empties_the_list(self) -> None:
        self.run_script("add", "valgrind", "not installed", ci=None)
        self.run_script("reset", ci="true")
        report = self.run_script("report", ci="true")
        self.assertEqual(report.returncode, 0)
        self.assertIn("no check was skipped", report.stdout)

    def test_the_last_line_names_what_passed(self) -> None:
        self.run_script("reset", ci=None)
        report = self.run_script("report", "fmt", "lint", ci="true")
        last = report.stdout.splitlines()[-1]
        self.assertEqual(last, "passed: fmt lint (2 steps, no check skipped)")
        for check in ("msrv", "valgrind", "msrv"):
            self.run_script("add", check, "not installed", ci=None)
        report = self.run_script("report", "fmt", "lint", ci=None)
        last = report.stdout.splitlines()[-1]
        self.assertEqual(last, "passed: fmt lint (2 steps, skipped: msrv, valgrind)")
        # In CI, a check that must not be skipped has not passed.
        report = self.run_script("report", "fmt", "lint", ci="true")
        self.assertEqual(report.returncode, 1)
        self.assertNotIn("passed", report.stdout)

    def test_wrong_usage_is_refused(self) -> None:
        two_names = ("add", "a: b", "c")
        for arguments in ((), ("add",), ("add", "a"), two_names, ("reset", "all"), ("list",)):
            with self.subTest(arguments=arguments):
                result = self.run_script(*arguments, ci=None)
                self.assertEqual(result.returncode, 64)
                self.assertIn("usage:", result.stderr)


class AllowList(unittest.TestCase):
    def test_every_line_has_a_check_and_a_reason(self) -> None:
        lines = [line for line in ALLOWED.read_text().splitlines() if not line.startswith("#")]
        self.assertTrue(lines)
        for line in lines:
            self.assertRegex(line, r"^[^:\s][^:]*: \S")

    def test_the_list_is_short(self) -> None:
        lines = [line for line in ALLOWED.read_text().splitlines() if not line.startswith("#")]
        self.assertLessEqual(len(lines), 6)


if __name__ == "__main__":
    unittest.main()
