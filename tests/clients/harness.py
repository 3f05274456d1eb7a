"""Shared code for the tests with the vendors' own clients.

A test file contains one or more `ClientTest`s and ends with `sys.exit(harness.main(...))`.
scripts/clients.sh runs each file on its own, with these variables:

    VOXGATE_BIN             the `voxgate` program
    VOXGATE_NODE_MODULES    the folder of the Node clients, if Node is installed

    client ──▶ voxgate serve ──▶ Upstream, a fake of the vendor that records what reaches it

Everything stays on the loopback interface. No test measures time. Each wait ends as soon as its
condition is true; the deadline only makes a failing test end.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO

from aiohttp import WSMsgType, web

STEP_SECONDS = 120.0  # the longest any single wait may take
RUN_SECONDS = 900.0  # the longest a whole test file may take

# With these variables, clients would leave the loopback interface.
for _name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"):
    os.environ.pop(_name, None)
    os.environ.pop(_name.upper(), None)


# -- keys -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Keys:
    """The keys of one test, in the vendor's format."""

    speaker: str  # may `tts:synthesize`; its id is `speaker`
    reader: str  # may only `usage:read`; its id is `reader`
    unknown: str  # not configured
    limited: str  # limited to one concurrent request; if configured, its id is `limited`
    deployment: str  # the key that the upstream expects in preconfigured mode

    @classmethod
    def shaped(cls, shape: Callable[[str], str]) -> Keys:
        """New keys. `shape` makes a key in the vendor's format from 32 random hex digits."""
        return cls(*(shape(secrets.token_hex(16)) for _ in fields(cls)))

    @classmethod
    def plain(cls) -> Keys:
        """New keys without a vendor's format."""
        return cls.shaped(lambda text: text)

    def all(self) -> tuple[str, ...]:
        return tuple(getattr(self, f.name) for f in fields(self))


def spellings(key: str) -> set[str]:
    """The forms in which `key` may appear: unchanged, the secret of `id:secret`, and each of these
    in base64 or percent-encoded."""
    plain = {key}
    if ":" in key:
        plain.add(key.partition(":")[2])
    found = set(plain)
    for text in plain:
        encoded = base64.b64encode(text.encode()).decode()
        found |= {encoded, encoded.rstrip("="), encoded.replace("+", "-").replace("/", "_")}
        found |= {urllib.parse.quote(text, safe=""), urllib.parse.quote(encoded, safe="")}
    return found


# -- the upstream server ------------------------------------------------------------------------


