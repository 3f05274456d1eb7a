"""Runs ElevenLabs' own Node client through the gateway, with its default retry settings."""

from __future__ import annotations

import sys

import harness
from elevenlabs_python import FORMAT, MODEL, TEXT, VOICE, speech
from harness import Seen
from node import NodeTest
from retries import FERN

PATHS = {
    "convert": f"/v1/text-to-speech/{VOICE}",
    "stream": f"/v1/text-to-speech/{VOICE}/stream",
}


class ElevenLabsNode(NodeTest):
    dialect = "elevenlabs"
    file = __file__
    ways = tuple(PATHS)
    unauthorized = too_many = "ElevenLabsError"
    long_wait = FERN

    @classmethod
    def routes(cls):
        return [("POST", path, speech) for path in PATHS.values()]

    def expect_request(self, way: str, seen: Seen) -> None:
        target = f"{PATHS[way]}?output_format={FORMAT}"
        self.assertEqual((seen.method, seen.target), ("POST", target))
        self.assertEqual(seen.json, {"text": TEXT, "model_id": MODEL})
        self.assertIsNone(seen.header("xi-api-key"))

    def expect_words(self, body: dict, status: int) -> None:
        self.assertTrue(body["detail"]["message"], body)
        word = "invalid_api_key" if status == 401 else "too_many_concurrent_requests"
        self.assertEqual(body["detail"]["status"], word)


if __name__ == "__main__":
    sys.exit(harness.main(ElevenLabsNode))
