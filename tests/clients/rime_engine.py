"""A client of Rime's engine, with the messages of Rime's package `rime-api`, whose key is in its first
message. Rime publishes no client for this WebSocket that does so: browsers do, and cannot do otherwise.

The fake of the engine reads each message with the same package, so that it sees what an engine would.
"""

from __future__ import annotations

import contextlib
import sys

from aiohttp import web
from google.protobuf import json_format
from rime_api.text_to_speech_pb2 import WebSocketRequest, WebSocketResponse
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

import harness
from harness import SOUND, STEP_SECONDS, ClientTest, Gateway, Seen, messages_of

TEXT = "Good morning. The gateway let this sentence through."
VOICE = "astra"
FORMS = ("text", "binary")
OFFERS = (None, "rime.v1.json", "rime.v1.binary")


def read(message: str | bytes, kind):
    """A message in either form."""
    if isinstance(message, bytes):
        return kind.FromString(message)
    return json_format.Parse(message, kind())


async def engine(request: web.Request) -> web.WebSocketResponse:
    """Says `ready` after a credential or an empty one, and speaks with the voice of `defaults`."""
    socket = web.WebSocketResponse(protocols=("rime.v1.binary", "rime.v1.json"))
    await socket.prepare(request)
    binary = socket.ws_protocol == "rime.v1.binary"

    async def answer(response: WebSocketResponse) -> None:
        if binary:
            await socket.send_bytes(response.SerializeToString())
        else:
            await socket.send_str(json_format.MessageToJson(response))

    in_header = "authorization" in request.headers
    ready = WebSocketResponse(ready={"protocol": 1, "languages": ["en"]})
    if in_header:
        await answer(ready)
    voice = ""
    async for message in messages_of(request, socket):
        envelope = read(message, WebSocketRequest)
        match envelope.WhichOneof("payload"):
            case "config":
                if in_header == envelope.config.HasField("authorization"):
                    await answer(WebSocketResponse(error={"kind": "invalid_input"}))
                    break
                voice = envelope.config.defaults.speaker
                if not in_header:
                    await answer(ready)
            case "start":
                assert envelope.start.text == TEXT
                spoken = f"{voice}: ".encode() + SOUND
                identifier = envelope.context_id
                await answer(WebSocketResponse(context_id=identifier, audio=spoken))
                await answer(WebSocketResponse(context_id=identifier, done={}))
    return socket


class Engine(ClientTest):
    dialect = "rime"
    variable = "RIME_API_KEY"
    voice = VOICE

    @classmethod
    def routes(cls):
        return [("GET", "/ws", engine)]

    def speak(
        self, server: Gateway, key: str, form: str, offer: str | None, again: str | None = None
    ) -> tuple[list[WebSocketResponse], int | None]:
        """The answers, and the code of the close if the server closed."""
        config = {"authorization": f"Api-Key {key}", "defaults": {"speaker": VOICE}}
        messages = [WebSocketRequest(config=config)]
        if again:
            messages.append(WebSocketRequest(config={"authorization": f"Api-Key {again}"}))
        messages.append(WebSocketRequest(context_id="a", start={"text": TEXT}))
        offers = [Subprotocol(offer)] if offer else None
        answers: list[WebSocketResponse] = []
        with connect(f"{server.ws_url}/ws", subprotocols=offers, proxy=None) as socket:
            self.assertEqual(socket.subprotocol, offer)
            try:
                # A refusal can come before everything has been sent. It is read below.
                with contextlib.suppress(ConnectionClosed):
                    for message in messages:
                        binary = form == "binary"
                        text = json_format.MessageToJson
                        socket.send(message.SerializeToString() if binary else text(message))
                while not answers or answers[-1].WhichOneof("payload") not in ("done", "error"):
                    answer = socket.recv(timeout=STEP_SECONDS)
                    self.assertEqual(isinstance(answer, bytes), offer == "rime.v1.binary")
                    answers.append(read(answer, WebSocketResponse))
                if answers[-1].WhichOneof("payload") == "error":
                    socket.recv(timeout=STEP_SECONDS)
            except ConnectionClosed as closed:
                return answers, closed.rcvd.code if closed.rcvd else None
        return answers, None

    def expect_speech(self, server: Gateway, key: str, form: str, offer: str | None) -> Seen:
        answers, code = self.speak(server, key, form, offer)
        kinds = [answer.WhichOneof("payload") for answer in answers]
        self.assertEqual((kinds, code), (["ready", "audio", "done"], None), answers)
        self.assertEqual(answers[1].audio, f"{VOICE}: ".encode() + SOUND)
        (seen,) = self.upstream.take()
        self.assertEqual(seen.holding(key), [])
        return seen

    def test_speech_arrives(self) -> None:
        for form in FORMS:
            for offer in OFFERS:
                with self.way(f"{form}, {offer}"):
                    seen = self.expect_speech(self.gateway, self.keys.speaker, form, offer)
                    self.assertEqual(seen.header("x-voxgate-key-id"), "speaker")
                    self.assertIsNone(seen.header("authorization"))
                    self.expect_decision("accepted", "ok", key_id="speaker", path="/ws")

    def test_the_deployment_key_goes_up_in_the_header(self) -> None:
        for form in FORMS:
            with self.way(form):
                seen = self.expect_speech(self.preconfigured, "anything", form, None)
                expected = f"Bearer {self.keys.deployment}"
                self.assertEqual(seen.header("authorization"), expected)

    def test_a_refusal_is_the_engines(self) -> None:
        for key, kind, reason in (
            (self.keys.unknown, "unauthenticated", "unknown_credential"),
            (self.keys.reader, "permission_denied", "insufficient_scope"),
        ):
            for form, offer in zip(FORMS * 2, OFFERS):
                with self.way(f"{kind}, {form}, {offer}"):
                    answers, code = self.speak(self.gateway, key, form, offer)
                    self.assertEqual([answer.error.kind for answer in answers], [kind])
                    self.assertTrue(answers[0].error.message)
                    self.assertEqual(code, 1008)
                    identifier = answers[0].error.request_id
                    self.expect_decision("refused", reason, request_id=identifier)
                    self.expect_nothing_forwarded()

    def test_a_voice_of_another_key_is_refused_in_the_engines_form(self) -> None:
        for form in FORMS:
            for offer in OFFERS:
                with self.way(f"{form}, {offer}"):
                    self.expect_speech(self.gateway, self.voice_key, form, offer)
                    answers, code = self.speak(self.gateway, self.other_voice_key, form, offer)
                    error = answers[-1].error
                    self.assertEqual((error.kind, code), ("permission_denied", 1008), answers)
                    self.assertTrue(error.message)
                    self.expect_decision("accepted", "ok", request_id=error.request_id)
                    for seen in self.upstream.take():
                        self.assertNotIn(VOICE, str(seen.messages))

    def test_a_limit_is_told(self) -> None:
        answers, code = self.speak(self.busy, self.keys.limited, "text", None)
        self.assertEqual([answer.error.kind for answer in answers], ["resource_exhausted"])
        self.assertEqual(code, 1013)

    def test_a_second_key_is_refused(self) -> None:
        for form, offer in zip(FORMS * 2, OFFERS):
            with self.way(f"{form}, {offer}"):
                key = self.keys.speaker
                answers, code = self.speak(self.gateway, key, form, offer, again=key)
                self.assertEqual(answers[-1].error.kind, "unauthenticated", answers)
                self.assertEqual(code, 1008)
                for seen in self.upstream.take():
                    self.assertEqual(seen.holding(key), [])


if __name__ == "__main__":
    sys.exit(harness.main(Engine))
