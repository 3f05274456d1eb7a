"""Runs LiveKit's own Rime client against `voxgate demo`.

Usage: VOXGATE_BIN=target/release/voxgate python tests/clients/rime_livekit.py
with the packages of requirements.txt next to this file installed. Everything
stays on the loopback interface. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import os
import re
import subprocess
import sys
import threading
import time
import unittest

import aiohttp
from livekit.agents import APIConnectOptions, APIStatusError
from livekit.plugins import rime

# How the demo's audit lines tell the two outcomes apart.
ACCEPTED = re.compile(r"\b(accepted|accept|allowed|allow|granted|ok|200|101)\b", re.IGNORECASE)
REFUSED = re.compile(r"\b(refused|refuse|rejected|reject|denied|deny|401)\b", re.IGNORECASE)

MODEL = "mistv2"
RATE = 22050
TEXT = "Good morning. The gateway let this sentence through."
STEP_SECONDS = 12.0  # the longest any single wait may take
RUN_SECONDS = 58.0  # the longest the whole run may take
ONCE = APIConnectOptions(max_retry=0, timeout=8.0)


class Demo:
    """A `voxgate demo` child process and everything it prints."""

    running: list[Demo] = []

    def __init__(self, *arguments: str) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [os.environ["VOXGATE_BIN"], "demo", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        Demo.running.append(self)
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self._process.stdout, self.lines), (self._process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()
        try:
            self.gateway = self._announced("gateway", r"http://127\.0\.0\.1:\d+")
            self.key = self._announced("key", r"vxg_\S+|not needed \(preconfigured\)")
            self.banner = self._settle()
        except BaseException:
            self.stop()
            raise

    def _read(self, stream, into: list[str]) -> None:
        for line in stream:
            with self._news:
                into.append(line.rstrip("\r\n"))
                self._news.notify_all()

    def wait_for(self, found, what: str):
        """Waits until `found()` is neither None nor False and returns it."""
        deadline = time.monotonic() + STEP_SECONDS
        with self._news:
            while True:
                value = found()
                if value is not None and value is not False:
                    return value
                left = deadline - time.monotonic()
                if left <= 0 or (self._process.poll() is not None and left < STEP_SECONDS - 1):
                    shown = "\n".join(self.lines[-20:] + self.errors[-20:])
                    code = self._process.poll()
                    raise AssertionError(f"no {what} (exit code {code}); the demo said:\n{shown}")
                self._news.wait(min(left, 0.2))

    def _announced(self, name: str, value: str) -> str:
        line = re.compile(rf"  {name} +({value})")

        def found() -> str | None:
            matches = (line.fullmatch(text) for text in self.lines)
            return next((match[1] for match in matches if match), None)

        return self.wait_for(found, f"line announcing the {name}")

    def _settle(self) -> int:
        """Waits until the start banner is complete: how many lines it has."""
        deadline = time.monotonic() + STEP_SECONDS
        seen = -1
        while seen != len(self.lines) and time.monotonic() < deadline:
            seen = len(self.lines)
            time.sleep(0.5)
        return seen

    def stop(self) -> None:
        """Ends the child, politely first. Safe to call twice."""
        if self in Demo.running:
            Demo.running.remove(self)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STEP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STEP_SECONDS)
        for reader in self._readers:
            reader.join(STEP_SECONDS)
        for stream in (self._process.stdout, self._process.stderr):
            stream.close()


async def over_http(demo: Demo, key: str) -> bytes:
    """Synthesises TEXT with one HTTP request."""
    async with aiohttp.ClientSession() as session:
        client = rime.TTS(
            base_url=f"{demo.gateway}/v1/rime-tts",
            api_key=key,
            model=MODEL,
            sample_rate=RATE,
            http_session=session,
        )
        async with contextlib.aclosing(client), asyncio.timeout(STEP_SECONDS):
            async with client.synthesize(TEXT, conn_options=ONCE) as stream:
                return await collect(stream)


async def over_websocket(demo: Demo, key: str) -> bytes:
    """Synthesises TEXT, given in pieces, over the legacy ws3 websocket."""
    async with aiohttp.ClientSession() as session:
        client = rime.TTS(
            base_url=demo.gateway.replace("http://", "ws://"),
            api_key=key,
            model=MODEL,
            sample_rate=RATE,
            use_websocket=True,
            http_session=session,
        )
        async with contextlib.aclosing(client), asyncio.timeout(STEP_SECONDS):
            async with client.stream(conn_options=ONCE) as stream:
                for word in TEXT.split(" "):
                    stream.push_text(word + " ")
                stream.end_input()
                return await collect(stream)


async def collect(stream) -> bytes:
    """All samples of a LiveKit stream."""
    sound = bytearray()
    async for event in stream:
        assert event.frame.sample_rate == RATE and event.frame.num_channels == 1
        sound += event.frame.data.cast("b")
    return bytes(sound)


PATHS = (("http", over_http), ("websocket", over_websocket))


class RealClient(unittest.IsolatedAsyncioTestCase):
    """What every test here needs."""

    def check_sound(self, sound: bytes) -> None:
        """TEXT takes a few seconds to say, and is not silence."""
        samples = array.array("h", sound)
        self.assertGreater(len(samples) / RATE, 1.5)
        self.assertLess(len(samples) / RATE, 12)
        self.assertGreater(max(samples), 1000)
        self.assertLess(min(samples), -1000)

    async def check_refused(self, say, demo: Demo, key: str) -> None:
        """A wrong key must reach the caller as status 401."""
        with self.assertRaises(APIStatusError) as caught:
            await say(demo, key)
        self.assertEqual(caught.exception.status_code, 401)


class WithKeys(RealClient):
    """The demo as it starts by default: clients need the key it prints."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.demo = Demo()
        cls.addClassCleanup(cls.demo.stop)
        # Same shape, other secret; and something that is no key at all.
        key = cls.demo.key
        flipped = "".join("b" if letter == "a" else "a" for letter in key[-16:])
        cls.wrong_keys = (key[:-16] + flipped, "not-a-key-at-all")

    async def test_http_with_the_key_speaks(self) -> None:
        self.check_sound(await over_http(self.demo, self.demo.key))

    async def test_http_with_a_wrong_key_is_401(self) -> None:
        for key in self.wrong_keys:
            await self.check_refused(over_http, self.demo, key)

    async def test_websocket_with_the_key_speaks(self) -> None:
        self.check_sound(await over_websocket(self.demo, self.demo.key))

    async def test_websocket_with_a_wrong_key_is_401(self) -> None:
        for key in self.wrong_keys:
            await self.check_refused(over_websocket, self.demo, key)

    async def test_audit_lines_tell_the_outcome_and_never_the_key(self) -> None:
        demo = self.demo
        for name, say in PATHS:
            with self.subTest(name):
                self.expect_audit(ACCEPTED, await self.lines_after(say(demo, demo.key)))
                refused = self.check_refused(say, demo, self.wrong_keys[0])
                self.expect_audit(REFUSED, await self.lines_after(refused))
        demo.stop()
        self.assertTrue(any(demo.key in line for line in demo.lines[: demo.banner]))
        for line in demo.lines[demo.banner :] + demo.errors:
            # The end of a key is always part of its secret.
            for secret in (demo.key[-16:], self.wrong_keys[0][-16:], self.wrong_keys[1]):
                self.assertNotIn(secret, line)

    async def lines_after(self, request) -> int:
        """Makes the request: the number of lines printed before it."""
        before = len(self.demo.lines)
        await request
        return before

    def expect_audit(self, outcome: re.Pattern[str], before: int) -> None:
        """Waits for a line after `before` that tells this outcome."""
        found = lambda: any(map(outcome.search, self.demo.lines[before:]))
        self.demo.wait_for(found, f"audit line like {outcome.pattern}")

    @classmethod
    def load_order(cls) -> list[str]:
        """The audit test stops the demo, so it comes last."""
        names = unittest.defaultTestLoader.getTestCaseNames(cls)
        return sorted(names, key=lambda name: "audit" in name)


