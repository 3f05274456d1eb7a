"""Runs Cartesia's own Node client through the gateway, with its default retry settings."""

from __future__ import annotations

import sys

import harness
from cartesia_python import REQUEST, events, speech
from harness import Seen
from node import NodeTest
from retries import STAINLESS


class CartesiaNode(NodeTest):
    dialect = "cartesia"
    file = __file__
    ways = ("bytes", "sse")
    unauthorized = "AuthenticationError"
    too_many = "RateLimitError"
    long_wait = STAINLESS

    @classmethod
    def routes(cls):
        return [("POST", "/tts/bytes", speech), ("POST", "/tts/sse", events)]

    def expect_request(self, way: str, seen: Seen) -> None:
        self.assertEqual((seen.method, seen.target), ("POST", f"/tts/{way}"))
        self.assertEqual(seen.json, REQUEST)
        self.assertIsNone(seen.header("authorization"))

    def expect_words(self, body: dict, status: int) -> None:
        for name in ("error_code", "title", "message", "request_id"):
            self.assertTrue(body.get(name), f"{name} in {body}")


if __name__ == "__main__":
    sys.exit(harness.main(CartesiaNode))
