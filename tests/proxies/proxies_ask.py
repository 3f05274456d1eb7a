"""Runs nginx, HAProxy, Traefik, Caddy and Envoy with the configurations of examples/proxies.

    client ──▶ proxy ──▶ Upstream, a fake server that records what reaches it
                 │ asks
                 ▼
              voxgate serve (VOXGATE_AUTHORIZE_LISTEN)

Only addresses and ports of the configurations are replaced. scripts/proxies.sh runs this file. It uses
tests/clients/harness.py, which documents VOXGATE_BIN. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

import harness  # noqa: E402
from harness import Child, Gateway, Keys, Upstream, web  # noqa: E402

EXAMPLES = ROOT / "examples" / "proxies"
BIN = Path(sys.executable).parent
TEXT = json.dumps({"text": "Good morning."})
SPOOFED = {"X-Voxgate-Key-Id": "root", "X-Request-Id": "theirs", "X-Forwarded-For": "203.0.113.7"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


async def answer(request: web.Request) -> web.StreamResponse:
    if request.headers.get("upgrade", "").lower() == "websocket":
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str("echo " + message.data)
        return ws
    return web.Response(body=harness.SOUND, content_type="audio/wav")


class Asking(harness.unittest.TestCase):
    """The base class: subclasses name the proxy and start it."""

    via: str
    sends_bodies = False
    strips_queries = True

    @classmethod
    def configure(cls, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
        """Returns the command and the environment of the proxy."""
        raise NotImplementedError

    @classmethod
    def setUpClass(cls) -> None:
        cls.keys = Keys.plain()
        cls.upstream = Upstream([("*", "/{path:.*}", answer)])
        cls.addClassCleanup(cls.upstream.stop)
        cls.voice, cls.slots = harness.secrets.token_hex(16), harness.secrets.token_hex(16)
        cls.rated, cls.model = harness.secrets.token_hex(16), harness.secrets.token_hex(16)
        cls.gateway = Gateway(
            "elevenlabs",
            cls.upstream.url,
            keys=cls.keys,
            extra={
                "voice": {"secret": cls.voice, "voices": ["allowed"]},
                "model": {"secret": cls.model, "models": ["allowed"]},
                "slots": {"secret": cls.slots, "concurrency": 1},
                "rated": {"secret": cls.rated, "rate": "1/h"},
            },
            settings={
                "VOXGATE_AUTHORIZE_LISTEN": "127.0.0.1:0",
                "VOXGATE_TRUSTED_PROXIES": "127.0.0.1/32",
                "VOXGATE_PUBLIC": "GET /healthz",
            },
        )
        cls.addClassCleanup(cls.gateway.stop)
        cls.authorizer = next(
            record["authorizer"]
            for record in (json.loads(line) for line in cls.gateway.errors if line[:1] == "{")
            if record.get("message") == "listening"
        )
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.port = free_port()
        command, environment = cls.configure(Path(folder.name), cls.port)
        environment = {"PATH": os.environ["PATH"], "HOME": folder.name, **environment}
        cls.proxy = Child(command, environment)
        cls.addClassCleanup(cls.proxy.stop)

        def reachable() -> bool | None:
            with socket.socket() as probe:
                return True if probe.connect_ex(("127.0.0.1", cls.port)) == 0 else None

        cls.proxy.wait_for("listener", reachable)
        # Traefik listens before it has its routes, and Envoy before it knows its clusters.
        for _ in range(600):
            if cls.send("GET", "/healthz").status == 200:
                break
            time.sleep(0.1)
        cls.upstream.take()

    @classmethod
    def copy(cls, name: str, folder: Path, **replaced: str) -> Path:
        """Copies a configuration, with other addresses."""
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        upstream = cls.upstream.url.removeprefix("http://")
        host, port = cls.authorizer.rsplit(":", 1)
        up_host, up_port = upstream.rsplit(":", 1)
        changes = {
            "voxgate:8082": cls.authorizer,
            "tts:8000": upstream,
            "address: voxgate, port_value: 8082": f"address: {host}, port_value: {port}",
            "address: tts, port_value: 8000": f"address: {up_host}, port_value: {up_port}",
            **replaced,
        }
        for old, new in changes.items():
            text = text.replace(old, new)
        path = folder / Path(name).name
        path.write_text(text, encoding="utf-8")
        return path

    @classmethod
    def send(
        cls,
        method: str,
        path: str,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        body: str | None = None,
    ):
        """Sends a request. Returns its answer, whose body is in `text`."""
        headers = dict(headers or {})
        if key:
            headers["xi-api-key"] = key
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", cls.port, timeout=harness.STEP_SECONDS)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            response.text = response.read().decode("latin-1")
            return response
        finally:
            connection.close()

    def setUp(self) -> None:
        self.upstream.take()
        self.before = len(self.gateway.lines)

    def decision(self, **expected: object) -> dict:
        return self.gateway.wait_for_decision(self.before, via=self.via, **expected)

    @classmethod
    def clients(cls) -> set[str]:
        """The addresses of this machine. Envoy names its own for a client on the loopback interface."""
        own = {"127.0.0.1"}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Nothing is sent: the system only chooses the address.
            with contextlib.suppress(OSError):
                probe.connect(("192.0.2.1", 9))
                own.add(probe.getsockname()[0])
        return own

    def only_seen(self) -> harness.Seen:
        seen = self.upstream.take()
        self.assertEqual(len(seen), 1, seen)
        return seen[0]

    def test_accepted(self) -> None:
        path = "/v1/text-to-speech/allowed"
        answer = self.send("POST", path, self.keys.speaker, SPOOFED, TEXT)
        self.assertEqual(answer.status, 200, answer.text)
        record = self.decision(outcome="accepted", key_id="speaker", path=path, method="POST")
        self.assertIn(record["client"], self.clients())
        seen = self.only_seen()
        self.assertEqual(seen.target, path)
        self.assertEqual(seen.body, TEXT.encode())
        self.assertEqual(seen.holding(self.keys.speaker), [])
        self.assertEqual(seen.header("x-voxgate-key-id"), "speaker")
        self.assertEqual(seen.header("x-request-id"), record["request_id"])
        ends = [line for line in self.gateway.lines[self.before :] if '"complete"' in line]
        self.assertEqual(ends, [])

    def test_no_header_that_can_hold_a_key_passes(self) -> None:
        # The credential headers of all dialects, as the reference lists them.
        reference = (ROOT / "docs" / "reference" / "dialects.md").read_text(encoding="utf-8")
        named = harness.re.findall(r"`([A-Za-z][A-Za-z-]+): [^`]*KEY`", reference)
        names = {name.lower() for name in named} | {"xi-api-key"}
        self.assertGreater(len(names), 4, names)
        # The proxy itself reads some of these, so they are sent without a value that counts.
        others = {name: "not-a-key" for name in names - {"xi-api-key", "authorization"}}
        path = "/v1/text-to-speech/allowed"
        answer = self.send("POST", path, self.keys.speaker, others, TEXT)
        self.assertEqual(answer.status, 200, answer.text)
        seen = self.only_seen()
        left = [name for name in names if seen.header(name) is not None]
        self.assertEqual(left, [])

    def test_refused_in_the_vendors_words(self) -> None:
        answer = self.send("POST", "/v1/text-to-speech/allowed", self.keys.unknown, body=TEXT)
        self.assertEqual(answer.status, 401)
        self.assertEqual(json.loads(answer.text)["detail"]["status"], "invalid_api_key")
        self.decision(outcome="refused", reason="unknown_credential", status=401)
        answer = self.send("POST", "/v1/text-to-speech/allowed", body=TEXT)
        self.assertEqual(answer.status, 401)
        answer = self.send("POST", "/v1/text-to-speech/allowed", self.keys.reader, body=TEXT)
        self.assertEqual(answer.status, 403)
        self.assertEqual(json.loads(answer.text)["detail"]["status"], "missing_permissions")
        self.assertEqual(self.upstream.take(), [])

    def test_limits_that_hold(self) -> None:
        path = "/v1/text-to-speech/allowed"
        self.assertEqual(self.send("POST", path, self.rated, body=TEXT).status, 200)
        answer = self.send("POST", path, self.rated, body=TEXT)
        self.assertEqual(answer.status, 429, answer.text)
        self.assertIn("detail", json.loads(answer.text))
        self.assertIsNotNone(answer.getheader("retry-after"))
        self.decision(outcome="refused", reason="rate_limited", limit="key_rate")
        answer = self.send("POST", path, self.slots, body=TEXT)
        self.assertEqual(answer.status, 403)
        self.decision(outcome="refused", reason="limit_not_enforced")

    def test_a_spoofed_identity_does_not_pass(self) -> None:
        answer = self.send("POST", "/v1/text-to-speech/allowed", headers=SPOOFED, body=TEXT)
        self.assertEqual(answer.status, 401)
        self.assertIn(self.decision(outcome="refused")["client"], self.clients())
        answer = self.send("GET", "/healthz", headers=SPOOFED)
        self.assertEqual(answer.status, 200)
        self.assertNotEqual(self.only_seen().header("x-voxgate-key-id"), "root")

    def test_spoofed_fields_of_the_original_request_do_not_pass(self) -> None:
        path = "/v1/text-to-speech/allowed"
        for uri in ("X-Original-URI", "X-Original-URL", "X-Forwarded-Uri", "X_Original_URI"):
            with self.subTest(uri):
                spoofed = {uri: "/healthz", "X-Original-Method": "GET", "X-Forwarded-Method": "GET"}
                answer = self.send("POST", path, headers=spoofed, body=TEXT)
                self.assertIn(answer.status, (400, 401))
        self.assertEqual(self.upstream.take(), [])

    def test_the_path_that_is_judged_is_the_path_that_is_forwarded(self) -> None:
        for path in ("/healthz/../v1/voices", "/v1//voices", "/healthz%2f..%2fv1/voices", "/./v1/voices"):
            with self.subTest(path):
                self.assertIn(self.send("GET", path).status, (301, 307, 308, 400, 401, 404))
        self.assertEqual(self.upstream.take(), [])

    def test_a_key_that_is_limited_to_voices(self) -> None:
        other = "/v1/text-to-speech/another"
        self.assertEqual(self.send("POST", other, self.voice, body=TEXT).status, 404)
        self.assertEqual(self.upstream.take(), [])

    def test_a_websocket_without_its_key(self) -> None:
        path = "/v1/text-to-speech/allowed/stream-input"
        with_query = f"{path}?model_id=x&single_use_token={self.keys.speaker}"
        target = with_query if self.strips_queries else path
        headers = {} if self.strips_queries else {"xi-api-key": self.keys.speaker}

        async def talk() -> str:
            async with harness_client() as session:
                url = f"ws://127.0.0.1:{self.port}{target}"
                async with session.ws_connect(url, headers=headers) as ws:
                    await ws.send_str("hello")
                    return (await ws.receive()).data

        self.assertEqual(harness.run(talk()), "echo hello")
        self.decision(outcome="accepted", key_id="speaker")
        seen = self.only_seen()
        self.assertEqual(seen.holding(self.keys.speaker), [])
        if self.strips_queries:
            self.assertEqual(seen.query, {"model_id": ["x"]})

    def test_a_model_in_the_body(self) -> None:
        path = "/v1/text-to-speech/allowed"
        speak = lambda model: self.send(
            "POST", path, self.model, body=json.dumps({"text": "Hello.", "model_id": model})
        )
        answer = speak("allowed")
        # A proxy that does not send the body along cannot have it judged.
        self.assertEqual(answer.status == 200, self.sends_bodies, answer.text)
        if not self.sends_bodies:
            self.decision(outcome="refused", reason="model_not_seen")
            return
        self.upstream.take()
        answer = speak("another")
        self.assertGreaterEqual(answer.status, 400)
        self.assertIn("detail", json.loads(answer.text))
        self.gateway.wait_for_completion(self.before, failure="model_not_allowed")
        self.assertEqual(self.upstream.take(), [])

    def test_z_no_answer_is_a_refusal(self) -> None:
        self.assertEqual(self.gateway.printed_secrets(self.keys.all()), [])
        self.gateway.stop()
        answer = self.send("POST", "/v1/text-to-speech/allowed", self.keys.speaker, body=TEXT)
        self.assertGreaterEqual(answer.status, 400)
        self.assertEqual(self.upstream.take(), [])


def harness_client():
    import aiohttp

    return aiohttp.ClientSession()


class Nginx(Asking):
    via = "nginx"

    @classmethod
    def configure(cls, folder, port):
        (folder / "logs").mkdir()
        conf = cls.copy("nginx/nginx.conf", folder, **{"listen 8080": f"listen 127.0.0.1:{port}"})
        temp = "".join(
            f"{name}_temp_path {folder}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = conf.read_text().replace("http {\n", f"http {{\naccess_log off;\n{temp}", 1)
        conf.write_text(text)
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        stay = f"daemon off; pid {folder}/pid; error_log stderr;"
        return [nginx, "-p", str(folder), "-c", str(conf), "-e", "stderr", "-g", stay], {}


class Haproxy(Asking):
    via = "haproxy"

    @classmethod
    def configure(cls, folder, port):
        cls.copy("haproxy/voxgate.lua", folder)
        lua = {"bind :8080": f"bind 127.0.0.1:{port}", "lua-load voxgate.lua": f"lua-load {folder}/voxgate.lua"}
        conf = cls.copy("haproxy/haproxy.cfg", folder, **lua)
        haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
        return [haproxy, "-db", "-f", str(conf)], {"VOXGATE_URL": f"http://{cls.authorizer}"}


class Traefik(Asking):
    via = "traefik"
    sends_bodies = True
    strips_queries = False

    @classmethod
    def configure(cls, folder, port):
        dynamic = cls.copy("traefik/dynamic.yaml", folder)
        changes = {'":8080"': f'"127.0.0.1:{port}"', "dynamic.yaml": str(dynamic)}
        conf = cls.copy("traefik/traefik.yaml", folder, **changes)
        return [str(BIN / "traefik"), f"--configFile={conf}"], {}


class Caddy(Asking):
    via = "caddy"
    strips_queries = False

    @classmethod
    def configure(cls, folder, port):
        conf = cls.copy("caddy/Caddyfile", folder, **{"http://:8080": f"http://127.0.0.1:{port}"})
        return [str(BIN / "caddy"), "run", "--adapter", "caddyfile", "--config", str(conf)], {}


class Envoy(Asking):
    sends_bodies = True

    @classmethod
    def configure(cls, folder, port):
        listen = {"address: 0.0.0.0, port_value: 8080": f"address: 127.0.0.1, port_value: {port}"}
        conf = cls.copy(f"{cls.via.replace('_', '-')}/envoy.yaml", folder, **listen)
        more = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"]
        return [str(BIN / "envoy"), "-c", str(conf), *more], {}


class EnvoyHttp(Envoy):
    via = "envoy_http"
    strips_queries = False


class EnvoyGrpc(Envoy):
    via = "envoy_grpc"


def load() -> list[type[unittest.TestCase]]:
    cases = [Nginx, Haproxy, Traefik, Caddy, EnvoyHttp, EnvoyGrpc]
    wanted = sys.argv[1:]
    return [case for case in cases if not wanted or case.via in wanted]


if __name__ == "__main__":
    sys.exit(harness.main(*load()))
