"""Runs pipecat's services for Rime through the gateway: its WebSocket with JSON (`/ws3`), its older one
with plain text (`/ws`), and HTTP.

The package needs other versions than the other clients, so scripts/clients.sh runs it in an
environment of its own (tests/clients-pipecat).
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import warnings

import aiohttp
import harness
from aiohttp import web
from harness import SOUND, ClientTest, Gateway, messages_of
from loguru import logger
from pipecat.frames.frames import ErrorFrame, TTSAudioRawFrame, TTSSpeakFrame
from pipecat.services.rime.tts import RimeHttpTTSService, RimeNonJsonTTSService, RimeTTSService
from pipecat.tests.utils import SleepFrame, run_test

TEXT = "Good morning. The gateway let this sentence through."
VOICE = "cove"
RATE = 24000


async def json_socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in messages_of(request, socket):
        asked = json.loads(message)
        context = asked.get("contextId")
        if asked.get("text", "").strip():
            chunk = {"type": "chunk", "data": base64.b64encode(SOUND).decode()}
            await socket.send_json({**chunk, "contextId": context})
        elif asked.get("operation") == "flush":
            await socket.send_json({"type": "done", "contextId": context})
    return socket


async def plain_socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in messages_of(request, socket):
        if not message.startswith("<"):
            await socket.send_bytes(SOUND)
    return socket


async def speak(request: web.Request) -> web.Response:
    assert (await request.json())["text"] == TEXT
    return web.Response(body=SOUND, content_type="audio/pcm")


class Pipecat(ClientTest):
    dialect = "rime"

    @classmethod
    def setUpClass(cls) -> None:
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        logger.remove()
        super().setUpClass()

    @classmethod
    def routes(cls):
        return [
            ("GET", "/ws3", json_socket),
            ("GET", "/ws", plain_socket),
            ("POST", "/v1/rime-tts", speak),
        ]

    async def say(self, way: str, server: Gateway, key: str) -> tuple[bytes, list[str]]:
        """The audio and the errors of a pipeline that speaks TEXT."""
        async with aiohttp.ClientSession() as session:
            options = {"api_key": key, "sample_rate": RATE}
            if way == "http":
                settings = RimeHttpTTSService.Settings(voice=VOICE, model="mistv2")
                service = RimeHttpTTSService(aiohttp_session=session, settings=settings, **options)
                service._base_url = f"{server.url}/v1/rime-tts"
            else:
                kind, path = {
                    "json": (RimeTTSService, "/ws3"),
                    "plain": (RimeNonJsonTTSService, "/ws"),
                }[way]
                settings = kind.Settings(voice=VOICE, model="mistv2")
                service = kind(url=f"{server.ws_url}{path}", settings=settings, **options)
            frames = [TTSSpeakFrame(TEXT), SleepFrame(sleep=1.0)]
            down, up = await run_test(service, frames_to_send=frames, start_timeout=30.0)
        sound = b"".join(frame.audio for frame in down if isinstance(frame, TTSAudioRawFrame))
        errors = [frame.error for frame in [*down, *up] if isinstance(frame, ErrorFrame)]
        return sound, errors

    def test_speech_arrives(self) -> None:
        for way in ("json", "plain", "http"):
            with self.way(way):
                key = self.keys.speaker
                sound, errors = asyncio.run(self.say(way, self.gateway, key))
                self.assertEqual((sound[: len(SOUND)], errors), (SOUND, []))
                for seen in self.expect_forwarded(key):
                    self.assertIsNone(seen.header("authorization"))
                self.expect_decision("accepted", "ok", key_id="speaker")

    def test_a_refusal_is_an_error(self) -> None:
        for way in ("json", "plain", "http"):
            with self.way(way):
                key = self.keys.unknown
                sound, errors = asyncio.run(self.say(way, self.gateway, key))
                self.assertEqual(sound, b"")
                self.assertTrue(any("401" in error for error in errors), errors)
                self.assertNotIn(key, str(errors))
                self.expect_decision("refused", "unknown_credential", status=401)
                self.expect_nothing_forwarded()


if __name__ == "__main__":
    sys.exit(harness.main(Pipecat))
