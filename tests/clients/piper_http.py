"""Runs Piper's own HTTP server (`python -m piper.http_server`, PyPI `piper-tts`) behind the gateway,
with the policy of helm/files/policies.

The server, its phonemizer and its runtime for models are real. The model is not a trained voice: it is
made here, so that nothing has to be downloaded, and its samples are the numbers of the phonemes. Piper
has no client library: its documentation sends JSON with an HTTP client, as this test does.

harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import unittest
import wave
from pathlib import Path

import requests

import harness
from harness import STEP_SECONDS, Gateway, Keys
from servers import Server

POLICY = Path(__file__).parents[2] / "helm" / "files" / "policies" / "piper.toml"
TEXT = "Good morning."
RATE = 16000
SCOPES = {
    "reader": ["voices:read"],
    "operator": ["admin:server"],
    "installer": ["admin:models"],
    "unscoped": None,
}


def field(number: int, content: bytes | int) -> bytes:
    """A field of a protobuf message, whose numbers and lengths are below 16384."""

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def model() -> bytes:
    """An ONNX model with the inputs of a Piper voice, whose audio is its input."""

    def tensor(name: str, element: int, axes: list[str]) -> bytes:
        shape = b"".join(field(1, field(2, axis.encode())) for axis in axes)
        kind = field(1, field(1, element) + field(2, shape))
        return field(1, name.encode()) + field(2, kind)

    float32, int64 = 1, 7
    attribute = field(1, b"to") + field(3, float32) + field(20, 2)  # an integer
    cast = field(1, b"input") + field(2, b"output") + field(4, b"Cast") + field(5, attribute)
    graph = field(1, cast) + field(2, b"echo")
    graph += field(11, tensor("input", int64, ["batch", "phonemes"]))
    graph += field(11, tensor("input_lengths", int64, ["batch"]))
    graph += field(11, tensor("scales", float32, ["scales"]))
    graph += field(12, tensor("output", float32, ["batch", "phonemes"]))
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


def voice() -> dict:
    symbols = "_^$ !',-.:;?abcdefghijklmnopqrstuvwxyzæðŋɐɑɒɔəɚɛɜɡɪɹɾʃʊʌʒʔˈˌːθ"
    return {
        "audio": {"sample_rate": RATE},
        "espeak": {"voice": "en-us"},
        "phoneme_type": "espeak",
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "num_symbols": len(symbols),
        "num_speakers": 1,
        "speaker_id_map": {},
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(symbols)},
    }


class Piper(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        file = Path(cls.folder.name) / "clock.onnx"
        file.write_bytes(model())
        Path(f"{file}.json").write_text(json.dumps(voice()), encoding="utf-8")
        command = [sys.executable, "-m", "piper.http_server", "--model", str(file)]
        command += ["--data-dir", cls.folder.name, "--host", "127.0.0.1"]
        cls.server = Server([*command, "--port", "{port}"])
        cls.addClassCleanup(cls.server.stop)
        cls.keys = Keys.plain()
        cls.secrets = {name: f"{name}-{cls.keys.limited}" for name in SCOPES}
        extra = {
            name: {"secret": cls.secrets[name]} | ({"scopes": scopes} if scopes else {})
            for name, scopes in SCOPES.items()
        }
        cls.gateway = Gateway(
            "openai",
            f"http://{cls.server.address}",
            keys=cls.keys,
            extra=extra,
            settings={"VOXGATE_POLICY_FILE": str(POLICY)},
        )
        cls.addClassCleanup(cls.gateway.stop)

    def ask(self, method: str, path: str, key: str, **body: object) -> requests.Response:
        return requests.request(
            method,
            f"{self.gateway.url}{path}",
            headers={"Authorization": f"Bearer {key}"},
            json=body or None,
            timeout=STEP_SECONDS,
        )

    def test_speech_arrives(self) -> None:
        for key in (self.keys.speaker, self.secrets["unscoped"]):
            answer = self.ask("POST", "/synthesize", key, text=TEXT)
            self.assertEqual(answer.status_code, 200, answer.text)
            with wave.open(io.BytesIO(answer.content)) as sound:
                self.assertEqual(sound.getframerate(), RATE)
                self.assertGreater(sound.getnframes(), len(TEXT))

    def test_speech_is_the_same_without_the_gateway(self) -> None:
        direct = requests.post(
            f"http://{self.server.address}/synthesize", json={"text": TEXT}, timeout=STEP_SECONDS
        )
        through = self.ask("POST", "/synthesize", self.keys.speaker, text=TEXT)
        self.assertEqual(through.content, direct.content)

    def test_voices_need_their_scope(self) -> None:
        answer = self.ask("GET", "/voices", self.secrets["reader"])
        self.assertEqual(list(answer.json()), ["clock"])
        self.assertEqual(self.ask("GET", "/voices", self.keys.speaker).status_code, 403)

    def test_the_last_text_of_another_caller_is_for_the_operator(self) -> None:
        """Piper tells everybody who asks `/info` what was spoken last."""
        self.ask("POST", "/synthesize", self.keys.speaker, text="A secret sentence.")
        answer = self.ask("GET", "/info", self.secrets["operator"])
        self.assertEqual(answer.json()["last"]["text"], "A secret sentence.")
        for key in (self.keys.speaker, *(self.secrets[name] for name in ("reader", "unscoped"))):
            refused = self.ask("GET", "/info", key)
            self.assertEqual(refused.status_code, 403)
            self.assertNotIn("secret", refused.text)

    def test_downloads_are_refused_without_their_scope(self) -> None:
        for name in ("reader", "operator", "unscoped"):
            refused = self.ask("POST", "/download", self.secrets[name], voice="en_US-lessac-low")
            self.assertEqual(refused.status_code, 403)
        # The server refuses this name itself, before it downloads anything.
        answer = self.ask("POST", "/download", self.secrets["installer"], voice="no-voice")
        self.assertEqual(answer.status_code, 500)

    def test_a_wrong_key_is_refused(self) -> None:
        answer = self.ask("POST", "/synthesize", self.keys.unknown, text=TEXT)
        self.assertEqual(answer.status_code, 401)
        self.assertEqual(answer.json()["error"]["code"], "invalid_api_key")


if __name__ == "__main__":
    sys.exit(harness.main(Piper))
