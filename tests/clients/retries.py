"""Shared code for the tests of how often a client repeats a request that the gateway refused.

The clients run with their own retry settings. Some sleep for the time that `Retry-After` names, which
is an hour for an exhausted rate of `1/h`, unless the gateway tells them otherwise.
"""

from __future__ import annotations

import json
import secrets
import time
import unittest
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness import SOUND, STEP_SECONDS, ClientTest, Gateway

HANG_SECONDS = 30.0  # a client that takes longer to raise its error fails the test
# The longest time from a refusal to the client's error, by what the gateway tells and does.
ERROR_SECONDS = 3.0
DELAY_SECONDS = 0.5  # how long the gateway delays the refusal of an address that fails too often
# With these settings, each refusal after the first is delayed.
SLOWED = {"VOXGATE_LIMIT_AUTH_FAILURES": "1"}
MARKER = "/marker"
HOUR = range(3000, 3601)  # an hour in seconds, less the time that has passed


@dataclass(frozen=True)
class LongWait:
    """What a client receives and does if its limit is exhausted for long."""

    requests: int  # how many requests the client sends in all
    retry_after: range  # in seconds
    should_retry: str | None


# The SDKs that Stainless generates obey `x-should-retry`.
STAINLESS = LongWait(requests=1, retry_after=HOUR, should_retry="false")
# The SDKs that Fern generates retry twice. Those for Python do not, if the answer is streamed.
FERN = LongWait(requests=3, retry_after=range(1, 2), should_retry=None)


@dataclass(frozen=True)
class Way:
    """One of several ways to use a client with its default settings."""

    name: str
    call: Callable[[str], object]  # with a key
    requests: int  # how many requests the client sends if its limit is exhausted for long


class RetryTest(ClientTest):
    """A `ClientTest` in which each test has a key that may send one request an hour."""

    long_wait: LongWait
    _hourly: dict[str, tuple[str, str]]  # test → id, key

    @classmethod
    def setUpClass(cls) -> None:
        tests = unittest.defaultTestLoader.getTestCaseNames(cls)
        cls._hourly = {
            test: (f"hourly-{number}", secrets.token_hex(16)) for number, test in enumerate(tests)
        }
        cls.extra_keys = cls.extra_keys | {
            key_id: {"secret": key, "rate": "1/h"}
            for key_id, key in cls._hourly.values()
        }
        super().setUpClass()

    @property
    def hourly_id(self) -> str:
        return self._hourly[self._testMethodName][0]

    @property
    def hourly(self) -> str:
        return self._hourly[self._testMethodName][1]

    def expect_requests(self, server: Gateway, number: int, call: Callable, **expected: object):
        """Makes the call and returns its result. Asserts that the client sent this number of
        requests, and that the gateway's decision on each has these fields. Prints the time.

        If the result is a dict with `seconds`, that is the time; otherwise it is measured here."""
        before = self._marker(server)
        begin = time.monotonic()
        result = call()
        seconds = time.monotonic() - begin
        if isinstance(result, dict):
            seconds = result.get("seconds", seconds)
        records = (json.loads(line) for line in server.lines[before : self._marker(server)])
        decisions = [
            record
            for record in records
            if record["event"] == "decision" and record["path"] != MARKER
        ]
        what = " ".join(str(value) for value in expected.values())
        print(f"{self.id()}: {what}: {len(decisions)} requests in {seconds:.2f} s", flush=True)
        for decision in decisions:
            self.assertLessEqual(expected.items(), decision.items())
        self.assertEqual(len(decisions), number, decisions)
        self.assertLess(seconds, HANG_SECONDS)
        self.assertLess(self._longest(decisions), ERROR_SECONDS)
        return result

    def _longest(self, decisions: Sequence[Mapping[str, object]]) -> float:
        """How long these refusals keep a client at most, if it waits as long as it is told. This is
        counted, not measured: the time on a busy machine proves nothing."""
        delays = sum(
            DELAY_SECONDS for decision in decisions if decision.get("limit") == "peer_failures"
        )
        repeated = [decision for decision in decisions[1:] if decision["status"] == 429]
        pauses = sum(self.long_wait.retry_after.stop - 1 for _ in repeated)
        return delays + pauses

    @staticmethod
    def _marker(server: Gateway) -> int:
        """Sends a request, and waits for its record. Records are in the order of the requests, so
        those of earlier requests are in the lines before. Returns the number of lines."""
        before = len(server.lines)
        try:
            urllib.request.urlopen(f"{server.url}{MARKER}", timeout=STEP_SECONDS)
        except urllib.error.HTTPError as refused:
            refused.close()
        server.wait_for_decision(before, path=MARKER)
        return len(server.lines)

    def expect_default_retries(
        self,
        ways: Sequence[Way],
        unauthorized: type[Exception],
        too_many: type[Exception],
        audio: bytes = SOUND,
    ) -> None:
        """Makes requests in each of these ways, the first of which returns `audio`. Asserts that
        the client raises its own errors, and how many requests it sends before."""
        self.assertEqual(ways[0].call(self.hourly), audio)
        for way in ways:
            with self.way(way.name):
                self.expect_raised(
                    unauthorized,
                    1,
                    lambda: way.call(self.keys.unknown),
                    status=401,
                    reason="unknown_credential",
                )
                error = self.expect_raised(
                    too_many,
                    way.requests,
                    lambda: way.call(self.hourly),
                    status=429,
                    reason="rate_limited",
                )
                response = getattr(error, "response", error)
                self.expect_long_wait(response.headers)
                self.expect_nothing_forwarded()

    def expect_raised(
        self, kind: type[Exception], number: int, call: Callable, **expected: object
    ) -> Exception:
        """Asserts that the call raises exactly this error, after `number` refused requests."""

        def raised() -> Exception:
            with self.assertRaises(kind) as caught:
                call()
            return caught.exception

        error = self.expect_requests(self.gateway, number, raised, outcome="refused", **expected)
        self.assertIs(type(error), kind)
        return error

    def expect_long_wait(self, headers: Mapping[str, str]) -> None:
        """Asserts that these are the headers of a refusal for the exhausted rate of an hour."""
        self.assertIn(int(headers["retry-after"]), self.long_wait.retry_after)
        self.assertEqual(headers.get("x-should-retry"), self.long_wait.should_retry)
        # `RateLimit` has the true time, even if `Retry-After` is shortened.
        (rate,) = (limit for limit in headers["ratelimit"].split(", ") if '"key_rate"' in limit)
        parameters = dict(item.split("=") for item in rate.split(";")[1:])
        self.assertEqual(parameters["r"], "0")
        self.assertIn(int(parameters["t"]), HOUR)
