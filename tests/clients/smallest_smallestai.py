"""Runs Smallest AI's own Python client through the gateway.

The client synthesizes over HTTP, in one response or as server-sent events. Over WebSocket, it has a
blocking class, an asynchronous class and an older class.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys

# Without this variable, the client's command line sends usage reports.
os.environ["SMALLESTAI_TELEMETRY"] = "0"

import harness
import websockets.exceptions
from aiohttp import web
from websockets.exceptions import ConnectionClosed
from harness import SOUND
from retries import FERN, RetryTest, Way
from smallestai import AsyncSmallestAI, SmallestAI
from smallestai.core.api_error import ApiError
from smallestai.environment import SmallestAIEnvironment
from smallestai.waves import TTSConfig, WavesStreamingTTS
from smallestai.waves.errors import UnauthorizedError
from smallestai.waves.tts.types import TtsRequestMessage

TEXT = "Good morning. The gateway let this sentence through."
VOICE = "magnus"
CATALOGUE = secrets.token_hex(16)


# -- the fake -------------------------------------------------------------------------------------


async def speak(request: web.Request) -> web.Response:
    asked = await request.json()
    assert (asked["text"], asked["voice_id"]) == (TEXT, VOICE)
    return web.Response(body=harness.wav(SOUND), content_type="audio/wav")


async def speak_in_events(request: web.Request) -> web.StreamResponse:
    """The vendor's events contain JSON objects. This version of the client drops them with a
    warning and accepts only text."""
    assert (await request.json())["text"] == TEXT
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for piece in (SOUND[:2000], SOUND[2000:]):
        data = json.dumps(base64.b64encode(piece).decode())
        await response.write(f"event: audio\ndata: {data}\n\n".encode())
    return response


async def live(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in harness.messages_of(request, socket):
        assert json.loads(message)["text"] == TEXT
        for piece in (SOUND[:2000], SOUND[2000:]):
            data = {"audio": base64.b64encode(piece).decode()}
            await socket.send_json({"request_id": "r", "status": "chunk", "data": data})
        await socket.send_json({"request_id": "r", "status": "complete", "done": True})
    return socket


async def voices(_: web.Request) -> web.Response:
    return web.json_response({"voices": [{"voiceId": VOICE, "displayName": "Magnus"}]})


# -- the client -----------------------------------------------------------------------------------


def settings(server, key: str) -> dict:
    urls = {"atoms": server.url, "waves": server.url, "payment": server.url}
    return {
        "api_key": key,
        "environment": SmallestAIEnvironment(waves_ws=server.url.replace("http", "ws"), **urls),
        "timeout": harness.STEP_SECONDS,
    }


def over_http(server, key: str) -> bytes:
    client = SmallestAI(**settings(server, key))
    return b"".join(client.waves.synthesize_tts(text=TEXT, voice_id=VOICE, output_format="wav"))


def over_http_asynchronously(server, key: str) -> bytes:
    async def speak() -> bytes:
        client = AsyncSmallestAI(**settings(server, key))
        pieces = client.waves.synthesize_tts(text=TEXT, voice_id=VOICE, output_format="wav")
        return b"".join([piece async for piece in pieces])

    return harness.run(speak())


def over_events(server, key: str) -> bytes:
    client = SmallestAI(**settings(server, key))
    events = client.waves.synthesize_sse_tts(text=TEXT, voice_id=VOICE)
    return b"".join(base64.b64decode(event) for event in events)


def list_voices(server, key: str) -> list:
    client = SmallestAI(**settings(server, key))
    return client.waves.get_voices("lightning-v3.1").voices


def sound_in(message) -> bytes:
    return base64.b64decode(message.data.audio) if message.status == "chunk" else b""


def over_websocket(server, key: str) -> bytes:
    sound = bytearray()
    with SmallestAI(**settings(server, key)).waves.tts.connect() as socket:
        socket.synthesize_streaming_tts(TtsRequestMessage(text=TEXT, voice_id=VOICE))
        while (message := socket.recv()).status != "complete":
            sound += sound_in(message)
    return bytes(sound)


def over_websocket_asynchronously(server, key: str) -> bytes:
    async def speak() -> bytes:
        sound = bytearray()
        async with AsyncSmallestAI(**settings(server, key)).waves.tts.connect() as socket:
            await socket.synthesize_streaming_tts(TtsRequestMessage(text=TEXT, voice_id=VOICE))
            while (message := await socket.recv()).status != "complete":
                sound += sound_in(message)
        return bytes(sound)

    return harness.run(speak())


def over_websocket_as_before(server, key: str) -> bytes:
    client = WavesStreamingTTS(TTSConfig(voice_id=VOICE, api_key=key))
    client.ws_url = server.url.replace("http", "ws") + "/waves/v1/tts/live"
    return b"".join(client.synthesize(TEXT))


HTTP = {"at once": over_http, "asynchronously": over_http_asynchronously, "events": over_events}
WEBSOCKETS = {"blocking": over_websocket, "asynchronous": over_websocket_asynchronously}


# -- the tests ------------------------------------------------------------------------------------


class Smallest(RetryTest):
    dialect = "smallest"
    voice = VOICE
    long_wait = FERN
    variable = "SMALLEST_API_KEY"
    extra_keys = {"catalogue": {"secret": CATALOGUE, "scopes": ["voices:read"]}}

    @classmethod
    def routes(cls):
        return [
            ("POST", "/waves/v1/tts", speak),
            ("POST", "/waves/v1/tts/live", speak_in_events),
            ("GET", "/waves/v1/tts/live", live),
            ("GET", "/waves/v1/lightning-v3.1/get_voices", voices),
        ]

    # Accepted

    def test_http_with_the_key_speaks(self) -> None:
        for name, say in HTTP.items():
            with self.way(name):
                sound = say(self.gateway, self.keys.speaker)
                self.assertEqual(sound, SOUND if name == "events" else harness.wav(SOUND))
                [seen] = self.expect_forwarded(self.keys.speaker)
                self.assertIsNone(seen.header("authorization"))
                self.assertEqual(seen.header("x-fern-sdk-name"), "smallest-ai")
                self.expect_decision("accepted", "ok", key_id="speaker", path=seen.path)

    def test_http_lists_voices(self) -> None:
        [voice] = list_voices(self.gateway, CATALOGUE)
        self.assertEqual(voice.voice_id, VOICE)
        self.expect_forwarded(CATALOGUE, "catalogue")

    def test_websocket_with_the_key_speaks(self) -> None:
        ways = {**WEBSOCKETS, "as before": over_websocket_as_before}
        for name, say in ways.items():
            with self.way(name):
                self.assertEqual(say(self.gateway, self.keys.speaker), SOUND)
                [seen] = self.expect_forwarded(self.keys.speaker)
                self.assertEqual(seen.path, "/waves/v1/tts/live")
                self.assertIsNone(seen.header("authorization"))

    # Refused

    def check_refused(self, say, server, key: str, status: int, kind: type[ApiError]) -> ApiError:
        with self.assertRaises(ApiError) as caught:
            say(server, key)
        self.assertIs(type(caught.exception), kind)
        self.assertEqual(caught.exception.status_code, status)
        return caught.exception

    def test_http_with_an_unknown_key_is_401(self) -> None:
        for name, say in {**HTTP, "voices": list_voices}.items():
            with self.way(name):
                key = self.keys.unknown
                error = self.check_refused(say, self.gateway, key, 401, UnauthorizedError)
                self.assertEqual(error.body["error"], "Unauthorized")
                decision = self.expect_decision("refused", "unknown_credential", status=401)
                self.assertEqual(error.headers["x-request-id"], decision["request_id"])
                self.expect_nothing_forwarded()

    def test_http_without_the_scope_is_403(self) -> None:
        # The client has an error class for 403, but does not use it for these requests.
        for name, say in HTTP.items():
            with self.way(name):
                self.check_refused(say, self.gateway, self.keys.reader, 403, ApiError)
                self.expect_decision("refused", "insufficient_scope", status=403)
                self.expect_nothing_forwarded()

    def test_a_voice_of_another_key_is_403_and_closes_a_websocket(self) -> None:
        for name, say in HTTP.items():
            with self.way(name):
                sound = say(self.gateway, self.voice_key)
                self.assertEqual(sound, SOUND if name == "events" else harness.wav(SOUND))
                self.upstream.take()
                self.check_refused(say, self.gateway, self.other_voice_key, 403, ApiError)
                self.expect_nothing_forwarded()
        for name, say in WEBSOCKETS.items():
            with self.way(name):
                self.assertEqual(say(self.gateway, self.voice_key), SOUND)
                # The voice is in the message, so that the socket opens and the message closes it.
                with self.assertRaises(ConnectionClosed) as caught:
                    say(self.gateway, self.other_voice_key)
                closed = caught.exception.rcvd
                self.assertEqual((closed.code, closed.reason), (1008, "voice_not_allowed"))

    def test_http_over_the_limit_is_429(self) -> None:
        # As for 403. The client does not retry these requests, whatever `Retry-After` says.
        for name, say in HTTP.items():
            with self.way(name):
                error = self.check_refused(say, self.busy, self.keys.limited, 429, ApiError)
                self.assertEqual(error.headers["retry-after"], "1")

    def test_refusals_with_the_default_retries(self) -> None:
        ways = [
            Way(name, lambda key, say=say: say(self.gateway, key), requests=1)
            for name, say in HTTP.items()
        ]
        ways += [Way("voices", lambda key: list_voices(self.gateway, key), requests=3)]
        self.expect_default_retries(
            ways, UnauthorizedError, ApiError, audio=harness.wav(SOUND)
        )

    def check_upgrade_refused(self, name: str, server, key: str, status: int) -> None:
        """The asynchronous client raises its own error. With websockets 14 or later, the blocking
        client catches the wrong class, so the caller gets the error of websockets."""
        if name == "asynchronous":
            self.check_refused(WEBSOCKETS[name], server, key, status, ApiError)
            return
        with self.assertRaises(websockets.exceptions.InvalidStatus) as caught:
            WEBSOCKETS[name](server, key)
        self.assertEqual(caught.exception.response.status_code, status)

    def test_websocket_with_an_unknown_key_is_401(self) -> None:
        for name in WEBSOCKETS:
            with self.way(name):
                self.check_upgrade_refused(name, self.gateway, self.keys.unknown, 401)
                self.expect_decision("refused", "unknown_credential", status=401)
                self.expect_nothing_forwarded()

    def test_websocket_without_the_scope_is_403(self) -> None:
        for name in WEBSOCKETS:
            with self.way(name):
                self.check_upgrade_refused(name, self.gateway, self.keys.reader, 403)
                self.expect_decision("refused", "insufficient_scope", status=403)
                self.expect_nothing_forwarded()

    def test_websocket_over_the_limit_is_429(self) -> None:
        for name in WEBSOCKETS:
            with self.way(name):
                self.check_upgrade_refused(name, self.busy, self.keys.limited, 429)

    # Preconfigured

    def test_preconfigured_lets_any_key_speak_and_sends_the_deployment_key(self) -> None:
        for name, say in {**HTTP, **WEBSOCKETS}.items():
            with self.way(name):
                self.assertIn(SOUND[2000:], say(self.preconfigured, self.keys.unknown))
                [seen] = self.expect_forwarded(self.keys.unknown, "deployment")
                form = f"Bearer {self.keys.deployment}"
                self.assertEqual(seen.header("authorization"), form)


if __name__ == "__main__":
    sys.exit(harness.main(Smallest))
