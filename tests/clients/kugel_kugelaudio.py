"""Runs KugelAudio's own Python client through the gateway.

The client synthesizes over WebSocket only: `generate` and `stream` share one endpoint, and
`streaming_session` has another. It lists models and voices over HTTP. It has no method for
`POST /v1/tts/generate`, so the test sends that request with the client's own HTTP client and error
handling.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys

import harness
import httpx
from aiohttp import web
from harness import SOUND
from kugelaudio import KugelAudio
from kugelaudio.exceptions import (
    AuthenticationError,
    KugelAudioError,
    RateLimitError,
    classify_http_response,
)

TEXT = "Good morning. The gateway let this sentence through."
CATALOGUE = secrets.token_hex(16)
REGIONAL = secrets.token_hex(16)


# -- the fake -------------------------------------------------------------------------------------


async def models(_: web.Request) -> web.Response:
    return web.json_response({"models": [{"id": "kugel-3.5", "name": "Kugel 3.5"}]})


async def voices(_: web.Request) -> web.Response:
    voice = {"id": 7, "name": "Anna"}
    return web.json_response({"voices": [voice], "total": 1, "limit": 20, "offset": 0})


async def generate(request: web.Request) -> web.Response:
    assert (await request.json())["text"] == TEXT
    return web.Response(body=harness.wav(SOUND), content_type="audio/wav")


def chunk(index: int, audio: bytes) -> dict:
    text = base64.b64encode(audio).decode()
    return {"audio": text, "idx": index, "sr": 24000, "samples": len(audio) // 2}


async def speak(request: web.Request) -> web.WebSocketResponse:
    """`/ws/tts`: one request message, then the audio in two messages."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in harness.messages_of(request, socket):
        assert json.loads(message)["text"] == TEXT
        await socket.send_json(chunk(0, SOUND[:2000]))
        await socket.send_json(chunk(1, SOUND[2000:]))
        await socket.send_json({"final": True, "chunks": 2, "gen_ms": 1.0, "rtf": 0.1})
    return socket


async def converse(request: web.Request) -> web.WebSocketResponse:
    """`/ws/tts/stream`: text in several messages, until a flush."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in harness.messages_of(request, socket):
        asked = json.loads(message)
        if asked.get("flush"):
            await socket.send_json({"generation_started": True})
            await socket.send_json(chunk(0, SOUND))
            await socket.send_json({"chunk_complete": True})
            await socket.send_json({"session_closed": True})
    return socket


# -- the client -----------------------------------------------------------------------------------


def client(server, key: str) -> KugelAudio:
    return KugelAudio(api_key=key, api_url=server.url, timeout=harness.STEP_SECONDS)


def over_http(server, key: str) -> bytes:
    """Sends the request for which the client has no method, as the client sends its others."""
    with client(server, key) as kugel:
        sdk: httpx.Client = kugel._http_client
        response = sdk.post(f"{server.url}/v1/tts/generate", json={"text": TEXT})
        if response.status_code >= 400:
            raise classify_http_response(response)
        return response.content


def list_models(server, key: str) -> list[str]:
    with client(server, key) as kugel:
        return [model.id for model in kugel.models.list()]


def list_voices(server, key: str) -> list[str]:
    with client(server, key) as kugel:
        return [voice.name for voice in kugel.voices.list().voices]


def over_websocket(server, key: str) -> bytes:
    with client(server, key) as kugel:
        return kugel.tts.generate(text=TEXT, language="en").audio


def over_a_connection_of_its_own(server, key: str) -> bytes:
    """Opens `/ws/tts` in the client's second way, without its connection pool."""

    async def speak() -> bytes:
        kugel = client(server, key)
        try:
            stream = kugel.tts.stream_async(TEXT, language="en", reuse_connection=False)
            return b"".join([item.audio async for item in stream if hasattr(item, "audio")])
        finally:
            await kugel.aclose()

    return harness.run(speak())


