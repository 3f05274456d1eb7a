"""Runs Deepgram's own Node client through the gateway, with its default retry settings."""

from __future__ import annotations

import json
import sys
import urllib.parse

import harness
from deepgram_python import MODEL, QUERY, TEXT, socket, speech
from harness import Seen
from node import NodeTest
from retries import FERN


class DeepgramNode(NodeTest):
    dialect = "deepgram"
    file = __file__
    ways = ("http",)
    unauthorized = too_many = "DeepgramError"
    long_wait = FERN

    @classmethod
    def routes(cls):
        return [("POST", "/v1/speak", speech), ("GET", "/v1/speak", socket)]

    def test_speech_arrives_over_the_websocket(self) -> None:
        self.expect_speech(self.keys.speaker, "websocket", "speaker")

    def test_the_websocket_is_refused_before_the_upgrade(self) -> None:
        # The client passes on the error of the package `ws`, and does not reconnect.
        self.expect_speech(self.hourly, "websocket", self.hourly_id)
        for key, status, reason in (
            (self.keys.unknown, 401, "unknown_credential"),
            (self.hourly, 429, "rate_limited"),
        ):
            with self.subTest(status):
                result = self.expect_requests(
                    self.gateway,
                    1,
                    lambda: self.call(self.gateway, key, "websocket"),
                    reason=reason,
                    status=status,
                )
                self.assertEqual(
                    result["error"]["message"], f"Unexpected server response: {status}"
                )

    def expect_request(self, way: str, seen: Seen) -> None:
        if way == "http":
            self.assertEqual((seen.method, seen.target), ("POST", f"/v1/speak?model={MODEL}"))
            self.assertEqual(seen.json, {"text": TEXT})
        else:
            self.assertEqual((seen.method, seen.path), ("GET", "/v1/speak"))
            self.assertEqual(seen.query, urllib.parse.parse_qs(QUERY))
            self.assertEqual(json.loads(seen.messages[0]), {"type": "Speak", "text": TEXT})
        self.assertIsNone(seen.header("authorization"))

    def expect_words(self, body: dict, status: int) -> None:
        self.assertTrue(body["err_code"] and body["err_msg"] and body["request_id"], body)
        if status == 401:
            self.assertEqual(body["err_code"], "INVALID_AUTH")


if __name__ == "__main__":
    sys.exit(harness.main(DeepgramNode))
