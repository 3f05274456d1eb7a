"""Runs OpenAI's own Python client through `voxgate serve` in the dialect `openai`.

harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import sys

import openai
from aiohttp import web

import harness
from harness import SOUND, STEP_SECONDS, Child, run
from retries import SLOWED, STAINLESS, RetryTest, Way

TEXT = "Good morning. The gateway let this sentence through."
REQUEST = {"model": "tts-1", "voice": "alloy", "input": TEXT, "response_format": "pcm"}


async def speech(request: web.Request) -> web.Response:
    return web.Response(body=SOUND, content_type="audio/pcm")


def client(server: Child, key: str) -> openai.OpenAI:
    return openai.OpenAI(
        api_key=key, base_url=f"{server.url}/v1", timeout=STEP_SECONDS, max_retries=0
    )


class OpenAI(RetryTest):
    dialect = "openai"
    voice = REQUEST["voice"]
    long_wait = STAINLESS
    settings = SLOWED

    @classmethod
    def routes(cls):
        return [("POST", "/v1/audio/speech", speech)]

    def test_speech_arrives(self) -> None:
        with client(self.gateway, self.keys.speaker) as sdk:
            answer = sdk.audio.speech.create(**REQUEST)
        self.assertEqual(answer.read(), SOUND)
        self.expect_request()

    def test_streamed_speech_arrives(self) -> None:
        with (
            client(self.gateway, self.keys.speaker) as sdk,
            sdk.audio.speech.with_streaming_response.create(**REQUEST) as answer,
        ):
            sound = b"".join(answer.iter_bytes())
        self.assertEqual(sound, SOUND)
        self.expect_request()

    def test_the_asynchronous_client_is_served(self) -> None:
        async def speak() -> bytes:
            async with openai.AsyncOpenAI(
                api_key=self.keys.speaker, base_url=f"{self.gateway.url}/v1", max_retries=0
            ) as sdk:
                answer = await sdk.audio.speech.create(**REQUEST)
                return answer.read()

        self.assertEqual(run(speak()), SOUND)
        self.expect_request()

    def test_an_unknown_key_is_an_authentication_error(self) -> None:
        error = self.refusal(self.gateway, self.keys.unknown, openai.AuthenticationError)
        self.assertEqual(error.status_code, 401)
        self.assertEqual(error.code, "invalid_api_key")
        self.expect_decision("refused", "unknown_credential", request_id=error.request_id)

    def test_a_key_without_the_scope_is_a_permission_error(self) -> None:
        error = self.refusal(self.gateway, self.keys.reader, openai.PermissionDeniedError)
        self.assertEqual(error.status_code, 403)
        self.expect_decision(
            "refused", "insufficient_scope", key_id="reader", request_id=error.request_id
        )

    def test_a_voice_of_another_key_is_a_permission_error(self) -> None:
        with client(self.gateway, self.voice_key) as sdk:
            self.assertEqual(sdk.audio.speech.create(**REQUEST).read(), SOUND)
        (seen,) = self.expect_forwarded(self.voice_key, "voice")
        self.assertEqual(seen.json, REQUEST)
        error = self.refusal(self.gateway, self.other_voice_key, openai.PermissionDeniedError)
        self.assertEqual(error.status_code, 403)
        self.assertIn("voice", error.body["message"])

    def test_too_many_requests_are_a_rate_limit_error(self) -> None:
        error = self.refusal(self.busy, self.keys.limited, openai.RateLimitError)
        self.assertEqual(error.status_code, 429)
        self.assertEqual(error.response.headers["retry-after"], "1")

    def test_refusals_with_the_default_retries(self) -> None:
        def speak(key: str) -> bytes:
            with openai.OpenAI(api_key=key, base_url=f"{self.gateway.url}/v1") as sdk:
                return sdk.audio.speech.create(**REQUEST).read()

        async def speak_async(key: str) -> bytes:
            async with openai.AsyncOpenAI(
                api_key=key, base_url=f"{self.gateway.url}/v1"
            ) as sdk:
                return (await sdk.audio.speech.create(**REQUEST)).read()

        ways = (
            Way("sync", speak, requests=1),
            Way("async", lambda key: run(speak_async(key)), requests=1),
        )
        self.expect_default_retries(ways, openai.AuthenticationError, openai.RateLimitError)

    def expect_request(self) -> None:
        """The upstream received the complete request once, and the gateway audited it."""
        (seen,) = self.expect_forwarded(self.keys.speaker)
        self.assertEqual((seen.method, seen.target), ("POST", "/v1/audio/speech"))
        self.assertEqual(seen.json, REQUEST)
        self.assertIsNone(seen.header("authorization"))
        self.expect_decision(
            "accepted",
            "ok",
            key_id="speaker",
            path=seen.path,
            request_id=seen.header("x-request-id"),
        )

    def refusal(self, server: Child, key: str, kind: type) -> openai.APIStatusError:
        """Asserts that the client raises exactly this error, with the fields of OpenAI's errors."""
        with client(server, key) as sdk, self.assertRaises(kind) as caught:
            sdk.audio.speech.create(**REQUEST)
        error = caught.exception
        self.assertIs(type(error), kind)
        # The SDK takes these from the object `error` of the body.
        self.assertIsInstance(error.body, dict, error.body)
        self.assertLessEqual({"message", "type", "param", "code"}, error.body.keys())
        self.assertTrue(error.type and error.code and error.body["message"], error.body)
        self.assertIsNone(error.param)
        self.assertNotIn(key, str(error))
        self.expect_nothing_forwarded()
        return error


if __name__ == "__main__":
    sys.exit(harness.main(OpenAI))
