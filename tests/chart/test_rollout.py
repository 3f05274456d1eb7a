"""Changes that restart pods, changes that do not, and no generated values in a render."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import chart
from objects import of_kind

GENERATING = (
    r"\b(rand\w*|gen(CA|PrivateKey|SelfSigned|Signed)\w*"
    r"|derivePassword|uuidv4|lookup|now|htpasswd|bcrypt)\b"
)

# The number of pods that the cluster has; `live` below tests it.
LIVE = 'lookup "apps/v1" "Deployment"'


def deployment(name: str, **settings: str) -> dict:
    """The Deployment of a CI case with some values replaced."""
    given = [
        part
        for key, value in settings.items()
        for part in ("--set-string", f"{key.replace('__', '.')}={value}")
    ]
    objects = chart.parse(
        chart.template("4.2.3", chart.NEWEST, [*chart.arguments(chart.ci(name)), *given])
    )
    [found] = of_kind(objects, "Deployment")
    return found


def test_a_rotated_key_restarts_no_pod() -> None:
    assert deployment("inline-keys") == deployment(
        "inline-keys", keys__inline="another-key-Gh5jK8lM2n"
    )


@pytest.mark.parametrize(
    ("name", "changed"),
    (
        ("policy", {"policy__inline": "# no rules"}),
        ("standalone", {"log__filter": "debug"}),
        ("standalone", {"upstream__host": "other"}),
    ),
)
def test_another_configuration_restarts_pods(name: str, changed: dict[str, str]) -> None:
    def checksum(found: dict) -> str:
        return found["spec"]["template"]["metadata"]["annotations"]["checksum/voxgate-config"]

    assert checksum(deployment(name)) != checksum(deployment(name, **changed))
    assert checksum(deployment(name)) == checksum(deployment(name, commonLabels__a="b"))


@contextmanager
def live(replicas: int | None) -> Iterator[str]:
    """An API server with the Deployment of the release, or without one. Gives its address."""
    kinds = {
        "v1": ("Service", "Pod", "Secret", "ConfigMap"),
        "apps/v1": ("Deployment",),
        "autoscaling/v2": ("HorizontalPodAutoscaler",),
        "networking.k8s.io/v1": ("NetworkPolicy",),
        "policy/v1": ("PodDisruptionBudget",),
    }
    answers: dict[str, dict] = {
        "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "groups": []},
    }
    for group, names in kinds.items():
        answers[f"/apis/{group}" if "/" in group else f"/api/{group}"] = {
            "kind": "APIResourceList",
            "groupVersion": group,
            "resources": [
                {"name": f"{each.lower()}s", "namespaced": True, "kind": each, "verbs": ["get"]}
                for each in names
            ],
        }
        if "/" in group:
            version = {"groupVersion": group, "version": group.partition("/")[2]}
            answers["/apis"]["groups"].append(
                {
                    "name": group.partition("/")[0],
                    "versions": [version],
                    "preferredVersion": version,
                }
            )
    if replicas is not None:
        answers["/apis/apps/v1/namespaces/tts/deployments/rel-voxgate"] = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "rel-voxgate",
                "namespace": "tts",
                "labels": {"app.kubernetes.io/managed-by": "Helm"},
                "annotations": {
                    "meta.helm.sh/release-name": "rel",
                    "meta.helm.sh/release-namespace": "tts",
                },
            },
            "spec": {"replicas": replicas},
        }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0].rstrip("/")
            missing = {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}
            body = json.dumps(answers.get(path, missing)).encode()
            self.send_response(200 if path in answers else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("version", chart.HELMS)
@pytest.mark.parametrize(
    ("settings", "running", "expected"),
    (
        # An upgrade that removed the field would scale to one replica.
        ("autoscaling.enabled=true", 7, 7),
        ("replicaCount=null", 7, 7),
        ("replicaCount=null", 0, 0),
        ("autoscaling.enabled=true", None, None),
        ("replicaCount=null", None, None),
        ("replicaCount=3", 7, 3),
        ("replicaCount=0", 7, 0),
    ),
)
def test_an_upgrade_keeps_the_number_of_an_autoscaler(
    version: str, settings: str, running: int | None, expected: int | None
) -> None:
    with live(running) as address:
        given = [
            *chart.arguments(chart.ci("standalone")),
            *("--set", settings, "--dry-run=server", "--disable-openapi-validation"),
            *("--kube-apiserver", address),
        ]
        text = chart.template(version, chart.NEWEST, given)
    [found] = of_kind(chart.parse(text), "Deployment")
    assert found["spec"].get("replicas") == expected


@pytest.mark.parametrize(
    ("namespace", "expected"),
    (("", ("rel-voxgate-upstream", "tts")), ("models", ("rel-voxgate.tts-upstream", "models"))),
)
def test_a_lock_in_another_namespace_names_the_release(
    namespace: str, expected: tuple[str, str]
) -> None:
    given = [
        *chart.arguments(chart.ci("standalone")),
        *("--set", f"lockUpstream.enabled=true,upstream.podLabels.app=x,upstream.namespace={namespace}"),
    ]
    objects = chart.parse(chart.template("4.2.3", chart.NEWEST, given))
    [lock] = [
        each["metadata"]
        for each in of_kind(objects, "NetworkPolicy")
        if each["metadata"]["name"].endswith("-upstream")
    ]
    assert (lock["name"], lock["namespace"]) == expected


def test_nothing_is_generated() -> None:
    for file in chart.CHART.glob("templates/*"):
        actions = re.findall(r"\{\{(?!-?\s*/\*).*?\}\}", file.read_text(), re.DOTALL)
        code = re.sub(r'"[^"]*"', '""', " ".join(actions).replace(LIVE, ""))
        assert not re.search(GENERATING, code), file.name


def test_generating_functions_are_found() -> None:
    assert re.search(GENERATING, "{{ randAlphaNum 32 }}")
    assert re.search(GENERATING, '{{ (lookup "v1" "Secret" "ns" "name") }}')
