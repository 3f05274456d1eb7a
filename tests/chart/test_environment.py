"""The gateway accepts the settings of the chart: `voxgate check` runs with the environment and the
files of each rendered container."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

import certificate
import chart
from chart import Case, cases
from objects import Pod, env, gateways, of_kind

VOXGATE = os.environ["VOXGATE_BIN"]
# Secrets with keys that sign tokens.
TOKEN_KEYS = ("voxgate-token-key", "token-signing-key", "token-previous-key")
SERVED = "http://rel-voxgate.tts:8080/v1/rime-tts"
# Values that the kubelet sets.
FIELDS = {"metadata.name": "rel-voxgate-0", "spec.nodeName": "node-1"}


@pytest.mark.parametrize("case", cases(), ids=str)
def test_the_gateway_accepts_its_settings(case: Case, tmp_path: Path) -> None:
    objects = chart.objects(case)
    found = gateways(objects)
    assert found
    for index, pod in enumerate(found):
        root = tmp_path / str(index)
        done = check(container_environment(pod, objects, root))
        assert done.returncode == 0, done.stderr
        told = (
            "No request needs a key"
            if env(pod.gateway())["VOXGATE_MODE"] == "preconfigured"
            else "needs"
        )
        assert told in done.stdout, done.stdout


def test_an_unknown_setting_is_found(tmp_path: Path) -> None:
    objects = chart.objects(chart.ci("standalone"))
    [pod] = gateways(objects)
    pod.gateway()["env"].append({"name": "VOXGATE_LISTNE", "value": "0.0.0.0:1"})
    done = check(container_environment(pod, objects, tmp_path))
    assert done.returncode == 64
    assert "VOXGATE_LISTNE" in done.stderr


def test_an_invalid_file_is_found(tmp_path: Path) -> None:
    objects = chart.objects(chart.ci("policy"))
    next(each for each in objects if each["kind"] == "ConfigMap")["data"]["policy.toml"] = (
        "[[rule]]\nmethod = 1\n"
    )
    [pod] = gateways(objects)
    done = check(container_environment(pod, objects, tmp_path))
    assert done.returncode == 64
    assert "VOXGATE_POLICY_FILE" in done.stderr or "policy.toml" in done.stderr


def test_the_commands_of_helm_test_are_valid(tmp_path: Path) -> None:
    """No server answers, which has a different exit status than a wrong command line."""
    key = tmp_path / "token"
    key.write_text("one-key-Wq3cV9sTz1Lm8\n")
    [pod] = of_kind(chart.objects(chart.ci("helm-test")), "Pod")
    assert [each["name"] for each in pod["spec"]["containers"]] == ["without-key", "with-key"]
    for container in pod["spec"]["containers"]:
        places = {"/etc/voxgate/key/token": str(key), SERVED: "http://127.0.0.1:1/v1/rime-tts"}
        arguments = [places.get(each, each) for each in container["args"]]
        assert places[SERVED] in arguments
        done = subprocess.run(
            [VOXGATE, *arguments, "--wait", "0"],
            env={},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert "no answer" in done.stdout


def check(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [VOXGATE, "check"], env=environment, capture_output=True, text=True, check=False
    )


def container_environment(pod: Pod, objects: list[dict], root: Path) -> dict[str, str]:
    """The container's variables, with its files created under `root`."""
    container = pod.gateway()
    volumes = {each["name"]: each for each in pod.spec["volumes"]}
    places = {}
    for mount in container["volumeMounts"]:
        place = root / mount["mountPath"].lstrip("/")
        place.mkdir(parents=True)
        for name, text in contents(volumes[mount["name"]], objects).items():
            (place / name).write_text(text)
        places[mount["mountPath"]] = place
    environment: dict[str, str] = {}
    for each in container["env"]:
        value = each.get("value") or FIELDS[each["valueFrom"]["fieldRef"]["fieldPath"]]
        # Resolve references to earlier variables, like the kubelet.
        value = re.sub(r"\$\((\w+)\)", lambda match: environment.get(match[1], match[0]), value)
        for path, place in places.items():
            if value == path or value.startswith(path + "/"):
                value = str(place) + value.removeprefix(path)
        environment[each["name"]] = value
    return environment


def contents(volume: dict, objects: list[dict]) -> dict[str, str]:
    """The files of a volume: the items that it selects from an object, or those of a CSI driver."""
    if "csi" in volume:
        secrets = {each["metadata"]["name"]: each.get("stringData") for each in chart.existing()}
        return {**secrets["voxgate-keys"], "rime-key": secrets["rime-key"]["api-key"]}
    for kind, key, field in (
        ("Secret", "secret", "secretName"),
        ("ConfigMap", "configMap", "name"),
    ):
        if key in volume:
            each = next(
                each
                for each in [*objects, *chart.existing()]
                if (each["kind"], each["metadata"]["name"]) == (kind, volume[key][field])
            )
            data = {**each.get("data", {}), **each.get("stringData", {})}
            if each["metadata"]["name"] == "audit-key":
                data = {name: audit_key() for name in data}
            if each["metadata"]["name"] in TOKEN_KEYS:
                data = {name: token_key(each["metadata"]["name"]) for name in data}
            if each["metadata"]["name"] in ("voxgate-tls", "voxgate-client"):
                data = {path.name: path.read_text() for path in certificate.files()}
            return {item["path"]: data[item["key"]] for item in volume[key]["items"]}
    return {}


@cache
def token_key(_secret: str) -> str:
    """A new signing key for tokens, another one for each Secret."""
    command = ["openssl", "genpkey", "-algorithm", "ed25519"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@cache
def audit_key() -> str:
    """A new signing key for the audit log, so that the repository contains no key."""
    file = chart.WORK / "audit.key"
    file.unlink(missing_ok=True)
    subprocess.run([VOXGATE, "audit", "keygen", file], check=True, capture_output=True)
    return file.read_text()
