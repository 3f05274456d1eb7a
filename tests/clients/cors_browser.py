"""A page in Chromium, of another origin than the gateway, speaks and reads a refusal.

harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import json
import sys

from aiohttp import web

import harness
from browser import Browser
from harness import SOUND, ClientTest, Upstream, messages_of

# Sends what needs a preflight: a key in a header, and JSON.
SPEAK = """
async (url, key) => {
  const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
  try {
    const answer = await fetch(url, { method: 'POST', headers, body: '{"text":"Hello"}' });
    const body = await answer.arrayBuffer();
    const id = answer.headers.get('x-request-id');
    const text = new TextDecoder().decode(body);
    return { status: answer.status, bytes: body.byteLength, text, id };
  } catch (error) {
    return { failed: error.name };
  }
}
"""
CONNECT = """
(url) => new Promise((done) => {
  const socket = new WebSocket(url);
  socket.onopen = () => { done('open'); socket.close(); };
  socket.onerror = () => done('failed');
})
"""


async def speak(request: web.Request) -> web.Response:
    await request.read()
    # The server's own field would contradict the gateway's.
    return web.Response(body=SOUND, headers={"Access-Control-Allow-Origin": "null"})


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in messages_of(request, socket):
        await socket.send_str(message)
    return socket


async def page(request: web.Request) -> web.Response:
    return web.Response(text="<!doctype html><title>page</title>", content_type="text/html")


class Page(ClientTest):
    dialect = "rime"

    @classmethod
    def routes(cls):
        return [("POST", "/v1/rime-tts", speak), ("GET", "/ws", echo)]

    @classmethod
    def setUpClass(cls) -> None:
        cls.site = cls._until_end(Upstream([("GET", "/", page)]))
        cls.stranger = cls._until_end(Upstream([("GET", "/", page)]))
        cls.settings = {"VOXGATE_CORS_ORIGINS": cls.site.url}
        super().setUpClass()
        cls.browser = cls._until_end(Browser())

    def speak(self, site: Upstream, key: str) -> dict:
        self.browser.open(f"{site.url}/")
        arguments = ", ".join(json.dumps(text) for text in (f"{self.gateway.url}/v1/rime-tts", key))
        return self.browser.run(f"({SPEAK.strip()})({arguments})")

    def test_a_page_of_another_origin_speaks(self) -> None:
        answer = self.speak(self.site, self.keys.speaker)
        self.assertEqual((answer.get("status"), answer.get("bytes")), (200, len(SOUND)), answer)
        self.expect_forwarded(self.keys.speaker, "speaker")

    def test_it_reads_a_refusal(self) -> None:
        answer = self.speak(self.site, self.keys.unknown)
        self.assertEqual((answer.get("status"), answer.get("text")), (401, "invalid api key"))
        self.expect_decision("refused", "unknown_credential", status=401)
        self.assertTrue(answer["id"])
        self.expect_nothing_forwarded()

    def test_a_page_of_a_stranger_reads_nothing(self) -> None:
        self.assertEqual(self.speak(self.stranger, self.keys.speaker), {"failed": "TypeError"})
        self.expect_nothing_forwarded()

    def test_a_page_of_a_stranger_opens_no_websocket(self) -> None:
        url = json.dumps(f"{self.gateway.ws_url}/ws")
        for site, expected in [(self.site, "open"), (self.stranger, "failed")]:
            self.browser.open(f"{site.url}/")
            self.assertEqual(self.browser.run(f"({CONNECT.strip()})({url})"), expected)
        self.expect_decision("refused", "origin_not_allowed", status=403)


if __name__ == "__main__":
    sys.exit(harness.main(Page))
