"""Runs NVIDIA's own Python client for Riva (nvidia-riva-client) through the gateway, over gRPC: in one
answer and as a stream. The client sends its key as a bearer token, for which the dialect is `bearer`.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from riva.client import Auth, SpeechSynthesisService
from riva.client.proto import riva_tts_pb2 as proto
from riva.client.proto import riva_tts_pb2_grpc as service

import harness
from harness import SOUND, STEP_SECONDS, Gateway, Seen

TEXT = "Good morning. The gateway let this sentence through."
VOICE = "English-US.Female-1"
METERED = {"VOXGATE_METERING": "true"}


class Riva(service.RivaSpeechSynthesisServicer):
    """A fake of the server. It records every call, as `harness.Upstream` does."""

    def __init__(self) -> None:
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(4))
        service.add_RivaSpeechSynthesisServicer_to_server(self, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.url = f"http://127.0.0.1:{port}"

    def take(self) -> list[Seen]:
        """The calls since the last time."""
        with self._lock:
            taken, self._seen = self._seen, []
        return taken

    def stop(self) -> None:
        self._server.stop(None).wait(STEP_SECONDS)

    def _record(self, method: str, request, context: grpc.ServicerContext) -> None:
        assert request.text.strip() == TEXT, request.text
        metadata = [(name, str(value)) for name, value in context.invocation_metadata()]
        path = f"/nvidia.riva.tts.RivaSpeechSynthesis/{method}"
        with self._lock:
            seen = Seen("POST", path, metadata, messages=[request.voice_name])
            self._seen.append(seen)

    def Synthesize(self, request, context: grpc.ServicerContext):
        self._record("Synthesize", request, context)
        return proto.SynthesizeSpeechResponse(audio=SOUND)

    def SynthesizeOnline(self, requests, context: grpc.ServicerContext):
        for one in requests:
            self._record("SynthesizeOnline", one, context)
        for part in (SOUND[:2000], SOUND[2000:]):
            yield proto.SynthesizeSpeechResponse(audio=part)


def client(server: Gateway, key: str) -> tuple[Auth, SpeechSynthesisService]:
    auth = Auth(uri=server.address, metadata_args=[["authorization", f"Bearer {key}"]])
    return auth, SpeechSynthesisService(auth)


def whole(server: Gateway, key: str) -> bytes:
    auth, sdk = client(server, key)
    with auth.channel:
        return sdk.synthesize(TEXT, voice_name=VOICE, sample_rate_hz=24000).audio


def stream(server: Gateway, key: str) -> bytes:
    auth, sdk = client(server, key)
    with auth.channel:
        answers = sdk.synthesize_online(TEXT, voice_name=VOICE, sample_rate_hz=24000)
        return b"".join(answer.audio for answer in answers)


WAYS = {"Synthesize": whole, "SynthesizeOnline": stream}


class RivaClient(harness.ClientTest):
    dialect = "bearer"
    voice = VOICE
    settings = METERED
    extra_keys = {
        f"quota-{name}": {
            "secret": harness.ClientTest.new_key(),
            "quota": f"{len(TEXT) + 1} characters/month",
        }
        for name in WAYS
    }

    @classmethod
    def make_upstream(cls) -> Riva:
        return Riva()

    def check_refused(self, say, server: Gateway, key: str, code: grpc.StatusCode) -> None:
        with self.assertRaises(grpc.RpcError) as caught:
            say(server, key)
        self.assertEqual(caught.exception.code(), code)
        self.assertNotIn(key, str(caught.exception))

    def test_speech_arrives(self) -> None:
        for method, say in WAYS.items():
            with self.way(method):
                self.assertEqual(say(self.gateway, self.keys.speaker), SOUND)
                (seen,) = self.expect_forwarded(self.keys.speaker)
                self.assertTrue(seen.path.endswith(f"/{method}"))
                self.assertEqual(seen.messages, [VOICE])
                self.assertIsNone(seen.header("authorization"))
                decision = self.expect_decision("accepted", "ok", path=seen.path)
                completion = self.gateway.wait_for_completion(
                    self.decisions_before, request_id=decision["request_id"]
                )
                self.assertEqual(completion["characters"], len(TEXT))
                self.assertEqual(completion["voice"], VOICE)

    def test_refusals_have_the_status_of_grpc(self) -> None:
        for method, say in WAYS.items():
            for key, code, reason in (
                (self.keys.unknown, grpc.StatusCode.UNAUTHENTICATED, "unknown_credential"),
                (self.keys.reader, grpc.StatusCode.PERMISSION_DENIED, "insufficient_scope"),
            ):
                with self.way(f"{method}, {reason}"):
                    self.check_refused(say, self.gateway, key, code)
                    self.expect_decision("refused", reason)
                    self.expect_nothing_forwarded()

    def test_a_voice_of_another_key_is_permission_denied(self) -> None:
        for method, say in WAYS.items():
            with self.way(method):
                self.assertEqual(say(self.gateway, self.voice_key), SOUND)
                self.expect_forwarded(self.voice_key, "voice")
                denied = grpc.StatusCode.PERMISSION_DENIED
                self.check_refused(say, self.gateway, self.other_voice_key, denied)
                self.expect_nothing_forwarded()

    def test_an_exhausted_quota_is_resource_exhausted(self) -> None:
        for method, say in WAYS.items():
            with self.way(method):
                key = str(self.extra_keys[f"quota-{method}"]["secret"])
                self.assertEqual(say(self.gateway, key), SOUND)
                self.expect_forwarded(key, f"quota-{method}")
                self.check_refused(say, self.gateway, key, grpc.StatusCode.RESOURCE_EXHAUSTED)
                self.expect_nothing_forwarded()


if __name__ == "__main__":
    sys.exit(harness.main(RivaClient))
