"""Runs ElevenLabs' own Python client through `voxgate serve` in the dialect `elevenlabs`.

harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
from collections.abc import Iterator
from typing import ClassVar

import httpx
from aiohttp import web
from elevenlabs.client import AsyncElevenLabs as AsyncClient
from elevenlabs.client import ElevenLabs as Client
from elevenlabs.core import ApiError

import harness
from handshakes import HandshakeTest
from harness import SOUND, STEP_SECONDS, Child, messages_of, run
from retries import FERN, RetryTest, Way

VOICE = "JBFqnCBsd6RMkjVDRZzb"
MODEL = "eleven_flash_v2_5"
FORMAT = "pcm_24000"
TEXT = "Good morning. The gateway let this sentence through."


async def speech(request: web.Request) -> web.Response:
    return web.Response(body=SOUND, content_type="audio/pcm")


async def stream_input(request: web.Request) -> web.WebSocketResponse:
    """Sends audio after the client sent its last text."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in messages_of(request, socket):
        if json.loads(message)["text"] == "":
            half = len(SOUND) // 2
            for sound in (SOUND[:half], SOUND[half:]):
                await socket.send_json({"audio": base64.b64encode(sound).decode()})
            await socket.send_json({"audio": None, "isFinal": True})
            await socket.close()
    return socket


# Its quota is less than the text.
SPENT = secrets.token_hex(16)


