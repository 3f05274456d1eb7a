"""Runs Google's own Python client for text-to-speech through the gateway, over REST with an API key.

Over gRPC, this client speaks TLS only; rime_rimelabs.py has a test with such a client.
"""

from __future__ import annotations

import base64
import sys

from aiohttp import web
from google.api_core import exceptions
from google.cloud import texttospeech

import harness
from harness import SOUND, STEP_SECONDS, Gateway
from retries import HOUR, SLOWED, LongWait, RetryTest

TEXT = "Good morning. The gateway let this sentence through."
VOICE = "en-US-Standard-C"


async def speech(request: web.Request) -> web.Response:
    return web.json_response({"audioContent": base64.b64encode(harness.wav(SOUND)).decode()})


async def voices(request: web.Request) -> web.Response:
    return web.json_response({"voices": [{"name": VOICE, "languageCodes": ["en-US"]}]})


def client(server: Gateway, key: str) -> texttospeech.TextToSpeechClient:
    options = {"api_key": key, "api_endpoint": server.url}
    return texttospeech.TextToSpeechClient(transport="rest", client_options=options)


def speak(server: Gateway, key: str) -> bytes:
    with client(server, key) as sdk:
        answer = sdk.synthesize_speech(
            input=texttospeech.SynthesisInput(text=TEXT),
            voice=texttospeech.VoiceSelectionParams(language_code="en-US", name=VOICE),
            audio_config=texttospeech.AudioConfig(
                audio_encoding=texttospeech.AudioEncoding.LINEAR16, sample_rate_hertz=24000
            ),
            timeout=STEP_SECONDS,
        )
        return answer.audio_content


def list_voices(server: Gateway, key: str) -> list[str]:
    with client(server, key) as sdk:
        answer = sdk.list_voices(language_code="en-US", timeout=STEP_SECONDS)
        return [voice.name for voice in answer.voices]


class Google(RetryTest):
    dialect = "google"
    long_wait = LongWait(requests=1, retry_after=HOUR, should_retry=None)
    settings = SLOWED

    @classmethod
    def routes(cls):
        return [("POST", "/v1/text:synthesize", speech), ("GET", "/v1/voices", voices)]

    def test_speech_arrives(self) -> None:
        self.assertEqual(speak(self.gateway, self.keys.speaker), harness.wav(SOUND))
        (seen,) = self.expect_forwarded(self.keys.speaker)
        self.assertEqual((seen.method, seen.path), ("POST", "/v1/text:synthesize"))
        self.assertEqual(seen.json["input"], {"text": TEXT})
        self.assertEqual(seen.json["voice"]["name"], VOICE)
        self.assertIsNone(seen.header("x-goog-api-key"))
        self.expect_decision("accepted", "ok", key_id="speaker", path=seen.path)

    def test_voices_are_listed(self) -> None:
        self.assertEqual(list_voices(self.gateway, self.hourly), [VOICE])
        self.expect_forwarded(self.hourly, self.hourly_id)

    def test_refusals_are_the_clients_own_errors(self) -> None:
        speak(self.gateway, self.hourly)
        for call in (speak, list_voices):
            for key, number, kind, reason in (
                (self.keys.unknown, 1, exceptions.BadRequest, "unknown_credential"),
                (self.keys.reader, 1, exceptions.Forbidden, "insufficient_scope"),
                (self.hourly, 1, exceptions.TooManyRequests, "rate_limited"),
            ):
                with self.way(f"{call.__name__} {reason}"):
                    error = self.expect_raised(
                        kind, number, lambda: call(self.gateway, key), reason=reason
                    )
                    self.assertNotIn(key, str(error))
                    if reason == "rate_limited":
                        self.expect_long_wait(error.response.headers)
                    self.expect_nothing_forwarded()


if __name__ == "__main__":
    sys.exit(harness.main(Google))
