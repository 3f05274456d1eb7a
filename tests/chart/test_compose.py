"""The compose file of examples/compose: the gateway accepts its settings, and Rime is behind it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

import chart
from dashboard import KEY, VOXGATE, gateway

COMPOSE = yaml.safe_load((chart.ROOT / "examples" / "compose" / "compose.yaml").read_text())
SERVICES: dict[str, dict] = COMPOSE["services"]
GATEWAYS = {
    name: service
    for name, service in SERVICES.items()
    if "voxgate" in service["image"] and "profiles" not in service
}
LISTEN = {"VOXGATE_LISTEN": "0.0.0.0:8080", "VOXGATE_ADMIN_LISTEN": "0.0.0.0:8081"}


def environment(service: dict, folder: Path) -> dict[str, str]:
    """The environment of the container, with its paths in `folder`."""
    settings = dict(service["environment"])
    for name, value in settings.items():
        if value.startswith("/"):
            file = folder / value[1:]
            (file if name.endswith("_DIR") else file.parent).mkdir(parents=True, exist_ok=True)
            settings[name] = str(file)
    Path(settings["RIME_API_KEY_FILE"]).write_text(KEY)
    return settings


@pytest.mark.parametrize("name", GATEWAYS)
def test_the_gateway_accepts_its_settings(name: str, tmp_path: Path) -> None:
    settings = environment(GATEWAYS[name], tmp_path)
    # As in the README of the compose file.
    made = [VOXGATE, *SERVICES["key"]["entrypoint"][1:], "new", "--id", "ivr-prod"]
    subprocess.run(made, env=settings, capture_output=True, check=True)
    done = subprocess.run(
        [VOXGATE, "check"], env={**LISTEN, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "needs the one key; the upstream gets the deployment key instead" in done.stdout


def test_rime_is_reachable_only_through_the_gateways() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == set(GATEWAYS)
    for name, [port] in published.items():
        upstream = GATEWAYS[name]["environment"]["VOXGATE_UPSTREAM"]
        number = upstream.rpartition(":")[2]
        assert port == f"${{VOXGATE_BIND:-127.0.0.1}}:{number}:8080"
        assert upstream == f"http://api:{number}"
    assert "clients" not in SERVICES["api"]["networks"] + SERVICES["model"]["networks"]


def test_every_referenced_name_exists() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("networks", [])) <= set(COMPOSE["networks"]), name
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"]), name
        assert set(service.get("depends_on", [])) <= set(SERVICES), name
        volumes = {volume.partition(":")[0] for volume in service.get("volumes", [])}
        assert volumes <= set(COMPOSE["volumes"]), name


def test_new_volumes_belong_to_the_gateway() -> None:
    """An empty volume takes its owner from the directory of the image that it is mounted on."""
    dockerfile = (chart.ROOT / "Dockerfile").read_text()
    for service in GATEWAYS.values():
        for volume in service["volumes"]:
            [line] = [
                line
                for line in dockerfile.splitlines()
                if line.endswith(" " + volume.split(":")[1])
            ]
            assert line.startswith("COPY --from=build --chown=65532:65532 "), line
    assert "\nUSER 65532:65532\n" in dockerfile


def test_the_health_check_detects_a_ready_gateway() -> None:
    with gateway("http://127.0.0.1:9", {}) as (_, metrics):
        here = metrics.removesuffix("/metrics")
        for service in GATEWAYS.values():
            _, _, *arguments = service["healthcheck"]["test"]
            asked = [part.replace("http://127.0.0.1:8081", here) for part in arguments]
            assert asked != arguments
            done = subprocess.run([VOXGATE, *asked], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
