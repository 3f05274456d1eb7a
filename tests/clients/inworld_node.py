"""Runs Inworld's own Node client through the gateway. The client uses HTTP only.

Each test starts inworld_node.mjs once, which loads the client from VOXGATE_NODE_MODULES.
scripts/node.sh installs the client there.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import harness
import inworld
from harness import SOUND
from inworld import TEXT, VOICE, as_given

REALTIME = inworld.credential()
VOICES_READER = inworld.credential()
VOICES_WRITER = inworld.credential()

SPEECH = {"text": TEXT, "voice": VOICE, "encoding": "PCM", "sampleRate": 24000}
SPEAK = (("generate", SPEECH), ("stream", SPEECH))
VOICES = (("listVoices", {}), ("deleteVoice", VOICE))


def call_each(server, key: str, asked) -> list[dict]:
    """The client's result for each (method, argument)."""
    calls = [
        {"baseUrl": server.url, "apiKey": key, "method": method, "argument": argument}
        for method, argument in asked
    ]
    ended = subprocess.run(
        ["node", str(Path(__file__).with_suffix(".mjs"))],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        timeout=2 * harness.STEP_SECONDS,
        env={
            "PATH": os.environ["PATH"],
            "VOXGATE_NODE_MODULES": os.environ["VOXGATE_NODE_MODULES"],
        },
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


class InworldNode(harness.ClientTest):
    dialect = "inworld"
    variable = "INWORLD_API_KEY"
    voice = VOICE
    new_key = staticmethod(inworld.credential)
    as_given = staticmethod(as_given)
    extra_keys = {
        "realtime": {"secret": REALTIME, "kind": "realtime"},
        "voices-reader": {"secret": VOICES_READER, "scopes": ["voices:read"]},
        "voices-writer": {"secret": VOICES_WRITER, "scopes": ["voices:read", "voices:write"]},
    }

    @classmethod
    def setUpClass(cls) -> None:
        cls.keys = inworld.keys()
        super().setUpClass()

    @classmethod
    def routes(cls):
        return inworld.ROUTES

    def check_errors(self, asked, answers: list[dict], status: int, code: int) -> list[str]:
        """Asserts that each result is the client's own error with this status and this error code.
        Returns the messages."""
        messages = []
        for (method, _), answer in zip(asked, answers, strict=True):
            with self.subTest(method):
                error = answer["error"]
                self.assertEqual((error["kind"], error["name"]), ("ApiError", "ApiError"))
                self.assertEqual(error["code"], status)
                details = error["details"]
                if method == "stream":
                    # In a stream, the vendor wraps each message in an envelope.
                    self.assertEqual(list(details), ["error"])
                    details = details["error"]
                self.assertEqual(details["code"], code)
                self.assertIn(details["message"], error["message"])
                messages.append(details["message"])
        return messages

    # Accepted

    def test_the_key_speaks_whatever_its_scopes(self) -> None:
        for key_id, key in (("speaker", self.keys.speaker), ("reader", self.keys.reader)):
            with self.way(key_id):
                for answer in call_each(self.gateway, as_given(key), SPEAK):
                    self.assertEqual(base64.b64decode(answer.get("audio", "")), SOUND, answer)
                seen = self.expect_forwarded(key, key_id)
                paths = [one.path for one in seen]
                self.assertEqual(paths, ["/tts/v1/voice", "/tts/v1/voice:stream"])
                self.assertEqual([one.header("authorization") for one in seen], [None, None])
                self.expect_decision("accepted", "ok", key_id=key_id)

    def test_voices_are_read_and_written_with_the_right(self) -> None:
        read, written = call_each(self.gateway, as_given(VOICES_WRITER), VOICES)
        self.assertEqual(read["value"][0]["voiceId"], VOICE)
        self.assertIn("value", written)
        seen = self.expect_forwarded(VOICES_WRITER, "voices-writer")
        self.assertEqual([one.method for one in seen], ["GET", "DELETE"])

    # Refused

    def test_an_unknown_key_is_403(self) -> None:
        asked = (*SPEAK, ("listVoices", {}))
        answers = call_each(self.gateway, as_given(self.keys.unknown), asked)
        messages = self.check_errors(asked, answers, 403, 7)
        self.assertEqual(set(messages), {"API key does not exist or was deleted"})
        self.expect_decision("refused", "unknown_credential", status=403)
        self.expect_nothing_forwarded()

    def test_a_voice_of_another_key_is_403(self) -> None:
        for answer in call_each(self.gateway, as_given(self.voice_key), SPEAK):
            self.assertEqual(base64.b64decode(answer.get("audio", "")), SOUND, answer)
        self.expect_forwarded(self.voice_key, "voice")
        answers = call_each(self.gateway, as_given(self.other_voice_key), SPEAK)
        self.check_errors(SPEAK, answers, 403, 7)
        self.expect_failure("voice_not_allowed", key_id="other-voice")
        self.expect_nothing_forwarded()

    def test_an_invalid_credential_is_401(self) -> None:
        self.check_errors(SPEAK, call_each(self.gateway, "%%%", SPEAK), 401, 16)
        self.expect_decision("refused", "malformed_credential", status=401)
        self.expect_nothing_forwarded()

    def test_a_write_without_the_right_is_403(self) -> None:
        read, written = call_each(self.gateway, as_given(VOICES_READER), VOICES)
        self.assertIn("value", read)
        self.check_errors(VOICES[1:], [written], 403, 7)
        self.expect_decision("refused", "insufficient_scope", status=403, method="DELETE")
        [seen] = self.expect_forwarded(VOICES_READER, "voices-reader")
        self.assertEqual(seen.method, "GET")

    def test_a_key_for_realtime_is_403(self) -> None:
        answers = call_each(self.gateway, as_given(REALTIME), SPEAK)
        self.check_errors(SPEAK, answers, 403, 7)
        self.expect_decision("refused", "realtime_only", status=403)
        self.expect_nothing_forwarded()

    def test_over_the_limit_is_429(self) -> None:
        answers = call_each(self.busy, as_given(self.keys.limited), SPEAK)
        self.check_errors(SPEAK, answers, 429, 8)

    # Preconfigured

    def test_preconfigured_lets_any_key_speak_and_sends_the_deployment_key(self) -> None:
        for answer in call_each(self.preconfigured, as_given(self.keys.unknown), SPEAK):
            self.assertEqual(base64.b64decode(answer.get("audio", "")), SOUND, answer)
        form = f"Basic {as_given(self.keys.deployment)}"
        for seen in self.expect_forwarded(self.keys.unknown, "deployment"):
            self.assertEqual(seen.header("authorization"), form)


if __name__ == "__main__":
    sys.exit(harness.main(InworldNode))