class Preconfigured(RealClient):
    """`--mode preconfigured`: the client sends no usable key and needs none."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.demo = Demo("--mode", "preconfigured")
        cls.addClassCleanup(cls.demo.stop)

    @classmethod
    def load_order(cls) -> list[str]:
        return list(unittest.defaultTestLoader.getTestCaseNames(cls))

    async def test_any_key_speaks_over_http(self) -> None:
        self.assertEqual(self.demo.key, "not needed (preconfigured)")
        self.check_sound(await over_http(self.demo, "arbitrary nonsense"))

    async def test_any_key_speaks_over_the_websocket(self) -> None:
        self.check_sound(await over_websocket(self.demo, "arbitrary nonsense"))


class Counting(unittest.TextTestResult):
    """Counts the tests that passed."""

    passed = 0

    def addSuccess(self, test) -> None:
        super().addSuccess(test)
        self.passed += 1


def give_up() -> None:
    """The run took too long: end the children, then this process."""
    print(f"gave up after {RUN_SECONDS:.0f} s", file=sys.stderr, flush=True)
    for demo in list(Demo.running):
        demo._process.kill()
    os._exit(3)


def main() -> int:
    if not os.environ.get("VOXGATE_BIN"):
        print("set VOXGATE_BIN to the voxgate executable", file=sys.stderr)
        return 2
    logging.getLogger("livekit").setLevel(logging.CRITICAL)  # refusals are expected here
    watchdog = threading.Timer(RUN_SECONDS, give_up)
    watchdog.daemon = True
    watchdog.start()
    cases = (WithKeys, Preconfigured)
    suite = unittest.TestSuite(case(name) for case in cases for name in case.load_order())
    total = suite.countTestCases()
    result = unittest.TextTestRunner(verbosity=2, resultclass=Counting).run(suite)
    watchdog.cancel()
    sys.stderr.flush()
    # A test that could not even start counts as failed.
    print(f"{result.passed} passed, {total - result.passed} failed", flush=True)
    return 0 if result.wasSuccessful() and result.passed == total else 1


if __name__ == "__main__":
    sys.exit(main())
