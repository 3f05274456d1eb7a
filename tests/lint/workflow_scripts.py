"""Checks the scripts in the GitHub workflows with shellcheck.

Usage: workflow_scripts.py SHELLCHECK WORKFLOW...
"""

from __future__ import annotations

import subprocess
import sys

from ruamel.yaml import YAML


def main(shellcheck: str, *workflows: str) -> int:
    failed = False
    for workflow in workflows:
        with open(workflow, encoding="utf-8") as file:
            jobs = YAML(typ="safe").load(file)["jobs"]
        for name, job in jobs.items():
            for step in job["steps"]:
                if "run" not in step:
                    continue
                # GitHub runs `shell: bash` with these options.
                script = "set -eo pipefail\n" + step["run"]
                command = [shellcheck, "--shell=bash", "-"]
                done = subprocess.run(
                    command, input=script, capture_output=True, text=True, check=False
                )
                if done.returncode != 0:
                    failed = True
                    step_name = step.get("name", step["run"])
                    print(f"{workflow}: {name}: {step_name}\n{done.stdout}{done.stderr}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
