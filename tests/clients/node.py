"""Shared code for the tests with Node clients, with the clients' default settings.

Each test file has a script beside it, with the same name and the ending `.mjs`. The script loads the
client from VOXGATE_NODE_MODULES, where scripts/node.sh installs it, and makes calls as node.mjs
documents.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

from harness import SOUND, STEP_SECONDS, Gateway, Seen
from retries import RetryTest


class Script:
    """A running script. Some clients take seconds to load, so it serves all calls of a test file."""

    def __init__(self, test_file: str, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            ["node", str(Path(test_file).with_suffix(".mjs"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={
                "PATH": os.environ["PATH"],
                "VOXGATE_NODE_MODULES": os.environ["VOXGATE_NODE_MODULES"],
                **(environment or {}),
            },
        )

    def call(self, what: dict) -> dict:
        """The client's result. The script bounds the time of a call."""
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the script ended with exit code {self._process.wait(STEP_SECONDS)}"
        return json.loads(line)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


class NodeTest(RetryTest):
    """The tests that every Node client passes."""

    file: str  # the test file
    ways: tuple[str, ...]  # the client's methods, as the script names them
    unauthorized: str  # the client's error for 401
    too_many: str  # the client's error for 429

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.script = cls._until_end(Script(cls.file))

    def expect_request(self, way: str, seen: Seen) -> None:
        """Asserts that this is the client's request for speech, without a key."""
        raise NotImplementedError

    def expect_words(self, body: dict, status: int) -> None:
        """Asserts that this is the vendor's refusal."""
        raise NotImplementedError

    def call(self, server: Gateway, key: str, way: str) -> dict:
        return self.script.call(
            {"url": server.url, "socketUrl": server.ws_url, "key": key, "way": way}
        )

    def expect_speech(self, key: str, way: str, key_id: str) -> None:
        result = self.call(self.gateway, key, way)
        self.assertEqual(base64.b64decode(result.get("audio", "")), SOUND, result)
        (seen,) = self.expect_forwarded(key, key_id)
        self.expect_request(way, seen)
        self.expect_decision(
            "accepted",
            "ok",
            key_id=key_id,
            path=seen.path,
            request_id=seen.header("x-request-id"),
        )

    def refusal(
        self, server: Gateway, key: str, way: str, number: int, status: int, reason: str
    ) -> dict:
        """Asserts that the client raises its own error for this status, after `number` requests.
        Returns the error's headers."""
        result = self.expect_requests(
            server,
            number,
            lambda: self.call(server, key, way),
            reason=reason,
            status=status,
            outcome="refused",
        )
        error = result.get("error", {})
        self.assertEqual(error.get("kind"), self.too_many if status == 429 else self.unauthorized)
        self.assertEqual(error["status"], status)
        # It is a string if the client did not recognize JSON.
        self.assertIsInstance(error["body"], dict, error)
        self.expect_words(error["body"], status)
        self.assertNotIn(key, json.dumps(error))
        self.expect_nothing_forwarded()
        return error["headers"]

    def test_speech_arrives(self) -> None:
        for way in self.ways:
            with self.way(way):
                self.expect_speech(self.keys.speaker, way, "speaker")

    def test_an_unknown_key_is_not_retried(self) -> None:
        for way in self.ways:
            with self.way(way):
                headers = self.refusal(
                    self.gateway, self.keys.unknown, way, 1, 401, "unknown_credential"
                )
                self.assertNotIn("retry-after", headers)

    def test_an_exhausted_rate_is_an_error_soon(self) -> None:
        self.expect_speech(self.hourly, self.ways[0], self.hourly_id)
        for way in self.ways:
            with self.way(way):
                headers = self.refusal(
                    self.gateway, self.hourly, way, self.long_wait.requests, 429, "rate_limited"
                )
                self.expect_long_wait(headers)

    def test_a_short_limit_is_retried(self) -> None:
        headers = self.refusal(
            self.busy, self.keys.limited, self.ways[0], 3, 429, "rate_limited"
        )
        self.assertEqual(headers["retry-after"], "1")
        self.assertNotIn("x-should-retry", headers)
