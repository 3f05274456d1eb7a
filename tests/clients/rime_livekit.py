"""Runs LiveKit's own Rime client against `voxgate demo`.

Usage: scripts/clients.sh, or this file with VOXGATE_BIN set. Everything stays on
the loopback interface. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import os
import re
import sys
import unittest

import aiohttp
from livekit.agents import APIConnectOptions, APIStatusError
from livekit.plugins import rime

import harness

# The outcomes in the demo's audit lines.
ACCEPTED = re.compile(r"\baccepted\b")
REFUSED = re.compile(r"\brefused\b.*\b401\b")

MODEL = "mistv2"
RATE = 22050
TEXT = "Good morning. The gateway let this sentence through."
ONCE = APIConnectOptions(max_retry=0, timeout=harness.STEP_SECONDS)


class Demo(harness.Child):
    """`voxgate demo`, and what it prints before the first request."""

    def __init__(self, *arguments: str) -> None:
        environment = {"PATH": os.environ.get("PATH", "")}
        super().__init__([os.environ["VOXGATE_BIN"], "demo", *arguments], environment)
        try:
            self.gateway = self._announced("gateway", r"http://127\.0\.0\.1:\d+")
            self.key = self._announced("key", r"vxg_\S+|not needed \(preconfigured\)")
            self.banner = self.line_after(0, re.compile(r"\bstarted\b"))
        except BaseException:
            self.stop()
            raise

    def _announced(self, name: str, value: str) -> str:
        line = re.compile(rf"  {name} +({value})")

        def found() -> str | None:
            matches = (line.fullmatch(text) for text in self.lines)
            return next((match[1] for match in matches if match), None)

        return self.wait_for(f"line announcing the {name}", found)

    def line_after(self, before: int, pattern: re.Pattern[str]) -> int:
        """Waits for a matching line after the first `before` lines. Returns its number, from 1."""

        def found() -> int | None:
            numbered = enumerate(self.lines[before:], before + 1)
            return next((number for number, line in numbered if pattern.search(line)), None)

        return self.wait_for(f"line like {pattern.pattern}", found)


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
        async with contextlib.aclosing(client), asyncio.timeout(harness.STEP_SECONDS):
            async with client.synthesize(TEXT, conn_options=ONCE) as stream:
                return await collect(stream)


async def over_websocket(demo: Demo, key: str) -> bytes:
    """Synthesises TEXT, sent in parts, over the legacy ws3 WebSocket."""
    async with aiohttp.ClientSession() as session:
        client = rime.TTS(
            base_url=demo.gateway.replace("http://", "ws://"),
            api_key=key,
            model=MODEL,
            sample_rate=RATE,
            use_websocket=True,
            http_session=session,
        )
        async with contextlib.aclosing(client), asyncio.timeout(harness.STEP_SECONDS):
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
    """Shared code of the tests below."""

    arguments: tuple[str, ...] = ()

    @classmethod
    def setUpClass(cls) -> None:
        cls.demo = Demo(*cls.arguments)
        cls.addClassCleanup(cls.demo.stop)
        # The same format with another secret, and a text that is not a key.
        key = cls.demo.key
        flipped = "".join("b" if letter == "a" else "a" for letter in key[-16:])
        cls.wrong_keys = (key[:-16] + flipped, "not-a-key-at-all")

    def check_sound(self, sound: bytes) -> None:
        """Asserts that the audio takes a few seconds and is not silent."""
        samples = array.array("h", sound)
        self.assertGreater(len(samples) / RATE, 1.5)
        self.assertLess(len(samples) / RATE, 12)
        self.assertGreater(max(samples), 1000)
        self.assertLess(min(samples), -1000)

    async def check_refused(self, say, demo: Demo, key: str) -> None:
        """Asserts that the caller gets status 401 for a wrong key."""
        with self.assertRaises(APIStatusError) as caught:
            await say(demo, key)
        self.assertEqual(caught.exception.status_code, 401)


class WithKeys(RealClient):
    """The demo with its default settings: clients need the key that it prints."""

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


class Lines(RealClient):
    """The lines that the demo prints for its requests."""

    async def test_audit_lines_tell_the_outcome_and_never_the_key(self) -> None:
        demo = self.demo
        for name, say in PATHS:
            with self.subTest(name):
                before = len(demo.lines)
                await say(demo, demo.key)
                demo.line_after(before, ACCEPTED)
                before = len(demo.lines)
                await self.check_refused(say, demo, self.wrong_keys[0])
                demo.line_after(before, REFUSED)
        demo.stop()
        self.assertTrue(any(demo.key in line for line in demo.lines[: demo.banner]))
        del demo.lines[: demo.banner]
        # The last characters of a key belong to its secret.
        secrets = (demo.key[-16:], self.wrong_keys[0][-16:], self.wrong_keys[1])
        self.assertEqual(demo.printed_secrets(secrets), [])


class Preconfigured(RealClient):
    """`--mode preconfigured`: the client needs no key, and sends none that is valid."""

    arguments = ("--mode", "preconfigured")

    async def test_any_key_speaks_over_http(self) -> None:
        self.assertEqual(self.demo.key, "not needed (preconfigured)")
        self.check_sound(await over_http(self.demo, "arbitrary nonsense"))

    async def test_any_key_speaks_over_the_websocket(self) -> None:
        self.check_sound(await over_websocket(self.demo, "arbitrary nonsense"))


if __name__ == "__main__":
    logging.getLogger("livekit").setLevel(logging.CRITICAL)  # refusals are expected here
    sys.exit(harness.main(WithKeys, Lines, Preconfigured))
