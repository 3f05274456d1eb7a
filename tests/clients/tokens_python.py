"""Makes and uses short-lived tokens with the vendors' own Python clients, through `voxgate serve`.

harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import json
import sys

import cartesia
import httpx
import openai
from aiohttp import web
from cartesia_python import REQUEST as CARTESIA_REQUEST
from cartesia_python import options as cartesia_options
from cartesia_python import socket as cartesia_socket
from cartesia_python import speech as cartesia_speech
from deepgram import DeepgramClient
from deepgram.core.api_error import ApiError as DeepgramError
from deepgram_python import MODEL, SOCKET
from deepgram_python import options as deepgram_options
from deepgram_python import socket as deepgram_socket
from deepgram_python import speech as deepgram_speech
from elevenlabs.client import ElevenLabs as ElevenLabsClient
from elevenlabs.core import ApiError as ElevenLabsError
from elevenlabs_python import VOICE, stream_input
from websockets.sync.client import connect
from websockets.typing import Subprotocol

import harness
from handshakes import replay
from harness import SOUND, STEP_SECONDS, messages_of, run
from minting import MintTest, quoted

TEXT = "Good morning. A browser says this with a token."


class Deepgram(MintTest):
    dialect = "deepgram"

    @classmethod
    def routes(cls):
        return [("POST", "/v1/speak", deepgram_speech), ("GET", "/v1/speak", deepgram_socket)]

    def grant(self, key: str, **arguments) -> str:
        with httpx.Client(timeout=STEP_SECONDS) as http:
            sdk = DeepgramClient(**deepgram_options(self.gateway, api_key=key), httpx_client=http)
            granted = sdk.auth.v1.tokens.grant(**arguments)
        self.assertEqual(granted.expires_in, arguments.get("ttl_seconds", 30))
        return granted.access_token

    def speak(self, token: str) -> bytes:
        with httpx.Client(timeout=STEP_SECONDS) as http:
            options = deepgram_options(self.gateway, access_token=token)
            sdk = DeepgramClient(**options, httpx_client=http)
            return b"".join(sdk.speak.v1.audio.generate(text=TEXT, model=MODEL))

    def test_a_granted_token_speaks_again_and_again(self) -> None:
        token = self.made(self.grant(self.minter))
        self.assertEqual(self.record["scopes"], "tts:synthesize")
        self.assertFalse(self.record["single_use"])
        for _ in range(2):
            self.assertEqual(self.speak(token), SOUND)
            self.expect_arrived(token)

    def test_a_granted_token_opens_a_websocket_as_a_browser_does(self) -> None:
        token = self.made(self.grant(self.minter, ttl_seconds=60))
        query = "&".join(f"{name}={value}" for name, value in SOCKET.items())
        with replay(f"{self.gateway.ws_url}/v1/speak?{query}", "bearer", token) as browser:
            self.assertEqual(browser.subprotocol, "bearer")
            browser.send(json.dumps({"type": "Flush"}))
            self.assertEqual(browser.recv(), SOUND)
        self.expect_arrived(token)

    def test_a_time_out_of_range_is_a_bad_request(self) -> None:
        for seconds in (0, -1, 3601, 1e300):
            with self.assertRaises(DeepgramError) as caught:
                self.grant(self.minter, ttl_seconds=seconds)
            self.assertEqual(caught.exception.status_code, 400)
            self.assertIn("ttl_seconds", caught.exception.body["err_msg"])

    def test_neither_a_speaker_nor_a_token_may_mint(self) -> None:
        with self.assertRaises(DeepgramError) as caught:
            self.grant(self.keys.speaker)
        self.assertEqual(caught.exception.status_code, 403)
        token = self.made(self.grant(self.minter))
        answer = self.post("/v1/auth/grant", headers={"authorization": f"Bearer {token}"})
        self.assertEqual(answer.status_code, 403)
        self.expect_nothing_forwarded()


class Revocation(MintTest):
    dialect = "deepgram"
    routes = Deepgram.routes
    grant = Deepgram.grant
    speak = Deepgram.speak

    def test_a_token_dies_with_its_key(self) -> None:
        token = self.made(self.grant(self.minter, ttl_seconds=3600))
        self.assertEqual(self.speak(token), SOUND)
        self.revoke("minter")
        self.upstream.take()
        with self.assertRaises(DeepgramError) as caught:
            self.speak(token)
        self.assertEqual(caught.exception.status_code, 401)
        self.expect_nothing_forwarded()


class Cartesia(MintTest):
    dialect = "cartesia"

    @classmethod
    def routes(cls):
        return [
            ("POST", "/tts/bytes", cartesia_speech),
            ("GET", "/tts/websocket", cartesia_socket),
            ("POST", "/voices/clone", cartesia_speech),
        ]

    def create(self, key: str, **arguments) -> str:
        with cartesia.Cartesia(**cartesia_options(self.gateway, api_key=key)) as sdk:
            return sdk.access_token.create(**arguments).token

    def test_a_token_speaks_over_http_and_a_browsers_websocket(self) -> None:
        token = self.made(self.create(self.minter, grants={"tts": True}, expires_in=60))
        with cartesia.Cartesia(**cartesia_options(self.gateway, token=token)) as sdk:
            self.assertEqual(sdk.tts.generate(**CARTESIA_REQUEST).read(), SOUND)
        self.expect_arrived(token)
        query = f"cartesia_version=2025-04-16&access_token={quoted(token)}"
        with replay(f"{self.gateway.ws_url}/tts/websocket?{query}") as browser:
            asked = {"context_id": "c", "transcript": TEXT, "continue": False}
            browser.send(json.dumps(asked))
            self.assertEqual(json.loads(browser.recv())["type"], "chunk")
        self.expect_arrived(token)

    def test_a_grant_does_not_widen_and_is_required(self) -> None:
        for grants, status in (({"stt": True}, 403), ({}, 400), ({"admin": True}, 400)):
            with self.assertRaises(cartesia.APIStatusError) as caught:
                self.create(self.minter, grants=grants)
            self.assertEqual(caught.exception.status_code, status, grants)
        token = self.made(self.create(self.minter, grants={"tts": True, "stt": True}))
        self.assertEqual(self.record["scopes"], "tts:synthesize")
        answer = self.post("/voices/clone", headers={"authorization": f"Bearer {token}"})
        self.assertEqual(answer.status_code, 403)
        self.expect_nothing_forwarded()


class ElevenLabs(MintTest):
    dialect = "elevenlabs"

    @classmethod
    def routes(cls):
        return [("GET", "/v1/text-to-speech/{voice}/stream-input", stream_input)]

    def create(self, key: str, kind: str) -> str:
        with httpx.Client(timeout=STEP_SECONDS) as http:
            sdk = ElevenLabsClient(base_url=self.gateway.url, api_key=key, httpx_client=http)
            return sdk.tokens.single_use.create(kind).token

    def test_a_token_opens_one_websocket(self) -> None:
        token = self.made(self.create(self.minter, "tts_websocket"))
        self.assertTrue(self.record["single_use"])
        target = f"/v1/text-to-speech/{VOICE}/stream-input?single_use_token={quoted(token)}"
        with replay(self.gateway.ws_url + target) as browser:
            browser.send(json.dumps({"text": ""}))
            self.assertIn("audio", json.loads(browser.recv()))
        self.expect_arrived(token)
        self.expect_refused_socket(target, status=401)
        self.expect_nothing_forwarded()

    def test_an_unknown_type_is_unprocessable(self) -> None:
        with self.assertRaises(ElevenLabsError) as caught:
            self.create(self.minter, "admin")
        self.assertEqual(caught.exception.status_code, 422)
        self.assertEqual(caught.exception.body["detail"][0]["loc"], ["path", "token_type"])


async def realtime(request: web.Request) -> web.WebSocketResponse:
    """Greets the client, as OpenAI's and NVIDIA's servers do."""
    answer = web.WebSocketResponse(protocols=("realtime",))
    await answer.prepare(request)
    await answer.send_json({"type": "session.created", "event_id": "e", "session": {"id": "s"}})
    async for _ in messages_of(request, answer):
        pass
    return answer


class OpenAI(MintTest):
    dialect = "openai"

    @classmethod
    def routes(cls):
        return [("GET", "/v1/realtime", realtime)]

    def client(self, key: str) -> openai.OpenAI:
        url = f"{self.gateway.url}/v1"
        return openai.OpenAI(api_key=key, base_url=url, timeout=STEP_SECONDS, max_retries=0)

    def create(self, key: str, **arguments):
        with self.client(key) as sdk:
            return sdk.realtime.client_secrets.create(**arguments)

    def test_a_secret_opens_sessions(self) -> None:
        session = {"type": "realtime", "model": "m", "audio": {"output": {"voice": "cove"}}}
        created = self.create(
            self.minter,
            expires_after={"anchor": "created_at", "seconds": 60},
            session=session,
        )
        token = self.made(created.value)
        self.assertEqual(created.session.type, "realtime")
        self.assertEqual(created.session.model, "m")
        self.assertEqual(created.session.audio.output.voice, "cove")

        async def greeted() -> str:
            url = f"{self.gateway.url}/v1"
            async with (
                openai.AsyncOpenAI(api_key=token, base_url=url, max_retries=0) as sdk,
                sdk.realtime.connect(model="m") as connection,
            ):
                return (await connection.recv()).type

        for _ in range(2):
            self.assertEqual(run(greeted()), "session.created")
            self.expect_arrived(token)

    def test_a_secret_opens_nothing_but_sessions(self) -> None:
        token = self.made(self.create(self.minter).value)
        headers = {"authorization": f"Bearer {token}"}
        answer = self.post("/v1/audio/speech", headers=headers, json={"input": TEXT})
        self.assertEqual(answer.status_code, 403)
        self.expect_nothing_forwarded()

    def test_seconds_have_limits(self) -> None:
        for seconds, code in (
            (9, "integer_below_min_value"),
            (7201, "integer_above_max_value"),
        ):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.create(self.minter, expires_after={"seconds": seconds})
            self.assertEqual(caught.exception.code, code)
            self.assertEqual(caught.exception.param, "expires_after.seconds")


class Nim(MintTest):
    """The steps of NVIDIA's client (riva.client.realtime, 2.28.0), whose dependencies are large."""

    dialect = "bearer"

    @classmethod
    def routes(cls):
        return [("GET", "/v1/realtime", realtime)]

    def test_a_session_opens_a_websocket(self) -> None:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.minter}"}
        answer = self.post("/v1/realtime/synthesis_sessions", headers=headers, json={})
        self.assertEqual(answer.status_code, 200, answer.text)
        token = self.made(answer.json()["client_secret"]["value"])
        offers = [Subprotocol("realtime"), Subprotocol(f"realtime-token.{token}")]
        target = f"{self.gateway.ws_url}/v1/realtime?intent=synthesize"
        with connect(target, subprotocols=offers) as client:
            self.assertEqual(client.subprotocol, "realtime")
            self.assertEqual(json.loads(client.recv())["type"], "session.created")
        self.expect_arrived(token)


