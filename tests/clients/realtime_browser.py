"""WebSockets of a page in Chromium: OpenAI's subprotocol with the key, and the first messages of Rime's
engine and of ElevenLabs. A browser sets no header on a WebSocket.

The page is controlled by the DevTools protocol. scripts/clients.sh sets VOXGATE_CHROMIUM.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from aiohttp import web
from elevenlabs.types import InitializeConnection, InitializeConnectionMulti
from websockets.sync.client import connect

import harness
from harness import STEP_SECONDS, Child, ClientTest, messages_of

# Opens a WebSocket, sends messages, and resolves to what it got.
PAGE = """
(url, protocols, messages, answers) => new Promise((resolve) => {
  const got = [];
  const socket = new WebSocket(url, protocols);
  socket.onopen = () => messages.forEach((message) => socket.send(message));
  socket.onmessage = ({ data }) => {
    got.push(data);
    if (got.length === answers) socket.close();
  };
  socket.onclose = ({ code }) => resolve({ protocol: socket.protocol, got, code });
})
"""


class Browser(Child):
    """Headless Chromium with one blank page."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory()
        command = [os.environ["VOXGATE_CHROMIUM"], "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server"]
        command += ["--disable-background-networking", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={self._profile.name}", "about:blank"]
        environment = {"PATH": os.environ["PATH"], "HOME": self._profile.name}
        super().__init__(command, environment)
        self._numbers = itertools.count()
        self._open = contextlib.ExitStack()
        try:
            page = connect(self._page_url(), max_size=None, proxy=None)
            self._page = self._open.enter_context(page)
        except BaseException:
            self.stop()
            raise

    def _page_url(self) -> str:
        file = Path(self._profile.name) / "DevToolsActivePort"
        deadline = time.monotonic() + STEP_SECONDS
        while not (file.exists() and "\n" in file.read_text()):
            assert time.monotonic() < deadline, self.errors[-20:]
            time.sleep(0.05)
        port = file.read_text().splitlines()[0]
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
            assert time.monotonic() < deadline, "no page"
            time.sleep(0.05)

    def open(self, url: str, protocols: list[str], messages: list[str], answers: int) -> dict:
        """What a WebSocket of the page got."""
        arguments = ", ".join(json.dumps(value) for value in (url, protocols, messages, answers))
        number = next(self._numbers)
        parameters = {
            "expression": f"({PAGE})({arguments})",
            "awaitPromise": True,
            "returnByValue": True,
        }
        call = {"id": number, "method": "Runtime.evaluate", "params": parameters}
        self._page.send(json.dumps(call))
        while True:
            answer = json.loads(self._page.recv(timeout=STEP_SECONDS))
            if answer.get("id") == number:
                return answer["result"]["result"]["value"]

    def stop(self) -> None:
        self._open.close()
        super().stop()
        self._profile.cleanup()


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Selects a subprotocol as the vendors do, and says each message again."""
    socket = web.WebSocketResponse(protocols=("realtime", "rime.v1.json"))
    await socket.prepare(request)
    async for message in messages_of(request, socket):
        await socket.send_str(message)
    return socket


class BrowserTest(ClientTest):
    """A `ClientTest` with a browser that all its subclasses share."""

    browser: Browser

    @classmethod
    def routes(cls):
        return [("GET", "/{path:.*}", echo)]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.browser = cls._until_end(Browser())

    def open(self, path: str, protocols: list[str], messages: list[str], answers: int) -> dict:
        url = f"{self.gateway.ws_url}{path}"
        return self.browser.open(url, protocols, messages, answers)


class OpenAIPage(BrowserTest):
    dialect = "openai"

    def offers(self, key: str) -> list[str]:
        return ["realtime", f"openai-insecure-api-key.{key}", "openai-beta.realtime-v1"]

    def test_the_key_in_a_subprotocol_opens_a_session(self) -> None:
        event = json.dumps({"type": "response.create"})
        # Its scopes are those of speech; the route needs `realtime`.
        key = self.extra["secret"]
        path = "/v1/realtime?model=gpt-realtime"
        result = self.open(path, self.offers(key), [event], 1)
        self.assertEqual((result["protocol"], result["got"]), ("realtime", [event]), result)
        (seen,) = self.expect_forwarded(key, "talker")
        self.assertEqual(seen.subprotocols, ["realtime", "openai-beta.realtime-v1"])
        self.expect_decision("accepted", "ok", key_id="talker", path="/v1/realtime")

    def test_a_wrong_key_opens_none(self) -> None:
        result = self.open("/v1/realtime", self.offers(self.keys.unknown), [], 1)
        self.assertEqual((result["got"], result["code"]), ([], 1006))
        self.expect_decision("refused", "unknown_credential", status=401)
        self.expect_nothing_forwarded()


OpenAIPage.extra = {"secret": harness.Keys.plain().speaker, "scopes": ["realtime"]}
OpenAIPage.extra_keys = {"talker": OpenAIPage.extra}


class RimePage(BrowserTest):
    dialect = "rime"

    def config(self, key: str) -> str:
        return json.dumps({"config": {"authorization": f"Api-Key {key}", "defaults": {}}})

    def test_the_key_in_the_first_message_opens_a_session(self) -> None:
        start = json.dumps({"contextId": "a", "start": {"text": "Hello"}})
        key = self.keys.speaker
        result = self.open("/ws", ["rime.v1.json"], [self.config(key), start], 2)
        self.assertEqual(result["protocol"], "rime.v1.json")
        left = {"config": {"authorization": "", "defaults": {}}}
        self.assertEqual([json.loads(text) for text in result["got"]], [left, json.loads(start)])
        self.expect_forwarded(key)
        self.expect_decision("accepted", "ok", key_id="speaker", path="/ws")

    def test_a_page_without_the_key_is_told(self) -> None:
        for first in (self.config(self.keys.unknown), "Hello"):
            result = self.open("/ws", [], [first], 9)
            (error,) = (json.loads(text) for text in result["got"])
            self.assertEqual(error["error"]["kind"], "unauthenticated")
            self.assertEqual(result["code"], 1008)
            self.expect_nothing_forwarded()


class ElevenLabsPage(BrowserTest):
    """With the messages of ElevenLabs' own package. Its clients send the key in a header."""

    dialect = "elevenlabs"

    def test_the_key_in_the_first_message_opens_a_session(self) -> None:
        key = self.keys.speaker
        for path, message in (
            ("stream-input", InitializeConnection(text=" ", xi_api_key=key)),
            ("stream-input", InitializeConnection(text=" ", authorization=f"Bearer {key}")),
            (
                "multi-stream-input",
                InitializeConnectionMulti(text=" ", xi_api_key=key, context_id="a"),
            ),
        ):
            with self.way(path):
                sent = json.loads(message.json(by_alias=True))
                path = f"/v1/text-to-speech/cove/{path}?model_id=eleven_flash_v2_5"
                texts = [json.dumps(sent), json.dumps({"text": "Hello "})]
                result = self.open(path, [], texts, 2)
                left = {
                    name: value
                    for name, value in sent.items()
                    if name not in ("xi-api-key", "xi_api_key", "authorization")
                }
                got = [json.loads(text) for text in result["got"]]
                self.assertEqual(got, [left, {"text": "Hello "}])
                self.expect_forwarded(key)

    def test_another_key_for_another_context_is_refused(self) -> None:
        path = "/v1/text-to-speech/cove/multi-stream-input"
        texts = [
            json.dumps({"text": " ", "xi_api_key": key, "context_id": key[:4]})
            for key in (self.keys.speaker, self.keys.reader)
        ]
        result = self.open(path, [], texts, 9)
        self.assertEqual(json.loads(result["got"][-1])["error"], "invalid_api_key")
        self.assertEqual(result["code"], 1008)
        for seen in self.upstream.take():
            self.assertEqual(seen.holding(self.keys.reader), [])


if __name__ == "__main__":
    sys.exit(harness.main(OpenAIPage, RimePage, ElevenLabsPage))
