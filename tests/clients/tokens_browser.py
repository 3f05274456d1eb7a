"""A page in Chromium gets a token from its backend, which has the key, and opens a WebSocket through
`voxgate serve`, as the vendors' documentation describes.

harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import base64
import json
import sys

import cartesia
import httpx
import requests
from aiohttp import web
from cartesia_python import options as cartesia_options
from cartesia_python import socket as cartesia_socket
from deepgram import DeepgramClient
from deepgram_python import SOCKET
from deepgram_python import options as deepgram_options
from deepgram_python import socket as deepgram_socket

import harness
import inworld
from browser import Browser
from harness import SOUND, STEP_SECONDS, Upstream, messages_of
from minting import MintTest

# Opens a WebSocket, sends one message, and returns what the first message is.
TALK = """
async () => {
  const token = await (await fetch('/token')).text();
  const socket = new WebSocket(URL_OF_SOCKET, PROTOCOLS(token));
  socket.binaryType = 'arraybuffer';
  return await new Promise((done) => {
    socket.onopen = () => socket.send(MESSAGE);
    socket.onmessage = ({ data }) => {
      const bytes = typeof data === 'string' ? data.length : data.byteLength;
      done({ protocol: socket.protocol, bytes });
      socket.close();
    };
    socket.onerror = () => done({ failed: true });
  });
}
"""


class BrowserTest(MintTest):
    """A backend with the key, and a browser with a page of that backend."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()

        async def page(request: web.Request) -> web.Response:
            return web.Response(text="<!doctype html><title>page</title>", content_type="text/html")

        async def token(request: web.Request) -> web.Response:
            made = cls.mint()
            cls.tokens.append(made)
            return web.Response(text=made)

        routes = [("GET", "/", page), ("GET", "/token", token)]
        cls.backend = cls._until_end(Upstream(routes))
        cls.browser = cls._until_end(Browser())

    @classmethod
    def mint(cls) -> str:
        raise NotImplementedError

    def talk(self, target: str, protocols: str, message: str, end: str = "''") -> dict:
        """What a page hears from `target`, to which it appends the expression `end`."""
        self.browser.open(f"{self.backend.url}/")
        script = TALK.replace("URL_OF_SOCKET", f"{json.dumps(self.gateway.ws_url + target)} + {end}")
        script = script.replace("PROTOCOLS(token)", protocols)
        script = script.replace("MESSAGE", json.dumps(message))
        return self.browser.run(f"({script.strip()})()")


class Deepgram(BrowserTest):
    dialect = "deepgram"

    @classmethod
    def routes(cls):
        return [("GET", "/v1/speak", deepgram_socket)]

    @classmethod
    def mint(cls) -> str:
        with httpx.Client(timeout=STEP_SECONDS) as http:
            options = deepgram_options(cls.gateway, api_key=cls.minter)
            return DeepgramClient(**options, httpx_client=http).auth.v1.tokens.grant().access_token

    def test_a_page_speaks(self) -> None:
        query = "&".join(f"{name}={value}" for name, value in SOCKET.items())
        message = json.dumps({"type": "Flush"})
        heard = self.talk(f"/v1/speak?{query}", "['bearer', token]", message)
        self.assertEqual(heard, {"protocol": "bearer", "bytes": len(SOUND)})
        self.expect_arrived(self.tokens[-1])


class Cartesia(BrowserTest):
    dialect = "cartesia"

    @classmethod
    def routes(cls):
        return [("GET", "/tts/websocket", cartesia_socket)]

    @classmethod
    def mint(cls) -> str:
        with cartesia.Cartesia(**cartesia_options(cls.gateway, api_key=cls.minter)) as sdk:
            return sdk.access_token.create(grants={"tts": True}, expires_in=60).token

    def test_a_page_speaks(self) -> None:
        asked = {"context_id": "c", "transcript": "Good morning.", "continue": False}
        # Cartesia's page has the token in the URL and offers no subprotocol.
        target = "/tts/websocket?cartesia_version=2025-04-16&access_token="
        heard = self.talk(target, "[]", json.dumps(asked), "encodeURIComponent(token)")
        self.assertEqual(heard["protocol"], "")
        self.assertGreater(heard["bytes"], 0)
        self.expect_arrived(self.tokens[-1])


async def session(request: web.Request) -> web.WebSocketResponse:
    """Answers each message of a realtime session."""
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    async for _ in messages_of(request, answer):
        await answer.send_json({"type": "session.updated"})
    return answer


class Inworld(BrowserTest):
    dialect = "inworld"
    minter = inworld.credential()

    @classmethod
    def routes(cls):
        return [("GET", "/api/v1/realtime/session", session)]

    @classmethod
    def setUpClass(cls) -> None:
        cls.keys = inworld.keys()
        super().setUpClass()

    @classmethod
    def mint(cls) -> str:
        key = base64.b64encode(cls.minter.encode()).decode()
        answer = requests.post(
            f"{cls.gateway.url}/auth/v1/tokens",
            headers={"Authorization": f"Basic {key}"},
            json={"single_use": True, "ttl": "60s"},
            timeout=STEP_SECONDS,
        )
        answer.raise_for_status()
        return answer.json()["accessToken"]

    def test_a_page_opens_a_realtime_session_once(self) -> None:
        target = "/api/v1/realtime/session?key=voice-1&protocol=realtime"
        message = json.dumps({"type": "session.update", "session": {}})
        heard = self.talk(target, "[`bearer_${token}`]", message)
        self.assertNotIn("failed", heard)
        # A browser gives up unless its only offer is selected.
        self.assertEqual(heard["protocol"], f"bearer_{self.tokens[-1]}")
        self.assertGreater(heard["bytes"], 0)
        token = self.tokens[-1]
        self.expect_arrived(token)
        # The page cannot use the token again.
        again = self.talk(target, json.dumps([f"bearer_{token}"]), message)
        self.assertEqual(again, {"failed": True})
        self.expect_nothing_forwarded()


if __name__ == "__main__":
    sys.exit(harness.main(Deepgram, Cartesia, Inworld))
