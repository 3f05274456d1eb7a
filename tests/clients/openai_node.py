"""Runs OpenAI's own Node client through the gateway, with its default retry settings."""

from __future__ import annotations

import sys

import harness
from harness import Seen
from node import NodeTest
from openai_python import REQUEST, speech
from retries import STAINLESS


class OpenAINode(NodeTest):
    dialect = "openai"
    file = __file__
    ways = ("speech",)
    unauthorized = "AuthenticationError"
    too_many = "RateLimitError"
    long_wait = STAINLESS

    @classmethod
    def routes(cls):
        return [("POST", "/v1/audio/speech", speech)]

    def expect_request(self, way: str, seen: Seen) -> None:
        self.assertEqual((seen.method, seen.target), ("POST", "/v1/audio/speech"))
        self.assertEqual(seen.json, REQUEST)
        self.assertIsNone(seen.header("authorization"))

    def expect_words(self, body: dict, status: int) -> None:
        self.assertLessEqual({"message", "type", "param", "code"}, body.keys())
        if status == 401:
            self.assertEqual(body["code"], "invalid_api_key")


if __name__ == "__main__":
    sys.exit(harness.main(OpenAINode))
