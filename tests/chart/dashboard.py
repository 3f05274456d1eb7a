"""Reads the queries of the dashboard and the alerts, and the metrics of a running gateway."""

from __future__ import annotations

import hashlib
import io
import os
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import certificate

VOXGATE = os.environ["VOXGATE_BIN"]
KEY = "key-of-the-dashboard-test-4711"
# Longest wait. Only a failing test waits this long.
PATIENCE = 60
TLS = ssl._create_unverified_context()


def expressions(dashboard: dict) -> Iterator[str]:
    """Every query of a dashboard, including the queries of its variables."""
    for variable in dashboard["templating"]["list"]:
        yield variable.get("definition", "")
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]


def names(expression: str) -> set[str]:
    """The series and labels in a query."""
    grouped = re.findall(r"\bby \(([^)]*)\)", expression)
    labels = [label.strip() for labels in grouped for label in labels.split(",")]
    matched = re.findall(r'(\w+) *(?:=|!=|=~|!~) *"', expression)
    return {*re.findall(r"\bvoxgate_\w+", expression), *labels, *matched}


KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: away
contexts:
- name: away
  context: {{cluster: away, user: nobody}}
clusters:
- name: away
  cluster: {{server: "{server}"}}
users:
- name: nobody
  user: {{}}
"""


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def wait_for(what: str, found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.02)


def get(url: str, key: str | None = None, body: bytes | None = None) -> tuple[int, str]:
    """The status and the text of an answer. The status is 0 if no server listens. A request with a body
    is a POST. A certificate is not checked."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE, context=TLS) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def speech() -> bytes:
    """A tenth of a second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(bytes(3200))
    return file.getvalue()


class Upstream:
    """A TTS server that speaks at once, and answers a GET when `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        go = self.go

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                go.wait(PATIENCE)
                self.send_response(204)
                self.end_headers()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                audio = speech()
                self.send_response(200)
                self.send_header("Content-Type", "audio/wav")
                self.send_header("Content-Length", str(len(audio)))
                self.end_headers()
                self.wfile.write(audio)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def gateway(upstream: str, settings: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Runs `voxgate serve`. Returns the URLs for clients and for metrics."""
    listen, admin = free_address(), free_address()
    environment = {
        "VOXGATE_UPSTREAM": upstream,
        "VOXGATE_LISTEN": listen,
        "VOXGATE_ADMIN_LISTEN": admin,
        "VOXGATE_API_KEYS": KEY,
        **settings,
    }
    if "VOXGATE_KEYS_FILE" in settings:
        del environment["VOXGATE_API_KEYS"]
    command = [VOXGATE, "serve"]
    log = subprocess.DEVNULL
    process = subprocess.Popen(
        command, env=environment, stdout=log, stderr=subprocess.PIPE, text=True
    )
    try:
        url = f"http://{admin}"
        wait_for("gateway", lambda: process.poll() is not None or get(f"{url}/readyz")[0] == 200)
        assert process.poll() is None, process.stderr and process.stderr.read()
        scheme = "https" if "VOXGATE_TLS_CERT_FILE" in settings else "http"
        yield f"{scheme}://{listen}", f"{url}/metrics"
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def told(folder: Path) -> str:
    """The metrics of a gateway after every kind of event, because an empty family of metrics is not
    exported."""
    redis = folder / "redis-url"
    unused = free_address()
    redis.write_text(f"redis://{unused}")
    cert, key = certificate.files()
    keys = folder / "keys.toml"
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    keys.write_text(
        f'[[key]]\nid = "shop"\nsha256 = "{digest}"\nquota = "1k characters/day"\n'
    )
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG.format(server=f"http://{unused}"))
    settings = {
        "VOXGATE_DIALECT": "openai",
        "VOXGATE_KEYS_FILE": str(keys),
        "VOXGATE_KEYS_KUBERNETES_SECRET": "voxgate-keys",
        "VOXGATE_KEYS_KUBERNETES_NAMESPACE": "tts",
        "KUBECONFIG": str(kubeconfig),
        "VOXGATE_METERING": "true",
        "VOXGATE_TOKEN_MINT": "on",
        "VOXGATE_TLS_CERT_FILE": str(cert),
        "VOXGATE_TLS_KEY_FILE": str(key),
        "VOXGATE_AUDIT_DIR": str(folder / "audit"),
        "VOXGATE_AUDIT_HTTP": f"http://{unused}/",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{unused}/",
        "VOXGATE_LIMIT_UPSTREAM_CONCURRENCY": "1",
        "VOXGATE_LIMIT_QUEUE": "1",
        "VOXGATE_LIMIT_QUEUE_TIMEOUT_SECONDS": str(PATIENCE),
        "VOXGATE_REDIS_URL_FILE": str(redis),
    }
    upstream = Upstream()
    with gateway(upstream.url, settings) as (clients, metrics):
        assert get(clients)[0] == 401
        assert get(f"{clients}/voxgate/v1/tokens", KEY, b"{")[0] == 400
        text = b'{"model": "tts-1", "voice": "alloy", "input": "Hello"}'
        assert get(f"{clients}/v1/audio/speech", KEY, text)[0] == 200
        callers = [threading.Thread(target=get, args=(clients, KEY)) for _ in range(2)]
        for caller in callers:
            caller.start()
        wait_for("request that waits", lambda: "\nvoxgate_limit_waiting 1\n" in get(metrics)[1])
        upstream.go.set()
        for caller in callers:
            caller.join(PATIENCE)
        # Metrics can be a second old.
        wait_for(
            "request that waited",
            lambda: "\nvoxgate_limit_queue_seconds_count" in get(metrics)[1],
        )
        text = get(metrics)[1]
    assert text.endswith("# EOF\n"), text
    return text


def exported(text: str) -> set[str]:
    """The names of all series and labels."""
    series = re.findall(r"^(voxgate_\w+)[{ ]", text, re.MULTILINE)
    return {*series, *re.findall(r'[{,](\w+)="', text)}
