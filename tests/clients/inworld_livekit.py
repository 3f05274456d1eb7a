"""Runs LiveKit's Inworld client through the gateway.

Inworld refuses an unknown key with 403. It answers 401 only if the value is not a credential.
Scopes do not limit its speech API, but a key for its Realtime API works for that API only.
"""

from __future__ import annotations

import contextlib
import logging
import sys

import aiohttp
import harness
import inworld
from harness import SOUND
from inworld import TEXT, VOICE, as_given
from livekit.agents import APIConnectionError, APIConnectOptions, APIStatusError
from livekit.plugins import inworld as plugin

ONCE = APIConnectOptions(max_retry=0, timeout=harness.STEP_SECONDS)
REALTIME = inworld.credential()

# Not an `id:secret` in base64, nor another form of credential.
NO_CREDENTIAL = "%%%"


# -- the client -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def client(server, key: str):
    async with aiohttp.ClientSession() as session:
        urls = {"base_url": server.url, "ws_url": server.ws_url}
        speaker = plugin.TTS(api_key=key, voice=VOICE, http_session=session, **urls)
        async with contextlib.aclosing(speaker):
            yield speaker


async def collect(stream) -> bytes:
    return b"".join([bytes(event.frame.data.cast("b")) async for event in stream])


def over_http(server, key: str) -> bytes:
    async def speak() -> bytes:
        async with client(server, key) as speaker:
            async with speaker.synthesize(TEXT, conn_options=ONCE) as stream:
                return await collect(stream)

    return harness.run(speak())


def over_websocket(server, key: str) -> bytes:
    async def speak() -> bytes:
        async with client(server, key) as speaker:
            async with speaker.stream(conn_options=ONCE) as stream:
                for word in TEXT.split(" "):
                    stream.push_text(word + " ")
                stream.end_input()
                return await collect(stream)

    return harness.run(speak())


def list_voices(server, key: str) -> list:
    async def ask() -> list:
        async with client(server, key) as speaker:
            return await speaker.list_voices()

    return harness.run(ask())


# -- the tests ------------------------------------------------------------------------------------


class InworldLiveKit(harness.ClientTest):
    dialect = "inworld"
    variable = "INWORLD_API_KEY"
    voice = VOICE
    new_key = staticmethod(inworld.credential)
    as_given = staticmethod(as_given)
    extra_keys = {"realtime": {"secret": REALTIME, "kind": "realtime"}}

    @classmethod
    def setUpClass(cls) -> None:
        cls.keys = inworld.keys()
        super().setUpClass()

    @classmethod
    def routes(cls):
        return inworld.ROUTES

    # Accepted

    def check_speaks(self, say, key: str, key_id: str, path: str) -> None:
        # LiveKit's emitter splits the audio into frames and pads the last one.
        self.assertTrue(say(self.gateway, as_given(key)).startswith(SOUND))
        [seen] = self.expect_forwarded(key, key_id)
        self.assertEqual(seen.path, path)
        self.assertIsNone(seen.header("authorization"))
        self.assertTrue(seen.header("x-user-agent").startswith("livekit-agents-py/"))
        self.expect_decision("accepted", "ok", key_id=key_id, path=path)

    def test_http_with_the_key_speaks(self) -> None:
        self.check_speaks(over_http, self.keys.speaker, "speaker", "/tts/v1/voice:stream")

    def test_websocket_with_the_key_speaks(self) -> None:
        path = "/tts/v1/voice:streamBidirectional"
        self.check_speaks(over_websocket, self.keys.speaker, "speaker", path)

    def test_a_read_key_speaks_and_lists_voices(self) -> None:
        self.check_speaks(over_http, self.keys.reader, "reader", "/tts/v1/voice:stream")
        [voice] = list_voices(self.gateway, as_given(self.keys.reader))
        self.assertEqual(voice["voiceId"], VOICE)
        self.expect_forwarded(self.keys.reader, "reader")

    # Refused

    def check_http_refused(self, server, key: str, status: int) -> None:
        with self.assertRaises(APIStatusError) as caught:
            over_http(server, key)
        self.assertEqual(caught.exception.status_code, status)

    def check_upgrade_refused(self, server, key: str) -> None:
        """LiveKit's client drops the status of a refused upgrade; the audit record has it."""
        with self.assertRaises(APIConnectionError) as caught:
            over_websocket(server, key)
        self.assertIs(type(caught.exception), APIConnectionError)

    def each_bad_key(self):
        """Cases: a name, the credential, and the expected refusal."""
        return (
            ("unknown", as_given(self.keys.unknown), "unknown_credential", 403),
            ("for Realtime", as_given(REALTIME), "realtime_only", 403),
            ("no credential", NO_CREDENTIAL, "malformed_credential", 401),
        )

    def test_http_with_a_bad_key_is_refused_as_the_vendor_does(self) -> None:
        for name, key, reason, status in self.each_bad_key():
            with self.way(name):
                self.check_http_refused(self.gateway, key, status)
                self.expect_decision("refused", reason, status=status)
                self.expect_nothing_forwarded()

    def test_a_voice_of_another_key_is_403_and_closes_a_websocket(self) -> None:
        path = "/tts/v1/voice:stream"
        self.check_speaks(over_http, self.voice_key, "voice", path)
        self.check_speaks(over_websocket, self.voice_key, "voice", f"{path}Bidirectional")
        other = as_given(self.other_voice_key)
        self.check_http_refused(self.gateway, other, 403)
        self.expect_failure("voice_not_allowed", key_id="other-voice")
        self.expect_nothing_forwarded()
        self.setUp()
        # The voice is in a message, so that the socket opens and the message closes it. The client
        # drops the code of the close.
        with self.assertRaises(APIConnectionError):
            over_websocket(self.gateway, other)
        self.expect_failure("voice_not_allowed", path=f"{path}Bidirectional")
        for seen in self.upstream.take():
            self.assertEqual(seen.messages, [])

    def test_http_voices_with_an_unknown_key_is_403(self) -> None:
        with self.assertRaises(APIStatusError) as caught:
            list_voices(self.gateway, as_given(self.keys.unknown))
        self.assertEqual(caught.exception.status_code, 403)
        self.assertEqual(caught.exception.message, "API key does not exist or was deleted")

    def test_websocket_with_a_bad_key_is_refused_before_the_upgrade(self) -> None:
        for name, key, reason, status in self.each_bad_key():
            with self.way(name):
                self.check_upgrade_refused(self.gateway, key)
                self.expect_decision("refused", reason, status=status)
                self.expect_nothing_forwarded()

    def test_over_the_limit_is_429(self) -> None:
        given = as_given(self.keys.limited)
        before = len(self.busy.lines)
        self.check_http_refused(self.busy, given, 429)
        self.busy.wait_for_refusal(before)
        # The same error would also occur without a gateway.
        before = len(self.busy.lines)
        self.check_upgrade_refused(self.busy, given)
        self.busy.wait_for_refusal(before)

    # Preconfigured

    def test_preconfigured_lets_any_key_speak_and_sends_the_deployment_key(self) -> None:
        for name, say in (("http", over_http), ("websocket", over_websocket)):
            with self.way(name):
                given = as_given(self.keys.unknown)
                self.assertTrue(say(self.preconfigured, given).startswith(SOUND))
                [seen] = self.expect_forwarded(self.keys.unknown, "deployment")
                form = f"Basic {as_given(self.keys.deployment)}"
                self.assertEqual(seen.header("authorization"), form)


if __name__ == "__main__":
    logging.getLogger("livekit").setLevel(logging.CRITICAL)  # refusals are expected here
    sys.exit(harness.main(InworldLiveKit))