class ElevenLabs(HandshakeTest, RetryTest):
    dialect = "elevenlabs"
    extra_keys: ClassVar = {"spent": {"secret": SPENT, "quota": "1 characters/month"}}
    voice = VOICE
    long_wait = FERN

    @classmethod
    def routes(cls):
        path = "/v1/text-to-speech/{voice}"
        return [
            ("POST", path, speech),
            ("POST", f"{path}/stream", speech),
            ("GET", f"{path}/stream-input", stream_input),
        ]

    def over_http(self, server: Child, key: str | None, method: str = "convert") -> bytes:
        with httpx.Client(timeout=STEP_SECONDS) as http:
            sdk = Client(api_key=key, base_url=server.url, httpx_client=http)
            speak = getattr(sdk.text_to_speech, method)
            return b"".join(speak(VOICE, text=TEXT, model_id=MODEL, output_format=FORMAT))

    def over_websocket(self, server: Child, key: str) -> bytes:
        def words() -> Iterator[str]:
            yield from (f"{word} " for word in TEXT.split(" "))

        with httpx.Client(timeout=STEP_SECONDS) as http:
            sdk = Client(api_key=key, base_url=server.url, httpx_client=http)
            # The SDK always uses TLS here, whatever the base URL is. In production, a proxy before
            # the gateway terminates TLS. This is the only way to avoid TLS in a test.
            sdk.text_to_speech._ws_base_url = server.ws_url
            speak = sdk.text_to_speech.convert_realtime
            return b"".join(speak(VOICE, text=words(), model_id=MODEL, output_format=FORMAT))

    def test_speech_arrives(self) -> None:
        self.assertEqual(self.over_http(self.gateway, self.keys.speaker), SOUND)
        self.expect_request(f"/v1/text-to-speech/{VOICE}")

    def test_streamed_speech_arrives(self) -> None:
        self.assertEqual(self.over_http(self.gateway, self.keys.speaker, "stream"), SOUND)
        self.expect_request(f"/v1/text-to-speech/{VOICE}/stream")

    def test_speech_arrives_over_the_websocket(self) -> None:
        self.assertEqual(self.over_websocket(self.gateway, self.keys.speaker), SOUND)
        (seen,) = self.expect_forwarded(self.keys.speaker)
        path = f"/v1/text-to-speech/{VOICE}/stream-input"
        self.assertEqual(seen.target, f"{path}?model_id={MODEL}&output_format={FORMAT}")
        self.assertIsNone(seen.header("xi-api-key"))
        texts = (json.loads(message)["text"] for message in seen.messages)
        self.assertEqual("".join(texts).split(), TEXT.split())
        self.expect_accepted(seen)

    def test_an_unknown_key_is_an_api_error_401(self) -> None:
        detail = self.refusal(self.gateway, self.keys.unknown, 401)
        self.assertEqual(detail["status"], "invalid_api_key")
        self.expect_decision("refused", "unknown_credential")

    def test_no_key_is_an_api_error_401(self) -> None:
        self.refusal(self.gateway, None, 401)
        self.expect_decision("refused", "missing_credential")

    def test_a_key_without_the_scope_is_an_api_error_403(self) -> None:
        self.refusal(self.gateway, self.keys.reader, 403)
        self.expect_decision("refused", "insufficient_scope", key_id="reader")

    def test_a_voice_of_another_key_is_not_found(self) -> None:
        self.assertEqual(self.over_http(self.gateway, self.voice_key), SOUND)
        self.assertEqual(self.over_websocket(self.gateway, self.voice_key), SOUND)
        self.upstream.take()
        detail = self.refusal(self.gateway, self.other_voice_key, 404)
        self.assertEqual(detail["status"], "voice_not_found")
        body = self.expect_refused_handshake(
            self.other_voice_key,
            404,
            lambda: self.over_websocket(self.gateway, self.other_voice_key),
        )
        self.expect_detail(body, "voice_not_found")
        self.expect_nothing_forwarded()

    def test_an_exhausted_quota_is_an_api_error(self) -> None:
        detail = self.refusal(self.gateway, SPENT, 401)
        self.assertEqual(detail["status"], "quota_exceeded")
        # The text is in messages, so that the socket opens and a message closes it.
        with self.assertRaises(ApiError) as caught:
            self.over_websocket(self.gateway, SPENT)
        body = caught.exception.body
        # The client notices the close when it sends, or when it has read the error.
        word = body["error"] if isinstance(body, dict) else body
        self.assertIn(word, ("quota_exceeded", "quota_exhausted"))
        self.assertEqual(caught.exception.status_code, 1008)

    def test_too_many_requests_are_an_api_error_429(self) -> None:
        detail = self.refusal(self.busy, self.keys.limited, 429)
        self.assertEqual(detail["status"], "too_many_concurrent_requests")

    def test_refusals_with_the_default_retries(self) -> None:
        async def speak_async(key: str) -> bytes:
            async with httpx.AsyncClient(timeout=STEP_SECONDS) as http:
                sdk = AsyncClient(api_key=key, base_url=self.gateway.url, httpx_client=http)
                sound = sdk.text_to_speech.convert(
                    VOICE, text=TEXT, model_id=MODEL, output_format=FORMAT
                )
                return b"".join([chunk async for chunk in sound])

        def models(key: str) -> object:
            with httpx.Client(timeout=STEP_SECONDS) as http:
                sdk = Client(api_key=key, base_url=self.gateway.url, httpx_client=http)
                return sdk.models.list()

        ways = (
            Way("sync", lambda key: self.over_http(self.gateway, key), requests=1),
            Way("async", lambda key: run(speak_async(key)), requests=1),
            Way("models", models, requests=3),
        )
        self.expect_default_retries(ways, ApiError, ApiError)

    def test_the_websocket_is_refused_with_the_same_text(self) -> None:
        for server, key, status, word in (
            (self.gateway, self.keys.unknown, 401, "invalid_api_key"),
            (self.gateway, self.keys.reader, 403, None),
            (self.busy, self.keys.limited, 429, "too_many_concurrent_requests"),
        ):
            with self.subTest(status):
                body = self.expect_refused_handshake(
                    key, status, lambda: self.over_websocket(server, key)
                )
                self.expect_detail(body, word)
        self.expect_nothing_forwarded()

    def expect_request(self, path: str) -> None:
        """The upstream received the complete request once, and the gateway audited it."""
        (seen,) = self.expect_forwarded(self.keys.speaker)
        self.assertEqual((seen.method, seen.target), ("POST", f"{path}?output_format={FORMAT}"))
        self.assertEqual(seen.json, {"text": TEXT, "model_id": MODEL})
        self.assertIsNone(seen.header("xi-api-key"))
        self.expect_accepted(seen)

    def refusal(self, server: Child, key: str | None, status: int) -> dict:
        """Asserts that both kinds of request raise the client's error with this status and the
        vendor's message. Returns what the client parsed."""
        for method in ("convert", "stream"):
            with self.assertRaises(ApiError) as caught:
                self.over_http(server, key, method)
            error = caught.exception
            self.assertEqual(error.status_code, status)
            self.assertEqual(error.headers.get("retry-after"), "1" if status == 429 else None)
            # The client parses the body only if its content type is JSON; otherwise it is a string.
            self.assertIsInstance(error.body, dict, error.body)
            self.expect_detail(error.body)
            if key:
                self.assertNotIn(key, str(error))
        self.expect_nothing_forwarded()
        return error.body["detail"]

    def expect_detail(self, body: dict, word: str | None = None) -> None:
        """Asserts that this is an error in the form that ElevenLabs sends."""
        self.assertTrue(body["detail"]["status"] and body["detail"]["message"], body)
        if word:
            self.assertEqual(body["detail"]["status"], word)


if __name__ == "__main__":
    sys.exit(harness.main(ElevenLabs))
