"""Runs Cartesia's own Python client through `voxgate serve` in the dialect `cartesia`, and replays
the requests of its browser clients and of its older clients.

harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
from typing import ClassVar

import cartesia
import httpx
from aiohttp import web
from websockets.exceptions import ConnectionClosed

import harness
from handshakes import HandshakeTest, replay
from harness import SOUND, STEP_SECONDS, Child, messages_of, run
from retries import STAINLESS, RetryTest, Way

TEXT = "Good morning. The gateway let this sentence through."
VOICE = {"mode": "id", "id": "6ccbfb76-1fc6-48f7-b71d-91ac6298247b"}
FORMAT = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}
REQUEST = {"model_id": "sonic-3", "voice": VOICE, "output_format": FORMAT, "transcript": TEXT}


def chunk(**more: object) -> dict:
    sound = base64.b64encode(SOUND).decode()
    event = {"type": "chunk", "data": sound, "done": False, "status_code": 206, "step_time": 1.0}
    return {**event, **more}


def done(**more: object) -> dict:
    return {"type": "done", "done": True, "status_code": 200, **more}


async def speech(request: web.Request) -> web.Response:
    return web.Response(body=SOUND, content_type="audio/pcm")


async def events(request: web.Request) -> web.Response:
    text = "".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in (chunk(), done())
    )
    return web.Response(text=text, content_type="text/event-stream")


async def socket(request: web.Request) -> web.WebSocketResponse:
    """Sends audio for each transcript, and reports when the last one is complete."""
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    async for message in messages_of(request, answer):
        asked = json.loads(message)
        if asked["transcript"]:
            await answer.send_json(chunk(context_id=asked["context_id"]))
        if not asked["continue"]:
            await answer.send_json(done(context_id=asked["context_id"]))
    return answer


def options(server: Child, **credential: str) -> dict:
    """The arguments of a client. `credential` is an `api_key` or an access `token`."""
    return {
        "base_url": server.url,
        "websocket_base_url": server.ws_url,
        "timeout": STEP_SECONDS,
        "max_retries": 0,
        **credential,
    }


# Its quota is less than the text.
SPENT = secrets.token_hex(16)


class Cartesia(HandshakeTest, RetryTest):
    dialect = "cartesia"
    extra_keys: ClassVar = {"spent": {"secret": SPENT, "quota": "1 characters/month"}}
    voice = VOICE["id"]
    long_wait = STAINLESS

    @classmethod
    def routes(cls):
        return [
            ("POST", "/tts/bytes", speech),
            ("POST", "/tts/sse", events),
            ("GET", "/tts/websocket", socket),
        ]

    def over_http(self, server: Child, **credential: str) -> bytes:
        with cartesia.Cartesia(**options(server, **credential)) as sdk:
            return sdk.tts.generate(**REQUEST).read()

    def over_events(self, server: Child, **credential: str) -> bytes:
        with (
            cartesia.Cartesia(**options(server, **credential)) as sdk,
            sdk.tts.generate_sse(**REQUEST) as stream,
        ):
            return b"".join(event.audio for event in stream if event.type == "chunk")

    def over_websocket(self, server: Child, **credential: str) -> bytes:
        with (
            cartesia.Cartesia(**options(server, **credential)) as sdk,
            sdk.tts.websocket_connect() as connection,
        ):
            asked = {name: REQUEST[name] for name in ("model_id", "voice", "output_format")}
            context = connection.context(**asked, timeout=STEP_SECONDS)
            context.push(TEXT)
            context.no_more_inputs()
            return b"".join(event.audio for event in context.receive() if event.type == "chunk")

    async def over_async_websocket(self, server: Child, **credential: str) -> bytes:
        async with (
            cartesia.AsyncCartesia(**options(server, **credential)) as sdk,
            sdk.tts.websocket_connect() as connection,
        ):
            asked = {name: REQUEST[name] for name in ("model_id", "voice", "output_format")}
            context = connection.context(**asked, timeout=STEP_SECONDS)
            await context.push(TEXT)
            await context.no_more_inputs()
            heard = [event.audio async for event in context.receive() if event.type == "chunk"]
            return b"".join(heard)

    def test_speech_arrives(self) -> None:
        for kind in ("api_key", "token"):
            with self.subTest(kind):
                sound = self.over_http(self.gateway, **{kind: self.keys.speaker})
                self.assertEqual(sound, SOUND)
                self.expect_request("/tts/bytes")

    def test_events_arrive(self) -> None:
        self.assertEqual(self.over_events(self.gateway, api_key=self.keys.speaker), SOUND)
        self.expect_request("/tts/sse")

    def test_speech_arrives_over_the_websocket(self) -> None:
        for kind in ("api_key", "token"):
            with self.subTest(kind):
                sound = self.over_websocket(self.gateway, **{kind: self.keys.speaker})
                self.assertEqual(sound, SOUND)
                self.expect_socket()

    def test_speech_arrives_over_the_asynchronous_websocket(self) -> None:
        sound = run(self.over_async_websocket(self.gateway, api_key=self.keys.speaker))
        self.assertEqual(sound, SOUND)
        self.expect_socket()

    def test_an_unknown_key_is_an_authentication_error(self) -> None:
        body = self.refusal(self.gateway, self.keys.unknown, cartesia.AuthenticationError, 401)
        self.expect_decision("refused", "unknown_credential", request_id=body["request_id"])

    def test_a_key_without_the_scope_is_a_permission_error(self) -> None:
        body = self.refusal(self.gateway, self.keys.reader, cartesia.PermissionDeniedError, 403)
        self.expect_decision(
            "refused", "insufficient_scope", key_id="reader", request_id=body["request_id"]
        )

    def test_a_voice_of_another_key_is_a_permission_error(self) -> None:
        with cartesia.Cartesia(**options(self.gateway, api_key=self.voice_key)) as sdk:
            self.assertEqual(sdk.tts.generate(**REQUEST).read(), SOUND)
        sound = self.over_websocket(self.gateway, api_key=self.voice_key)
        self.assertEqual(sound, SOUND)
        self.upstream.take()
        self.refusal(self.gateway, self.other_voice_key, cartesia.PermissionDeniedError, 403)
        # The voice is in the message, so that the socket opens and the message closes it.
        self.expect_error(self.other_voice_key, 403, "forbidden", "voice_not_allowed")

    def test_an_exhausted_quota_is_an_error_of_the_context(self) -> None:
        self.refusal(self.gateway, SPENT, cartesia.APIStatusError, 402)
        self.expect_error(SPENT, 402, "quota_exceeded", "quota_exhausted")

    def expect_error(self, key: str, status: int, code: str, reason: str) -> None:
        """The client's own error for a message that is refused, and then the close."""
        with (
            cartesia.Cartesia(**options(self.gateway, api_key=key)) as sdk,
            sdk.tts.websocket_connect() as connection,
        ):
            asked = {name: REQUEST[name] for name in ("model_id", "voice", "output_format")}
            context = connection.context(**asked, timeout=STEP_SECONDS)
            context.push(TEXT)
            (error,) = context.receive()
            self.assertEqual((error.type, error.status_code, error.error_code), ("error", status, code))
            with self.assertRaises(ConnectionClosed) as caught:
                connection.recv()
        closed = caught.exception.rcvd
        self.assertEqual((closed.code, closed.reason), (1008, reason))

    def test_too_many_requests_are_a_rate_limit_error(self) -> None:
        self.refusal(self.busy, self.keys.limited, cartesia.RateLimitError, 429)

    def test_refusals_with_the_default_retries(self) -> None:
        def speak(key: str) -> bytes:
            with cartesia.Cartesia(api_key=key, base_url=self.gateway.url) as sdk:
                return sdk.tts.generate(**REQUEST).read()

        async def speak_async(key: str) -> bytes:
            async with cartesia.AsyncCartesia(api_key=key, base_url=self.gateway.url) as sdk:
                return await (await sdk.tts.generate(**REQUEST)).read()

        ways = (
            Way("sync", speak, requests=1),
            Way("async", lambda key: run(speak_async(key)), requests=1),
        )
        self.expect_default_retries(ways, cartesia.AuthenticationError, cartesia.RateLimitError)

    def test_the_websocket_is_refused_with_the_same_text(self) -> None:
        for server, key, status in self.refusals():
            with self.subTest(status):
                body = self.expect_refused_handshake(
                    key, status, lambda: self.over_websocket(server, api_key=key)
                )
                self.expect_words(body)
                body = self.expect_refused_handshake(
                    key, status, lambda: run(self.over_async_websocket(server, api_key=key))
                )
                self.expect_words(body)
        self.expect_nothing_forwarded()

    # Replays: the Python client always sends `Authorization: Bearer`.

    def test_replay_a_browser_has_its_key_in_the_query(self) -> None:
        for name in ("api_key", "access_token"):
            key = f"{name}={self.keys.speaker}"
            version = "cartesia_version=2026-08-14"
            for query, left in (
                (f"{key}&{version}", f"?{version}"),
                (f"{version}&{key}", f"?{version}"),
                (f"{key}", ""),
                # The gateway changes no other message, even if it looks similar.
                (f"b=%2F+%7E~&a=1&&{key}&=&flag&b=%2f", "?b=%2F+%7E~&a=1&&=&flag&b=%2f"),
                (f"x{name}=1&{key}&{name}x=2", f"?x{name}=1&{name}x=2"),
            ):
                with self.subTest(query.replace(self.keys.speaker, "K")):
                    with replay(f"{self.gateway.ws_url}/tts/websocket?{query}") as browser:
                        asked = {"context_id": "c", "transcript": TEXT, "continue": False}
                        browser.send(json.dumps(asked))
                        self.assertEqual(json.loads(browser.recv()), chunk(context_id="c"))
                        self.assertEqual(json.loads(browser.recv()), done(context_id="c"))
                    (seen,) = self.expect_forwarded(self.keys.speaker)
                    self.assertEqual(seen.target, f"/tts/websocket{left}")
                    self.expect_accepted(seen)

    def test_replay_a_browser_is_refused_before_the_upgrade(self) -> None:
        for server, key, status in self.refusals():
            for name in ("api_key", "access_token"):
                with self.subTest(name, status=status):
                    url = f"{server.ws_url}/tts/websocket?{name}={key}"
                    body = self.expect_refused_handshake(
                        key, status, lambda: replay(url).close()
                    )
                    self.expect_words(body)
        self.expect_nothing_forwarded()

    def test_replay_an_older_client_sends_x_api_key(self) -> None:
        with httpx.Client(timeout=STEP_SECONDS) as http:
            headers = {"X-API-Key": self.keys.speaker, "Cartesia-Version": "2024-06-10"}
            url = f"{self.gateway.url}/tts/bytes"
            answer = http.post(url, json=REQUEST, headers=headers)
            self.assertEqual((answer.status_code, answer.content), (200, SOUND))
            (seen,) = self.expect_forwarded(self.keys.speaker)
            self.assertIsNone(seen.header("x-api-key"))
            self.assertEqual(seen.header("cartesia-version"), "2024-06-10")

            answer = http.post(url, json=REQUEST, headers={"X-API-Key": self.keys.unknown})
            self.assertEqual(answer.status_code, 401)
            self.expect_words(answer.json())
            self.expect_nothing_forwarded()

    def refusals(self) -> list[tuple[Child, str, int]]:
        """Which side refuses which key, and with which status."""
        return [
            (self.gateway, self.keys.unknown, 401),
            (self.gateway, self.keys.reader, 403),
            (self.busy, self.keys.limited, 429),
        ]

    def expect_request(self, path: str) -> None:
        """The upstream received the complete request once, and the gateway audited it."""
        (seen,) = self.expect_forwarded(self.keys.speaker)
        self.assertEqual((seen.method, seen.target), ("POST", path))
        self.assertEqual(seen.json, REQUEST)
        self.assertIsNone(seen.header("authorization"))
        self.expect_accepted(seen)

    def expect_socket(self) -> None:
        """The upstream received every WebSocket message of the client."""
        (seen,) = self.expect_forwarded(self.keys.speaker)
        self.assertEqual(seen.target, "/tts/websocket")
        self.assertIsNone(seen.header("authorization"))
        texts = [json.loads(message)["transcript"] for message in seen.messages]
        self.assertEqual(texts, [TEXT, ""])
        self.expect_accepted(seen)

    def refusal(self, server: Child, key: str, kind: type, status: int) -> dict:
        """Asserts that the client raises exactly this error, for bytes and for events, and that it
        parsed the vendor's message. Returns what it parsed."""
        for speak in (self.over_events, self.over_http):
            with self.assertRaises(kind) as caught:
                speak(server, api_key=key)
            error = caught.exception
            self.assertIs(type(error), kind)
            self.assertEqual(error.status_code, status)
            retry_after = error.response.headers.get("retry-after")
            self.assertEqual(retry_after, "1" if status == 429 else None)
            # It is a string if the body was not JSON.
            self.assertIsInstance(error.body, dict, error.body)
            self.expect_words(error.body)
            self.assertNotIn(key, str(error))
        self.expect_nothing_forwarded()
        return error.body

    def expect_words(self, body: dict) -> None:
        """Asserts that this is an error in the form that Cartesia sends."""
        for name in ("error_code", "title", "message", "request_id"):
            self.assertTrue(body.get(name), f"{name} in {body}")


if __name__ == "__main__":
    sys.exit(harness.main(Cartesia))
