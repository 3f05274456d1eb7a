"""Runs Rime's own Python client (rimelabs-sdk) through the gateway. It speaks gRPC, and only with TLS.

    client ──TLS──▶ Proxy ──▶ voxgate serve ──▶ GrpcUpstream

In production, too, a proxy terminates TLS in front of the gateway. The program openssl makes the
certificate. The package asks for an older `websockets`, which only its Realtime client uses.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import rimelabs_sdk
from rime_api import text_to_speech_pb2 as proto
from rimelabs_sdk import Rime

import harness
from harness import SOUND, STEP_SECONDS, Gateway, Seen, run
from retries import RetryTest

TEXT = "Good morning. The gateway let this sentence through."
VOICE = "clementine"
SERVICE = "rime.TextToSpeech"


class GrpcUpstream:
    """A fake of Rime's gRPC service. It records every call, as `harness.Upstream` does."""

    def __init__(self) -> None:
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(4))
        speak = grpc.stream_stream_rpc_method_handler(
            self._speak,
            proto.StreamingSynthesisRequest.FromString,
            proto.SynthesisResponseStream.SerializeToString,
        )
        voices = grpc.unary_unary_rpc_method_handler(
            self._voices,
            proto.GetSupportedSpeakersRequest.FromString,
            proto.GetSupportedSpeakersResponse.SerializeToString,
        )
        methods = {"SynthesizeStreaming": speak, "GetSupportedSpeakers": voices}
        handler = grpc.method_handlers_generic_handler(SERVICE, methods)
        self._server.add_generic_rpc_handlers((handler,))
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

    def _record(self, method: str, context: grpc.ServicerContext) -> Seen:
        metadata = [(name, str(value)) for name, value in context.invocation_metadata()]
        seen = Seen("POST", f"/{SERVICE}/{method}", metadata)
        with self._lock:
            self._seen.append(seen)
        return seen

    def _speak(self, requests, context: grpc.ServicerContext):
        seen = self._record("SynthesizeStreaming", context)
        context.send_initial_metadata((("x-rime-audio-content-type", "audio/pcm"),))
        for request in requests:
            seen.messages.append(request.text_chunk or request.header.speaker)
        yield proto.SynthesisResponseStream(audio=SOUND)

    def _voices(self, request, context: grpc.ServicerContext):
        self._record("GetSupportedSpeakers", context)
        return proto.GetSupportedSpeakersResponse(speakers=[VOICE])


class Proxy:
    """Terminates TLS in front of a gateway, and forwards the bytes."""

    def __init__(self, folder: Path, gateway: Gateway) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        self._tls.set_alpn_protocols(["h2"])
        self._behind = gateway.address.rsplit(":", 1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._forward, "127.0.0.1", 0, ssl=self._tls)
        server = asyncio.run_coroutine_threadsafe(start, self._loop).result(STEP_SECONDS)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _forward(self, client, answer) -> None:
        requests, to_gateway = await asyncio.open_connection(*self._behind)
        ways = (self._copy(client, to_gateway), self._copy(requests, answer))
        await asyncio.gather(*ways, return_exceptions=True)

    @staticmethod
    async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        finally:
            target.close()

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(STEP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STEP_SECONDS)

    @staticmethod
    async def _end() -> None:
        """Ends the connections."""
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def certificate(folder: Path) -> None:
    """Makes a certificate for the loopback address, which gRPC clients of this process trust."""
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=voxgate test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run(command, check=True, capture_output=True, timeout=STEP_SECONDS)
    os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = str(folder / "certificate.pem")


class Rimelabs(RetryTest):
    dialect = "rime"
    voice = VOICE

    @classmethod
    def make_upstream(cls) -> GrpcUpstream:
        return GrpcUpstream()

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        certificate(Path(folder.name))
        cls.proxy = cls._until_end(Proxy(Path(folder.name), cls.gateway))
        cls.busy_proxy = cls._until_end(Proxy(Path(folder.name), cls.busy))

    def speak(self, key: str, proxy: Proxy | None = None) -> bytes:
        async def speak() -> bytes:
            async with Rime(api_key=key, endpoint=(proxy or self.proxy).address) as sdk:
                return await sdk.tts.synthesize_to_buffer(TEXT, voice=VOICE)

        return run(speak())

    def voices(self, key: str) -> list[str]:
        async def ask() -> list[str]:
            async with Rime(api_key=key, endpoint=self.proxy.address) as sdk:
                return list(await sdk.voices.list())

        return run(ask())

    def test_speech_arrives(self) -> None:
        self.assertEqual(self.speak(self.keys.speaker), SOUND)
        (seen,) = self.expect_forwarded(self.keys.speaker)
        self.assertEqual(seen.path, f"/{SERVICE}/SynthesizeStreaming")
        self.assertEqual(seen.messages[0], VOICE)
        self.assertEqual("".join(seen.messages[1:]).strip(), TEXT)
        self.assertIsNone(seen.header("authorization"))
        self.expect_decision("accepted", "ok", key_id="speaker", path=seen.path)

    def test_voices_are_listed(self) -> None:
        self.assertEqual(self.voices(self.hourly), [VOICE])
        self.expect_forwarded(self.hourly, self.hourly_id)

    def test_a_voice_of_another_key_is_a_permission_error(self) -> None:
        self.assertEqual(self.speak(self.voice_key), SOUND)
        self.expect_forwarded(self.voice_key, "voice")
        with self.assertRaises(rimelabs_sdk.RimePermissionError):
            self.speak(self.other_voice_key)
        # The voice is in a message of the stream, which is not forwarded.
        for seen in self.upstream.take():
            self.assertEqual(seen.messages, [])

    def test_refusals_are_the_clients_own_errors(self) -> None:
        self.assertEqual(self.speak(self.hourly), SOUND)
        self.expect_forwarded(self.hourly, self.hourly_id)
        for call in (self.speak, self.voices):
            for key, kind, reason in (
                (self.keys.unknown, rimelabs_sdk.RimeAuthenticationError, "unknown_credential"),
                (self.keys.reader, rimelabs_sdk.RimePermissionError, "insufficient_scope"),
                (self.hourly, rimelabs_sdk.RimeResourceLimitError, "rate_limited"),
            ):
                with self.way(f"{call.__name__} {reason}"):
                    error = self.expect_raised(kind, 1, lambda: call(key), reason=reason)
                    self.assertNotIn(key, str(error))
                    self.expect_decision("refused", reason, request_id=error.request_id)
                    self.expect_nothing_forwarded()

    def test_too_many_requests_are_a_resource_limit_error(self) -> None:
        with self.assertRaises(rimelabs_sdk.RimeResourceLimitError):
            self.speak(self.keys.limited, self.busy_proxy)


if __name__ == "__main__":
    sys.exit(harness.main(Rimelabs))
