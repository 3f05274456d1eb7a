"""A fake of Inworld's servers, for the tests with its clients."""

from __future__ import annotations

import base64
import json
import secrets

import harness
from aiohttp import web
from harness import SOUND

TEXT = "Good morning. The gateway let this sentence through."
VOICE = "Ashley"


def credential(start: str = "") -> str:
    """A key `id:secret`; the id starts with this prefix."""
    return f"{start}{secrets.token_hex(8)}:{secrets.token_hex(16)}"


def as_given(key: str) -> str:
    """A key `id:secret` in the form that the vendor's portal shows and that its clients expect."""
    return base64.b64encode(key.encode()).decode()


def keys() -> harness.Keys:
    return harness.Keys.shaped(lambda start: f"{start}:{secrets.token_hex(16)}")


def encoded(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


async def speak(request: web.Request) -> web.Response:
    asked = await request.json()
    assert (asked["text"], asked["voiceId"]) == (TEXT, VOICE)
    return web.json_response({"audioContent": encoded(SOUND), "usage": {}})


async def speak_in_lines(request: web.Request) -> web.StreamResponse:
    assert (await request.json())["text"] == TEXT
    response = web.StreamResponse(headers={"content-type": "application/json"})
    await response.prepare(request)
    for piece in (SOUND[:2000], SOUND[2000:]):
        line = json.dumps({"result": {"audioContent": encoded(piece)}})
        await response.write(line.encode() + b"\n")
    return response


async def converse(request: web.Request) -> web.WebSocketResponse:
    """Handles contexts on one connection: create, send text, flush, close."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in harness.messages_of(request, socket):
        asked = json.loads(message)
        answer = lambda **result: socket.send_json(
            {"result": {"contextId": asked["contextId"], **result}}
        )
        if "create" in asked:
            await answer(contextCreated={})
        elif "flush_context" in asked:
            await answer(audioChunk={"audioContent": encoded(SOUND[:2000])})
            await answer(audioChunk={"audioContent": encoded(SOUND[2000:])})
            await answer(flushCompleted={})
        elif "close_context" in asked:
            await answer(contextClosed={})
    return socket


async def voices(_: web.Request) -> web.Response:
    return web.json_response({"voices": [{"voiceId": VOICE, "displayName": "Ashley"}]})


async def deleted(_: web.Request) -> web.Response:
    return web.json_response({})


ROUTES = [
    ("POST", "/tts/v1/voice", speak),
    ("POST", "/tts/v1/voice:stream", speak_in_lines),
    ("GET", "/tts/v1/voice:streamBidirectional", converse),
    ("GET", "/tts/v1/voices", voices),
    ("GET", "/voices/v1/voices", voices),
    ("DELETE", "/voices/v1/voices/{voice}", deleted),
]