@dataclass
class Seen:
    """A request as the upstream received it."""

    method: str
    target: str  # path and query, unchanged
    headers: list[tuple[str, str]]
    body: bytes = b""
    messages: list[str | bytes] = field(default_factory=list)  # from a WebSocket client

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, list[str]]:
        return urllib.parse.parse_qs(self.target.partition("?")[2], keep_blank_values=True)

    def header(self, name: str) -> str | None:
        """The value of this header, or None. More than one value is an error."""
        values = [value for own, value in self.headers if own.lower() == name.lower()]
        assert len(values) <= 1, f"{len(values)} headers {name}: {values}"
        return values[0] if values else None

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that a WebSocket client offers."""
        lines = (v for name, v in self.headers if name.lower() == "sec-websocket-protocol")
        return [offer.strip() for line in lines for offer in line.split(",")]

    @property
    def json(self):
        return json.loads(self.body)

    def carriers(self) -> dict[str, str]:
        """All text of the request that could contain a credential, by its location."""
        found = {"target": self.target, "target, decoded": urllib.parse.unquote(self.target)}
        for number, (name, value) in enumerate(self.headers):
            found[f"header {number} {name}"] = f"{name}: {value}"
        found["body"] = self.body.decode("utf-8", "replace")
        for number, message in enumerate(self.messages):
            text = message if isinstance(message, str) else message.decode("utf-8", "replace")
            found[f"message {number}"] = text
        return found

    def holding(self, key: str) -> list[str]:
        """The locations that contain `key`, in any form."""
        forms = spellings(key)
        return [
            where
            for where, text in self.carriers().items()
            if any(form in text for form in forms)
        ]


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Upstream:
    """A fake of a vendor's server. It listens on a free port and records every request.

    `routes` are tuples (method, path in aiohttp's syntax, handler). A WebSocket handler reads with
    `messages_of`, which also records the client's messages. A request for any other path is
    recorded and answered with 404.
    """

    def __init__(self, routes: Iterable[tuple[str, str, Handler]]) -> None:
        self._routes = list(routes)
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = self._call(self._start())

    def take(self) -> list[Seen]:
        """The requests since the last call."""
        with self._lock:
            taken, self._seen = self._seen, []
        return taken

    def stop(self) -> None:
        """Closes every connection. Safe to call twice."""
        if self._thread.is_alive():
            self._call(self._runner.cleanup())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STEP_SECONDS)

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STEP_SECONDS)

    async def _start(self) -> str:
        app = web.Application(middlewares=[self._record])
        for method, path, handler in self._routes:
            app.router.add_route(method, path, handler)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    @web.middleware
    async def _record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        text = lambda raw: raw.decode("latin-1")
        headers = [(text(name), text(value)) for name, value in request.raw_headers]
        seen = Seen(request.method, request.raw_path, headers)
        request["seen"] = seen
        with self._lock:
            self._seen.append(seen)
        if request.headers.get("upgrade", "").lower() != "websocket":
            seen.body = await request.read()
        return await handler(request)


async def messages_of(
    request: web.Request, socket: web.WebSocketResponse
) -> AsyncIterator[str | bytes]:
    """Yields and records the client's messages on an accepted WebSocket, until it closes."""
    async for message in socket:
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            request["seen"].messages.append(message.data)
            yield message.data


def wav(samples: bytes, rate: int = 24000) -> bytes:
    """16-bit mono samples as a WAV file."""
    byte = lambda number, size: number.to_bytes(size, "little")
    form = byte(1, 2) + byte(1, 2) + byte(rate, 4) + byte(2 * rate, 4) + byte(2, 2) + byte(16, 2)
    parts = b"WAVEfmt " + byte(len(form), 4) + form + b"data" + byte(len(samples), 4) + samples
    return b"RIFF" + byte(len(parts), 4) + parts


# 0.1 s at 24 kHz, 16 bit, mono. Adjacent samples always differ.
SOUND = b"".join(
    (number * 97 % 20011 - 10000).to_bytes(2, "little", signed=True) for number in range(2400)
)


# -- the programs ---------------------------------------------------------------------------------


class Child:
    """A child process and its output. `environment` is its whole environment."""

    running: list[Child] = []

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        stdin: IO[str] | int = subprocess.DEVNULL,
    ) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        Child.running.append(self)
        pairs = ((self._process.stdout, self.lines), (self._process.stderr, self.errors))
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True) for pair in pairs
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, into: list[str]) -> None:
        for line in stream:
            with self._news:
                into.append(line.rstrip("\r\n"))
                self._news.notify_all()

    def wait_for(self, what: str, found: Callable):
        """Calls `found()` after each line until its result is not None, and returns the result."""
        deadline = time.monotonic() + STEP_SECONDS
        with self._news:
            while (value := found()) is None:
                # The last lines of a process may arrive after its exit.
                ended = self._process.poll() is not None
                ended = ended and not any(reader.is_alive() for reader in self._readers)
                if ended or time.monotonic() > deadline:
                    shown = "\n".join(self.lines[-20:] + self.errors[-20:])
                    code = self._process.poll()
                    raise AssertionError(f"no {what} (exit code {code}); printed:\n{shown}")
                self._news.wait(0.2)
            return value

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        """Ends the child: SIGTERM first, then SIGKILL. Safe to call twice."""
        if self not in Child.running:
            return
        Child.running.remove(self)
        self._process.terminate()
        try:
            self._process.wait(STEP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STEP_SECONDS)
        for reader in self._readers:
            reader.join(STEP_SECONDS)

    def printed_secrets(self, keys: Iterable[str]) -> list[str]:
        """The lines of both streams that contain one of these keys, in any form."""
        forms = {form for key in keys for form in spellings(key)}
        return [
            line for line in self.lines + self.errors if any(form in line for form in forms)
        ]