def over_a_session(server, key: str) -> bytes:
    async def speak() -> bytes:
        kugel = client(server, key)
        sound = bytearray()
        try:
            async with kugel.tts.streaming_session(voice_id=7, language="en") as session:
                async for piece in session.send(TEXT, flush=True):
                    sound += piece.audio
        finally:
            await kugel.aclose()
        return bytes(sound)

    return harness.run(speak())


HTTP = {"generate": over_http, "models": list_models, "voices": list_voices}
WEBSOCKETS = {
    "/ws/tts": over_websocket,
    "/ws/tts without pool": over_a_connection_of_its_own,
    "/ws/tts/stream": over_a_session,
}


# -- the tests ------------------------------------------------------------------------------------


class Kugel(harness.ClientTest):
    dialect = "kugel"
    voice = "7"
    variable = "KUGELAUDIO_API_KEY"
    extra_keys = {
        "catalogue": {"secret": CATALOGUE, "scopes": ["models:read", "voices:read"]},
        # The form that the vendor's console shows. The client sends it without the region.
        "regional": {"secret": f"eu-{REGIONAL}", "scopes": ["tts:synthesize"]},
    }

    @classmethod
    def routes(cls):
        return [
            ("GET", "/v1/models", models),
            ("GET", "/v1/voices", voices),
            ("POST", "/v1/tts/generate", generate),
            ("GET", "/ws/tts", speak),
            ("GET", "/ws/tts/stream", converse),
        ]

    # Accepted

    def test_http_speaks_with_the_key_in_two_locations(self) -> None:
        self.assertEqual(over_http(self.gateway, self.keys.speaker), harness.wav(SOUND))
        [seen] = self.expect_forwarded(self.keys.speaker)
        self.assertEqual(seen.json, {"text": TEXT})
        self.assertIsNone(seen.header("authorization"))
        self.assertIsNone(seen.header("x-api-key"))
        # The upstream receives everything except the key.
        self.assertEqual(seen.header("x-kugelaudio-sdk"), "python")
        self.expect_decision("accepted", "ok", key_id="speaker", path="/v1/tts/generate")

    def test_http_lists_models_and_voices(self) -> None:
        self.assertEqual(list_models(self.gateway, CATALOGUE), ["kugel-3.5"])
        self.assertEqual(list_voices(self.gateway, CATALOGUE), ["Anna"])
        seen = self.expect_forwarded(CATALOGUE, "catalogue")
        self.assertEqual([one.path for one in seen], ["/v1/models", "/v1/voices"])
        self.assertEqual(seen[1].query["limit"], ["20"])

    def test_websocket_speaks_with_the_key_in_the_query(self) -> None:
        self.assertEqual(over_websocket(self.gateway, self.keys.speaker), SOUND)
        [seen] = self.expect_forwarded(self.keys.speaker)
        self.assertEqual(seen.path, "/ws/tts")
        self.assertNotIn("api_key", seen.query)
        # The upstream receives the rest of the query.
        self.assertEqual(seen.query["model_id"], ["kugel-3.5"])
        self.assertEqual(seen.query["sdk"], ["python"])
        self.expect_decision("accepted", "ok", key_id="speaker", path="/ws/tts")

    def test_websocket_without_pool_speaks(self) -> None:
        self.assertEqual(over_a_connection_of_its_own(self.gateway, self.keys.speaker), SOUND)
        [seen] = self.expect_forwarded(self.keys.speaker)
        self.assertNotIn("api_key", seen.query)

    def test_websocket_session_speaks(self) -> None:
        self.assertEqual(over_a_session(self.gateway, self.keys.speaker), SOUND)
        [seen] = self.expect_forwarded(self.keys.speaker)
        self.assertEqual(seen.path, "/ws/tts/stream")
        self.assertNotIn("api_key", seen.query)

    def test_a_voice_of_another_key_ends_the_websocket_session(self) -> None:
        self.assertEqual(over_a_session(self.gateway, self.voice_key), SOUND)
        self.upstream.take()
        with self.assertRaises(KugelAudioError) as caught:
            over_a_session(self.gateway, self.other_voice_key)
        error = caught.exception
        self.assertEqual((error.status_code, error.error_code), (403, "FORBIDDEN"))
        decision = self.expect_decision("accepted", "ok", key_id="other-voice")
        self.assertEqual(error.request_id, decision["request_id"])

    def test_a_key_matches_with_its_region_and_without(self) -> None:
        # The client removes one prefix from every key.
        for given in (f"eu-{REGIONAL}", f"global-{self.keys.speaker}"):
            key_id = "regional" if REGIONAL in given else "speaker"
            with self.way(key_id):
                self.assertEqual(over_websocket(self.gateway, given), SOUND)
                self.expect_forwarded(given.partition("-")[2], key_id)
                self.assertEqual(over_http(self.gateway, given), harness.wav(SOUND))
                self.expect_forwarded(given.partition("-")[2], key_id)

    # Refused

    def check_unknown(self, say) -> None:
        with self.assertRaises(AuthenticationError) as caught:
            say(self.gateway, self.keys.unknown)
        error = caught.exception
        self.assertEqual(error.status_code, 401)
        self.assertEqual(error.error_code, "UNAUTHORIZED")
        decision = self.expect_decision("refused", "unknown_credential", status=401)
        self.assertEqual(error.request_id, decision["request_id"])
        self.expect_nothing_forwarded()

    def test_http_with_an_unknown_key_is_401(self) -> None:
        for name, say in HTTP.items():
            with self.way(name):
                self.check_unknown(say)

    def test_websocket_with_an_unknown_key_is_401(self) -> None:
        for name, say in WEBSOCKETS.items():
            with self.way(name):
                self.check_unknown(say)

    def test_http_without_the_scope_is_403(self) -> None:
        for name, say in HTTP.items():
            with self.way(name):
                # The client has no error class for 403.
                with self.assertRaises(KugelAudioError) as caught:
                    say(self.gateway, self.keys.reader)
                self.assertIs(type(caught.exception), KugelAudioError)
                self.assertEqual(caught.exception.status_code, 403)
                self.expect_decision("refused", "insufficient_scope", status=403)
                self.expect_nothing_forwarded()

    def test_websocket_without_the_scope_is_403(self) -> None:
        for name, say in WEBSOCKETS.items():
            with self.way(name):
                # On an upgrade, the client treats 403 as a wrong key, and its error says 401.
                # The audit record with the id of that error shows that the status was 403.
                with self.assertRaises(AuthenticationError) as caught:
                    say(self.gateway, self.keys.reader)
                decision = self.expect_decision("refused", "insufficient_scope", status=403)
                self.assertEqual(caught.exception.request_id, decision["request_id"])
                self.expect_nothing_forwarded()

    def test_over_the_limit_is_429(self) -> None:
        for name, say in {**HTTP, **WEBSOCKETS}.items():
            with self.way(name):
                with self.assertRaises(RateLimitError) as caught:
                    say(self.busy, self.keys.limited)
                self.assertEqual(caught.exception.status_code, 429)
                self.assertEqual(caught.exception.error_code, "RATE_LIMITED")
                self.assertEqual(caught.exception.retry_after, 1)

    # Preconfigured

    def test_preconfigured_lets_any_key_speak_and_sends_the_deployment_key(self) -> None:
        for name, say in (("http", over_http), *WEBSOCKETS.items()):
            with self.way(name):
                sound = say(self.preconfigured, self.keys.unknown)
                self.assertEqual(sound, harness.wav(SOUND) if name == "http" else SOUND)
                [seen] = self.expect_forwarded(self.keys.unknown, "deployment")
                form = f"Bearer {self.keys.deployment}"
                self.assertEqual(seen.header("authorization"), form)
                self.assertNotIn("api_key", seen.query)
                self.assertIsNone(seen.header("x-api-key"))


if __name__ == "__main__":
    sys.exit(harness.main(Kugel))
