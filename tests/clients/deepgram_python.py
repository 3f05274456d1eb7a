"""Runs Deepgram's own Python client through `voxgate serve` in the dialect `deepgram`, and replays
the requests of its browser clients.

harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable
from typing import ClassVar

import httpx
from aiohttp import web
from deepgram import AsyncDeepgramClient, DeepgramClient, DeepgramClientEnvironment
from deepgram.core.api_error import ApiError
from deepgram.speak.v1.types import SpeakV1Text
from deepgram.speak.v2.types import SpeakV2Error, SpeakV2Speak
from websockets.exceptions import ConnectionClosed

import harness
from handshakes import HandshakeTest, replay
from harness import SOUND, STEP_SECONDS, Child, messages_of, run
from retries import FERN, RetryTest, Way

MODEL = "aura-2-thalia-en"
TEXT = "Good morning. The gateway let this sentence through."
SOCKET = {"model": MODEL, "encoding": "linear16", "sample_rate": 24000}
QUERY = f"encoding=linear16&model={MODEL}&sample_rate=24000"


async def speech(request: web.Request) -> web.Response:
    return web.Response(body=SOUND, content_type="audio/l16")


async def socket(request: web.Request) -> web.WebSocketResponse:
    """Sends audio at each flush. With `?mute`, it does not support subprotocols."""
    known = () if "mute" in request.query else ("token", "bearer")
    answer = web.WebSocketResponse(protocols=known)
    await answer.prepare(request)
    async for message in messages_of(request, answer):
        match json.loads(message)["type"]:
            case "Flush":
                await answer.send_bytes(SOUND)
                await answer.send_json({"type": "Flushed", "sequence_id": 0})
            case "Close":
                await answer.close()
    return answer


def options(server: Child, **credential: str) -> dict:
    """The arguments of a client. `credential` is an `api_key` or an `access_token`."""
    environment = DeepgramClientEnvironment(
        base=server.url, production=server.ws_url, agent=server.ws_url, agent_rest=server.url
    )
    return {"environment": environment, **credential}


# Its quota is less than the text.
SPENT = secrets.token_hex(16)


class Deepgram(HandshakeTest, RetryTest):
    dialect = "deepgram"
    extra_keys: ClassVar = {"spent": {"secret": SPENT, "quota": "1 characters/month"}}
    voice = MODEL
    long_wait = FERN

    @classmethod
    def routes(cls):
        return [
            ("POST", "/v1/speak", speech),
            ("GET", "/v1/speak", socket),
            ("GET", "/v2/speak", socket),
        ]

    def test_an_exhausted_quota_is_402_and_closes_a_websocket(self) -> None:
        self.refusal(self.gateway, 402, api_key=SPENT)
        with httpx.Client() as http:
            sdk = DeepgramClient(**options(self.gateway, api_key=SPENT), httpx_client=http)
            with sdk.speak.v2.connect(**SOCKET) as speaker:
                speaker.send_speak(SpeakV2Speak(text=TEXT))
                error = speaker.recv()
                self.assertIsInstance(error, SpeakV2Error)
                self.assertEqual(error.code, "MESSAGE-0000")
                self.expect_close(speaker.recv)
            # Version 1 has no message for errors.
            with sdk.speak.v1.connect(**SOCKET) as speaker:
                speaker.send_text(SpeakV1Text(text=TEXT))
                self.expect_close(speaker.recv)

    def expect_close(self, receive: Callable[[], object]) -> None:
        with self.assertRaises(ConnectionClosed) as caught:
            receive()
        closed = caught.exception.rcvd
        self.assertEqual((closed.code, closed.reason), (1008, "quota_exhausted"))

    def over_http(self, server: Child, **credential: str) -> bytes:
        with httpx.Client(timeout=STEP_SECONDS) as http:
            sdk = DeepgramClient(**options(server, **credential), httpx_client=http)
            return b"".join(sdk.speak.v1.audio.generate(text=TEXT, model=MODEL))

    def over_websocket(
        self, server: Child, *, authorization: str | None = None, **credential: str
    ) -> bytes:
        with httpx.Client() as http:
            sdk = DeepgramClient(**options(server, **credential), httpx_client=http)
            with sdk.speak.v1.connect(**SOCKET, authorization=authorization) as speaker:
                speaker.send_text(SpeakV1Text(text=TEXT))
                speaker.send_flush()
                sound = b""
                while isinstance(message := speaker.recv(), bytes):
                    sound += message
                self.assertEqual(message.type, "Flushed")
                speaker.send_close()
                return sound

    async def over_async_websocket(self, server: Child, **credential: str) -> bytes:
        async with httpx.AsyncClient() as http:
            sdk = AsyncDeepgramClient(**options(server, **credential), httpx_client=http)
            async with sdk.speak.v1.connect(**SOCKET) as speaker:
                await speaker.send_text(SpeakV1Text(text=TEXT))
                await speaker.send_flush()
                sound = b""
                while isinstance(message := await speaker.recv(), bytes):
                    sound += message
                self.assertEqual(message.type, "Flushed")
                await speaker.send_close()
                return sound

    # The client sends `Token K` for a key, and `bearer T` for an access token.

    def test_speech_arrives(self) -> None:
        for kind in ("api_key", "access_token"):
            with self.subTest(kind):
                sound = self.over_http(self.gateway, **{kind: self.keys.speaker})
                self.assertEqual(sound, SOUND)
                (seen,) = self.expect_forwarded(self.keys.speaker)
                self.assertEqual(seen.target, f"/v1/speak?model={MODEL}")
                self.assertEqual(seen.json, {"text": TEXT})
                self.assertIsNone(seen.header("authorization"))
                self.expect_accepted(seen)

    def test_speech_arrives_over_the_websocket(self) -> None:
        for kind in ("api_key", "access_token"):
            with self.subTest(kind):
                sound = self.over_websocket(self.gateway, **{kind: self.keys.speaker})
                self.assertEqual(sound, SOUND)
                self.expect_socket()
        # The documentation of `connect` gives this for an access token.
        token = f"Bearer {self.keys.speaker}"
        sound = self.over_websocket(self.gateway, authorization=token, api_key="")
        self.assertEqual(sound, SOUND)
        self.expect_socket()

    def test_speech_arrives_over_the_asynchronous_websocket(self) -> None:
        for kind in ("api_key", "access_token"):
            with self.subTest(kind):
                credential = {kind: self.keys.speaker}
                sound = run(self.over_async_websocket(self.gateway, **credential))
                self.assertEqual(sound, SOUND)
                self.expect_socket()

    def test_an_unknown_key_is_an_api_error_401(self) -> None:
        for kind in ("api_key", "access_token"):
            with self.subTest(kind):
                body = self.refusal(self.gateway, 401, **{kind: self.keys.unknown})
                self.assertEqual(body["err_code"], "INVALID_AUTH")
                self.assertEqual(body["err_msg"], "Invalid credentials.")
                self.expect_decision(
                    "refused", "unknown_credential", request_id=body["request_id"]
                )

    def test_a_key_without_the_scope_is_an_api_error_403(self) -> None:
        body = self.refusal(self.gateway, 403, api_key=self.keys.reader)
        self.expect_decision(
            "refused", "insufficient_scope", key_id="reader", request_id=body["request_id"]
        )

    def test_a_model_of_another_key_is_an_api_error_403(self) -> None:
        self.assertEqual(self.over_http(self.gateway, api_key=self.voice_key), SOUND)
        self.assertEqual(self.over_websocket(self.gateway, api_key=self.voice_key), SOUND)
        self.upstream.take()
        body = self.refusal(self.gateway, 403, api_key=self.other_voice_key)
        self.assertEqual(body["err_code"], "INSUFFICIENT_PERMISSIONS")
        self.assertEqual(
            body["err_msg"], "Project does not have access to the requested model."
        )
        self.expect_refused_handshake(
            self.other_voice_key,
            403,
            lambda: self.over_websocket(self.gateway, api_key=self.other_voice_key),
        )
        self.expect_nothing_forwarded()

    def test_too_many_requests_are_an_api_error_429(self) -> None:
        self.refusal(self.busy, 429, api_key=self.keys.limited)

    def test_refusals_with_the_default_retries(self) -> None:
        async def speak_async(key: str) -> bytes:
            async with httpx.AsyncClient(timeout=STEP_SECONDS) as http:
                sdk = AsyncDeepgramClient(**options(self.gateway, api_key=key), httpx_client=http)
                sound = sdk.speak.v1.audio.generate(text=TEXT, model=MODEL)
                return b"".join([chunk async for chunk in sound])

        def models(key: str) -> object:
            with httpx.Client(timeout=STEP_SECONDS) as http:
                sdk = DeepgramClient(**options(self.gateway, api_key=key), httpx_client=http)
                return sdk.manage.v1.models.list()

        ways = (
            Way("sync", lambda key: self.over_http(self.gateway, api_key=key), requests=1),
            Way("async", lambda key: run(speak_async(key)), requests=1),
            Way("models", models, requests=3),
        )
        self.expect_default_retries(ways, ApiError, ApiError)

    def test_the_websocket_is_refused_with_the_same_text(self) -> None:
        # This client expects an exception that `websockets` no longer raises, so it passes the
        # new one on.
        for server, key, status, word in self.refusals():
            with self.subTest(status):
                body = self.expect_refused_handshake(
                    key, status, lambda: self.over_websocket(server, api_key=key)
                )
                self.expect_words(body, word)
        self.expect_nothing_forwarded()

    def test_the_asynchronous_websocket_is_refused_with_an_api_error(self) -> None:
        # The asynchronous client raises its own error for the status, with its own message.
        for server, key, status, _ in self.refusals():
            with self.subTest(status), self.assertRaises(ApiError) as caught:
                run(self.over_async_websocket(server, api_key=key))
            self.assertEqual(caught.exception.status_code, status)
        self.expect_nothing_forwarded()

    # Replays: the Python client always sends a header, and browsers cannot.

    def test_replay_a_browser_offers_its_key_as_a_subprotocol(self) -> None:
        for name in ("token", "bearer"):
            with self.subTest(name):
                self.replay_speaks(name, f"{QUERY}&note=a%2Fb+c&=&flag")
                (seen,) = self.expect_forwarded(self.keys.speaker)
                self.assertEqual(seen.target, f"/v1/speak?{QUERY}&note=a%2Fb+c&=&flag")
                self.assertEqual(seen.subprotocols, [name])
                self.expect_accepted(seen)

    def test_replay_the_name_is_chosen_even_if_the_server_behind_knows_none(self) -> None:
        for name in ("token", "bearer"):
            with self.subTest(name):
                # A browser that offered subprotocols closes the connection if the answer has none.
                self.replay_speaks(name, "mute")
                self.expect_forwarded(self.keys.speaker)

    def test_replay_other_offers_stay_in_their_order(self) -> None:
        url = f"{self.gateway.ws_url}/v1/speak?{QUERY}"
        with replay(url, "first", "token", self.keys.speaker, "last") as browser:
            self.assertEqual(browser.subprotocol, "token")
        (seen,) = self.expect_forwarded(self.keys.speaker)
        self.assertEqual(seen.subprotocols, ["first", "token", "last"])

    def test_replay_a_browser_is_refused_before_the_upgrade(self) -> None:
        for server, key, status, word in self.refusals():
            for name in ("token", "bearer"):
                with self.subTest(name, status=status):
                    url = f"{server.ws_url}/v1/speak?{QUERY}"
                    body = self.expect_refused_handshake(
                        key, status, lambda: replay(url, name, key).close()
                    )
                    self.expect_words(body, word)
        self.expect_nothing_forwarded()

    def replay_speaks(self, name: str, query: str) -> None:
        """A browser that sends its key after `name` gets `name` as its subprotocol, and audio."""
        url = f"{self.gateway.ws_url}/v1/speak?{query}"
        with replay(url, name, self.keys.speaker) as browser:
            self.assertEqual(browser.subprotocol, name)
            offer = browser.request.headers["sec-websocket-protocol"]
            self.assertEqual(offer, f"{name}, {self.keys.speaker}")
            answer = browser.response.headers
            self.assertEqual(answer.get_all("sec-websocket-protocol"), [name])
            self.assertNotIn(self.keys.speaker, str(answer))
            browser.send(json.dumps({"type": "Flush"}))
            self.assertEqual(browser.recv(STEP_SECONDS), SOUND)

    def refusals(self) -> list[tuple[Child, str, int, str | None]]:
        """Which side refuses which key, with which status, and the vendor's error code if known."""
        return [
            (self.gateway, self.keys.unknown, 401, "INVALID_AUTH"),
            (self.gateway, self.keys.reader, 403, None),
            (self.busy, self.keys.limited, 429, None),
        ]

    def expect_socket(self) -> None:
        """The upstream received every WebSocket message of the client."""
        (seen,) = self.expect_forwarded(self.keys.speaker)
        self.assertEqual(seen.target, f"/v1/speak?{QUERY}")
        self.assertIsNone(seen.header("authorization"))
        self.assertEqual(json.loads(seen.messages[0]), {"type": "Speak", "text": TEXT})
        self.expect_accepted(seen)

    def refusal(self, server: Child, status: int, **credential: str) -> dict:
        """Asserts that the client raises its error with this status. Returns what it parsed."""
        with self.assertRaises(ApiError) as caught:
            self.over_http(server, **credential)
        error = caught.exception
        self.assertEqual(error.status_code, status)
        self.assertEqual(error.headers.get("retry-after"), "1" if status == 429 else None)
        # It is a string if the body was not JSON.
        self.assertIsInstance(error.body, dict, error.body)
        self.expect_words(error.body)
        for key in credential.values():
            self.assertNotIn(key, str(error))
        self.expect_nothing_forwarded()
        return error.body

    def expect_words(self, body: dict, word: str | None = None) -> None:
        """Asserts that this is an error in the form that Deepgram sends."""
        self.assertTrue(body["err_code"] and body["err_msg"] and body["request_id"], body)
        if word:
            self.assertEqual(body["err_code"], word)


if __name__ == "__main__":
    sys.exit(harness.main(Deepgram))