async def azure_speech(request: web.Request) -> web.Response:
    return web.Response(body=SOUND, content_type="audio/wav")


class Azure(MintTest):
    """The steps of Azure's REST API; its Python client is native code."""

    dialect = "azure"

    @classmethod
    def routes(cls):
        return [("POST", "/cognitiveservices/v1", azure_speech)]

    def test_a_token_speaks(self) -> None:
        headers = {
            "Ocp-Apim-Subscription-Key": self.minter,
            "Content-Type": "application/x-www-form-urlencoded",
            "Content-Length": "0",
        }
        answer = self.post("/sts/v1.0/issueToken", headers=headers)
        self.assertEqual(answer.status_code, 200, answer.text)
        token = self.made(answer.text)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/ssml+xml"}
        answer = self.post("/cognitiveservices/v1", headers=headers, data="<speak/>")
        self.assertEqual(answer.content, SOUND)
        self.expect_arrived(token)


async def rime_speech(request: web.Request) -> web.Response:
    return web.Response(body=SOUND, content_type="audio/wav")


class Neutral(MintTest):
    """A vendor whose API has no request for tokens."""

    dialect = "rime"

    @classmethod
    def routes(cls):
        return [("POST", "/v1/rime-tts", rime_speech)]

    def mint(self, key: str, **body):
        headers = {"authorization": f"Bearer {key}"}
        return self.post("/voxgate/v1/tokens", headers=headers, json=body)

    def test_a_token_speaks(self) -> None:
        answer = self.mint(self.minter, ttl_seconds=60, scopes=["tts:synthesize"])
        self.assertEqual(answer.status_code, 200, answer.text)
        token = self.made(answer.json()["access_token"])
        headers = {"authorization": f"Bearer {token}"}
        answer = self.post("/v1/rime-tts", headers=headers, json={"text": TEXT})
        self.assertEqual(answer.content, SOUND)
        self.expect_arrived(token)

    def test_single_use_is_one_use(self) -> None:
        token = self.made(self.mint(self.minter, single_use=True).json()["access_token"])
        headers = {"authorization": f"Bearer {token}"}
        statuses = [
            self.post("/v1/rime-tts", headers=headers, json={"text": TEXT}).status_code
            for _ in range(3)
        ]
        self.assertEqual(statuses, [200, 401, 401])

    def test_rights_do_not_widen(self) -> None:
        for scopes in (["tokens:mint"], ["voices:write"], ["tts:synthesize", "usage:read"]):
            answer = self.mint(self.minter, scopes=scopes)
            self.assertEqual((answer.status_code, answer.json()["error"]), (403, "invalid_scope"))
        token = self.made(self.mint(self.minter).json()["access_token"])
        self.assertEqual(self.mint(token).status_code, 403, "a token that makes a token")
        self.assertEqual(self.mint(self.keys.speaker).status_code, 403)


CASES = (Deepgram, Revocation, Cartesia, ElevenLabs, OpenAI, Nim, Azure, Neutral)

if __name__ == "__main__":
    sys.exit(harness.main(*CASES))