class Gateway(Child):
    """`voxgate serve` in front of `upstream`, on free ports.

    With `keys`, its mode is `validate`. With `deployment` (a variable's name and value) and no
    keys, its mode is `preconfigured`. `extra` are `[[key]]` tables for the keys file, by id.
    """

    def __init__(
        self,
        dialect: str,
        upstream: str,
        *,
        keys: Keys | None = None,
        deployment: tuple[str, str] | None = None,
        extra: dict[str, dict[str, object]] | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        environment = {
            "VOXGATE_DIALECT": dialect,
            "VOXGATE_UPSTREAM": upstream,
            "VOXGATE_LISTEN": "127.0.0.1:0",
            "VOXGATE_ADMIN_LISTEN": "127.0.0.1:0",
            "VOXGATE_DRAIN_SECONDS": "1",
            # The most detailed log: it must not contain a key either.
            "VOXGATE_LOG": "debug",
            "VOXGATE_LOG_FORMAT": "json",
        }
        environment |= settings or {}
        if deployment:
            environment[deployment[0]] = deployment[1]
        self._folder = tempfile.TemporaryDirectory()
        if keys:
            file = Path(self._folder.name) / "keys.toml"
            file.write_text(self._keys_file(keys, extra or {}), encoding="utf-8")
            environment["VOXGATE_KEYS_FILE"] = str(file)
            if deployment:
                environment["VOXGATE_MODE"] = "validate"
        super().__init__([os.environ["VOXGATE_BIN"], "serve"], environment)
        try:
            self.address: str = self.wait_for("line saying that it listens", self._listening)
        except BaseException:
            self.stop()
            raise
        self.url = f"http://{self.address}"
        self.ws_url = f"ws://{self.address}"

    def stop(self) -> None:
        super().stop()
        self._folder.cleanup()

    @staticmethod
    def _keys_file(keys: Keys, extra: dict[str, dict[str, object]]) -> str:
        tables = {
            "speaker": {"secret": keys.speaker, "scopes": ["tts:synthesize"]},
            "reader": {"secret": keys.reader, "scopes": ["usage:read"]},
            **extra,
        }
        # For these values, JSON and TOML have the same syntax.
        return "\n".join(
            "\n".join(
                ["[[key]]", f"id = {json.dumps(name)}"]
                + [f"{entry} = {json.dumps(value)}" for entry, value in table.items()]
            )
            for name, table in tables.items()
        )

    def _listening(self) -> str | None:
        for line in self.errors:
            record = json.loads(line) if line.startswith("{") else {}
            if record.get("message") == "listening":
                return record["address"]
        return None

    def wait_for_decision(self, after: int, **expected: object) -> dict:
        """Waits for the record of a decision with these fields, after the first `after` lines."""
        return self._wait_for_record(after, {"event": "decision", **expected})

    def wait_for_completion(self, after: int, **expected: object) -> dict:
        """Waits for the record of a completed request with these fields."""
        return self._wait_for_record(after, {"event": "complete", **expected})

    def _wait_for_record(self, after: int, expected: dict[str, object]) -> dict:
        wanted = expected.items()

        def found() -> dict | None:
            records = (json.loads(line) for line in self.lines[after:])
            return next((record for record in records if wanted <= record.items()), None)

        return self.wait_for(f"record with {expected} after line {after}", found)


class Busy(Gateway):
    """A gateway in front of an upstream that never answers. `keys.limited` is limited to one
    concurrent request, which is already in flight, so every other one exceeds the limit."""

    def __init__(self, dialect: str, keys: Keys, as_given: Callable[[str], str]) -> None:
        self._silent = socket.create_server(("127.0.0.1", 0))
        host, port = self._silent.getsockname()
        super().__init__(
            dialect,
            f"http://{host}:{port}",
            keys=keys,
            extra={"limited": {"secret": keys.limited, "concurrency": 1}},
            settings={"VOXGATE_UPSTREAM_TIMEOUT_SECONDS": "3600", "VOXGATE_DRAIN_SECONDS": "0"},
        )
        try:
            file = Path(self._folder.name) / "limited"
            file.write_text(as_given(keys.limited), encoding="utf-8")
            # This request keeps its slot while it waits for the answer.
            command = [os.environ["VOXGATE_BIN"], "probe", "--url", f"{self.url}/"]
            command += ["--dialect", dialect, "--key-file", str(file)]
            command += ["--expect", "success", "--timeout", "3600"]
            self._holder = Child(command, {})
            self.wait_for_decision(0, outcome="accepted", key_id="limited")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        super().stop()
        if holder := getattr(self, "_holder", None):
            holder.stop()
        self._silent.close()

    def wait_for_refusal(self, after: int) -> None:
        """Waits for the audit record of a 429, after the first `after` lines of the log."""
        self.wait_for_decision(after, reason="rate_limited", limit="key_concurrency", status=429)


# -- the tests ------------------------------------------------------------------------------------


class ClientTest(unittest.TestCase):
    """The base class of the client tests: a fake of the vendor, and gateways in front of it.

    Subclasses set `dialect` and `variable` and define `routes`. If the vendor's keys have a format,
    they also set `keys`.
    """

    dialect: str
    variable: str | None = None  # the variable of the deployment key, if the vendor has one
    keys: Keys
    as_given = staticmethod(lambda key: key)  # a key in the form that the client expects
    extra_keys: dict[str, dict[str, object]] = {}
    settings: dict[str, str] = {}  # further settings of the gateway with keys
    voice: str | None = None  # the voice of the requests, if keys limited to voices are tested
    new_key = staticmethod(lambda: secrets.token_hex(16))  # a key in the vendor's format
    voice_key: str  # may use this voice only
    other_voice_key: str  # may use another voice only

    upstream: Upstream
    gateway: Gateway  # with keys
    preconfigured: Gateway  # only with a deployment key
    busy: Busy  # for 429

    @classmethod
    def routes(cls) -> Iterable[tuple[str, str, Handler]]:
        """The routes of the vendor's fake."""
        raise NotImplementedError

    @classmethod
    def make_upstream(cls) -> Upstream:
        """The vendor's fake."""
        return Upstream(cls.routes())

    @classmethod
    def setUpClass(cls) -> None:
        if "keys" not in cls.__dict__ and not hasattr(cls, "keys"):
            cls.keys = Keys.plain()
        if cls.voice:
            cls.voice_key, cls.other_voice_key = cls.new_key(), cls.new_key()
            cls.extra_keys = {
                **cls.extra_keys,
                "voice": {"secret": cls.voice_key, "voices": [cls.voice]},
                "other-voice": {"secret": cls.other_voice_key, "voices": ["another-voice"]},
            }
        cls.addClassCleanup(cls._check_silence)
        cls.upstream = cls._until_end(cls.make_upstream())
        cls.gateway = cls._until_end(
            Gateway(
                cls.dialect,
                cls.upstream.url,
                keys=cls.keys,
                extra=cls.extra_keys,
                settings=cls.settings,
            )
        )
        if cls.variable:
            deployment = (cls.variable, cls.keys.deployment)
            cls.preconfigured = cls._until_end(
                Gateway(cls.dialect, cls.upstream.url, deployment=deployment)
            )
        cls.busy = cls._until_end(Busy(cls.dialect, cls.keys, cls.as_given))

    @classmethod
    def _until_end(cls, server):
        cls.addClassCleanup(server.stop)
        return server

    @classmethod
    def _check_silence(cls) -> None:
        """Runs last, after all processes ended: asserts that none of them printed a key."""
        keys = set(cls.keys.all()) | {str(table["secret"]) for table in cls.extra_keys.values()}
        for name in ("gateway", "preconfigured", "busy"):
            child = getattr(cls, name, None)
            if child and (lines := child.printed_secrets(keys)):
                raise AssertionError(f"the {name} printed a key: {lines}")

    def setUp(self) -> None:
        self.upstream.take()
        self.decisions_before = len(self.gateway.lines)

    @contextlib.contextmanager
    def way(self, name: str) -> Iterator[None]:
        """A subtest for one of several ways to make the same request. It starts with no records."""
        with self.subTest(name):
            self.setUp()
            yield

    def expect_forwarded(self, key: str, key_id: str = "speaker") -> list[Seen]:
        """Asserts that the upstream received requests with the caller's id and without its key."""
        arrived = self.upstream.take()
        self.assertTrue(arrived, "nothing reached the server behind")
        for seen in arrived:
            self.assertEqual(seen.holding(key), [], f"the key stands in {seen}")
            self.assertEqual(seen.header("x-voxgate-key-id"), key_id)
        return arrived

    def expect_nothing_forwarded(self) -> None:
        """Asserts that the refused request did not reach the upstream."""
        self.assertEqual(self.upstream.take(), [])

    def expect_failure(self, failure: str, **expected: object) -> dict:
        """Asserts that the gateway refused the body or a message of an accepted request, since the
        start of the test. Its decision has these fields."""
        completion = self.gateway.wait_for_completion(self.decisions_before, failure=failure)
        request_id = completion["request_id"]
        self.expect_decision("accepted", "ok", request_id=request_id, **expected)
        return completion

    def expect_decision(self, outcome: str, reason: str, **expected: object) -> dict:
        """Asserts that the gateway audited this decision since the start of the test."""
        return self.gateway.wait_for_decision(
            self.decisions_before, outcome=outcome, reason=reason, dialect=self.dialect, **expected
        )


def run(work: Awaitable):
    """Runs a coroutine in a new event loop, with a deadline."""

    async def bounded():
        return await asyncio.wait_for(work, STEP_SECONDS)

    return asyncio.run(bounded())


class _Counting(unittest.TextTestResult):
    """Counts the tests that passed."""

    passed = 0

    def addSuccess(self, test) -> None:
        super().addSuccess(test)
        self.passed += 1


def _give_up() -> None:
    """Ends the children and this process, because the run took too long."""
    print(f"gave up after {RUN_SECONDS:.0f} s", file=sys.stderr, flush=True)
    for child in list(Child.running):
        child.kill()
    print("0 passed, 1 failed", flush=True)
    os._exit(3)


def main(*cases: type[unittest.TestCase]) -> int:
    """Runs every test of these classes. Returns the exit code."""
    if not os.environ.get("VOXGATE_BIN"):
        print("set VOXGATE_BIN; scripts/clients.sh does", file=sys.stderr)
        return 2
    watchdog = threading.Timer(RUN_SECONDS, _give_up)
    watchdog.daemon = True
    watchdog.start()
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    suite = unittest.TestSuite(map(load, cases))
    total = suite.countTestCases()
    result = unittest.TextTestRunner(verbosity=2, resultclass=_Counting).run(suite)
    watchdog.cancel()
    for child in list(Child.running):
        child.stop()
    sys.stderr.flush()
    # A failure outside of a test counts too, such as the check that no key was printed.
    failed = total - result.passed or int(not result.wasSuccessful())
    print(f"{result.passed} passed, {failed} failed", flush=True)
    return 0 if failed == 0 and total > 0 else 1
