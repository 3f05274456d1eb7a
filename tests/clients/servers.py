"""Shared code for the tests with other servers behind the gateway: gunicorn, uvicorn, hypercorn and
Node. Each answers with what it has read, as its application sees it.

An application of a CGI-like server sees folded names: `SCRIPT_NAME`, `X_Forwarded_For` and
`X-Forwarded-For` may be one header to it. The tests send such names and ask that the application
sees the request that the gateway judged.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import unittest

import harness
from harness import Child, Gateway, Keys

PATH = "/voices/v1/tts"
BODY = b'{"text":"Good morning."}'
FORGED = "/voices"  # with gunicorn, the prefix of the path that SCRIPT_NAME takes away

# Names that some server reads as another one.
FOLDED = [
    "SCRIPT_NAME",
    "PATH_INFO",
    "REMOTE_USER",
    "REMOTE_ADDR",
    "Content_Length",
    "Transfer_Encoding",
    "Content_Type",
    "Host_",
    "Authorization.",
    "X_Forwarded_For",
    "X_Forwarded_Proto",
    "X.Forwarded.Host",
    "X_Real_IP",
    "X_Voxgate_Key_Id",
    "X_HTTP_Method_Override",
    "HTTP_HOST",
]
# Names that some server or framework trusts.
TRUSTED = [
    "Script-Name",
    "X-Script-Name",
    "X-Original-Path",
    "X-Original-URL",
    "X-Rewrite-Path",
    "X-Rewrite-URL",
    "X-Override-URL",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Prefix",
    "X-Forwarded-Ssl",
    "X-Forwarded-Protocol",
    "X-Host",
    "X-HTTP-Method-Override",
    "X-Middleware-Subrequest",
    "X-Sendfile-Type",
    "X-Accel-Mapping",
    "X-Accel-Redirect",
    "Remote-User",
    "Remote-Groups",
    "X-Auth-Request-User",
    "X-WEBAUTH-USER",
    "X-Consumer-Username",
    "X-Original-Forwarded-For",
    "X-Url-Scheme",
    "Proxy",
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Server(Child):
    """A server on a port of its own. `command` gets the address in place of `{address}`, and the port
    in place of `{port}`."""

    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        whole = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **(environment or {})}
        port = self.address.rpartition(":")[2]
        super().__init__([word.format(address=self.address, port=port) for word in command], whole)
        try:
            self.wait_for("open port", self._accepts)
        except BaseException:
            self.stop()
            raise

    def _accepts(self) -> bool | None:
        try:
            socket.create_connection(tuple(self.address.split(":")), 1).close()
        except OSError:
            return None
        return True


def post(address: str, headers: dict[str, str]) -> tuple[int, dict]:
    """The status, and what the application says it has read."""
    connection = http.client.HTTPConnection(address, timeout=harness.STEP_SECONDS)
    try:
        connection.request("POST", PATH, BODY, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if answer.status == 200 else {}
    finally:
        connection.close()


class ServerTest(unittest.TestCase):
    """The base class: subclasses start `server` in `start`."""

    server: Server
    gateway: Gateway

    @classmethod
    def start(cls) -> Server:
        raise NotImplementedError

    @classmethod
    def setUpClass(cls) -> None:
        cls.keys = Keys.plain()
        cls.server = cls.start()
        cls.addClassCleanup(cls.server.stop)
        # A key without scopes: the dialect has no policy of its own.
        cls.key = cls.keys.limited
        cls.gateway = Gateway(
            "bearer",
            f"http://{cls.server.address}",
            keys=cls.keys,
            extra={"limited": {"secret": cls.key}},
        )
        cls.addClassCleanup(cls.gateway.stop)

    def judged(self, headers: dict[str, str]) -> None:
        """The application has read the request that the gateway judged, and nothing forged."""
        sent = {"Authorization": f"Bearer {self.key}", **headers}
        status, read = post(self.gateway.address, sent)
        self.assertEqual(status, 200, headers)
        self.assertEqual(read["method"], "POST", headers)
        self.assertEqual(read["path"], PATH, headers)
        self.assertEqual(read["prefix"], "", headers)
        self.assertEqual(read["body"], BODY.decode(), headers)
        self.assertNotIn(FORGED, read["fields"].values(), headers)
        self.assertNotIn("forged", json.dumps(read), headers)
        self.assertNotIn(self.key, json.dumps(read), headers)
        self.assertEqual(read["key_id"], "limited", headers)

    def test_a_folded_name_changes_nothing(self) -> None:
        for name in FOLDED:
            for value in (FORGED, "forged"):
                with self.subTest(name=name, value=value):
                    self.judged({name: value})

    def test_a_trusted_name_changes_nothing(self) -> None:
        for name in TRUSTED:
            for value in (FORGED, "forged"):
                with self.subTest(name=name, value=value):
                    self.judged({name: value})

    def test_all_of_them_at_once_change_nothing(self) -> None:
        self.judged({name: "forged" for name in FOLDED + TRUSTED})

    def test_a_copy_of_the_key_does_not_arrive(self) -> None:
        for name in ("User-Agent", "Referer", "Cookie", "X-Copy", "X_Copy"):
            with self.subTest(name=name):
                self.judged({name: f"a={self.key}"})


def python(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]
