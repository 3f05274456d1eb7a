"""Runs Supertone's own Python client through the gateway, with its default settings: over HTTP, in one
response, as a stream and asynchronously.

The client needs Python 3.12, so scripts/clients.sh runs it in an environment of its own
(tests/clients-supertone).
"""

from __future__ import annotations

import asyncio
import sys

import harness
from aiohttp import web
from harness import SOUND
from retries import LongWait, RetryTest
from supertone import Supertone
from supertone.errors import (
    PaymentRequiredErrorResponse,
    SupertoneError,
    TooManyRequestsErrorResponse,
    UnauthorizedErrorResponse,
)

TEXT = "Good morning. The gateway let this sentence through."
VOICE = "cove"
SPOKEN = harness.wav(SOUND)
CREDITS = {"balance": 12.5}


async def speak(request: web.Request) -> web.Response:
    asked = await request.json()
    assert (asked["text"], request.match_info["voice"]) == (TEXT, VOICE)
    return web.Response(body=SPOKEN, content_type="audio/wav")


async def balance(_: web.Request) -> web.Response:
    return web.json_response(CREDITS)


class SupertoneClient(RetryTest):
    dialect = "supertone"
    voice = VOICE
    # One for each way to speak. Each pays for the text once.
    quota_keys = [harness.ClientTest.new_key() for _ in range(3)]
    extra_keys = {
        f"quota-{number}": {"secret": key, "quota": f"{len(TEXT) + 1} characters/month"}
        for number, key in enumerate(quota_keys)
    }
    variable = "SUPERTONE_API_KEY"
    # The client retries no request unless its caller configures that.
    long_wait = LongWait(requests=1, retry_after=range(3000, 3601), should_retry=None)

    @classmethod
    def routes(cls):
        path = "/v1/text-to-speech/{voice}"
        return [
            ("POST", path, speak),
            ("POST", f"{path}/stream", speak),
            ("GET", "/v1/credits", balance),
        ]

    @staticmethod
    def request() -> dict:
        return {"voice_id": VOICE, "text": TEXT, "language": "en"}

    def whole(self, server: harness.Gateway, key: str) -> bytes:
        with Supertone(api_key=key, server_url=server.url) as client:
            return read(client.text_to_speech.create_speech(**self.request()))

    def stream(self, server: harness.Gateway, key: str) -> bytes:
        with Supertone(api_key=key, server_url=server.url) as client:
            return read(client.text_to_speech.stream_speech(**self.request()))

    def asynchronous(self, server: harness.Gateway, key: str) -> bytes:
        async def ask() -> bytes:
            async with Supertone(api_key=key, server_url=server.url) as client:
                answer = await client.text_to_speech.create_speech_async(**self.request())
                return await answer.result.aread()

        return asyncio.run(ask())

    @property
    def ways(self):
        return (self.whole, self.stream, self.asynchronous)

    def test_speech_arrives(self) -> None:
        for way in self.ways:
            with self.way(way.__name__):
                key = self.keys.speaker
                self.assertEqual(way(self.gateway, key), SPOKEN)
                (seen,) = self.expect_forwarded(key)
                self.assertIsNone(seen.header("x-sup-api-key"))
                self.expect_decision("accepted", "ok", key_id="speaker", path=seen.path)

    def test_the_deployment_key_goes_up(self) -> None:
        self.assertEqual(self.whole(self.preconfigured, "anything"), SPOKEN)
        (seen,) = self.upstream.take()
        self.assertEqual(seen.header("x-sup-api-key"), self.keys.deployment)

    def test_a_refusal_is_the_clients_own_error(self) -> None:
        for way in self.ways:
            for key, error, reason, status in (
                (self.keys.unknown, UnauthorizedErrorResponse, "unknown_credential", 401),
                (self.keys.reader, SupertoneError, "insufficient_scope", 403),
            ):
                with self.way(f"{way.__name__}, {reason}"):
                    with self.assertRaises(error) as caught:
                        way(self.gateway, key)
                    self.assertEqual(caught.exception.status_code, status)
                    self.assertNotIn(key, str(caught.exception))
                    self.expect_decision("refused", reason, status=status)
                    self.expect_nothing_forwarded()

    def test_a_voice_of_another_key_is_the_clients_own_error(self) -> None:
        for way in self.ways:
            with self.way(way.__name__):
                self.assertEqual(way(self.gateway, self.voice_key), SPOKEN)
                self.expect_forwarded(self.voice_key, "voice")
                with self.assertRaises(SupertoneError) as caught:
                    way(self.gateway, self.other_voice_key)
                self.assertEqual(caught.exception.status_code, 403)
                self.expect_decision("refused", "voice_not_allowed", status=403)
                self.expect_nothing_forwarded()

    def test_an_exhausted_quota_is_the_clients_own_error(self) -> None:
        for number, way in enumerate(self.ways):
            with self.way(way.__name__):
                key = self.quota_keys[number]
                self.assertEqual(way(self.gateway, key), SPOKEN)
                self.upstream.take()
                with self.assertRaises(PaymentRequiredErrorResponse) as caught:
                    way(self.gateway, key)
                self.assertEqual(caught.exception.status_code, 402)
                self.expect_failure("quota_exhausted", key_id=f"quota-{number}")
                self.expect_nothing_forwarded()

    def test_an_exhausted_rate_is_an_error_soon(self) -> None:
        self.whole(self.gateway, self.hourly)
        self.upstream.take()

        def call() -> None:
            with self.assertRaises(TooManyRequestsErrorResponse):
                self.whole(self.gateway, self.hourly)

        expected = {"reason": "rate_limited", "status": 429, "outcome": "refused"}
        self.expect_requests(self.gateway, self.long_wait.requests, call, **expected)
        self.expect_nothing_forwarded()

    def test_the_balance_needs_its_own_scope(self) -> None:
        with Supertone(api_key=self.keys.reader, server_url=self.gateway.url) as client:
            self.assertEqual(client.usage.get_credit_balance().balance, CREDITS["balance"])


def read(answer) -> bytes:
    """The audio of an answer."""
    return answer.result.read()


if __name__ == "__main__":
    sys.exit(harness.main(SupertoneClient))
