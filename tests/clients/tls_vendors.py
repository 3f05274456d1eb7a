"""Runs the vendors' clients that speak only TLS against a gateway with a certificate, without a proxy
that terminates TLS: Riva and Rime over gRPC, ElevenLabs in real time, and both WebSocket clients of
Cartesia. Nothing in the clients is changed; they trust the test's certificate authority.

The fakes are those of the clients' own test files.
"""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cartesia
import grpc
import httpx
from elevenlabs.client import ElevenLabs as ElevenLabsClient
from rimelabs_sdk import Rime
from riva.client import Auth, SpeechSynthesisService

import cartesia_python
import elevenlabs_python
import harness
import rime_rimelabs
import riva_nvidia
from harness import SOUND, STEP_SECONDS, ClientTest, Gateway, run
from node import Script


def openssl(*arguments: object) -> None:
    command = ["openssl", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=STEP_SECONDS)


def certificates(folder: Path) -> None:
    """Makes a certificate authority, and a certificate of it for the loopback address."""
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ca, ca_key, request = folder / "ca.crt", folder / "ca.key", folder / "request"
    authority = ["-x509", "-days", "2", "-subj", "/CN=voxgate test authority"]
    openssl("req", *authority, *ec, "-keyout", ca_key, "-out", ca)
    openssl("req", *ec, "-subj", "/CN=voxgate", "-keyout", folder / "tls.key", "-out", request)
    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n", encoding="utf-8")
    by = ["-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2", "-extfile", names]
    openssl("x509", "-req", "-in", request, *by, "-out", folder / "tls.crt")


FOLDER = tempfile.TemporaryDirectory()
PLACE = Path(FOLDER.name)
certificates(PLACE)
AUTHORITY = str(PLACE / "ca.crt")
# What each client reads by itself: Python's ssl and httpx, gRPC, Node.
os.environ["SSL_CERT_FILE"] = AUTHORITY
os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = AUTHORITY


class TlsTest(ClientTest):
    settings = {
        "VOXGATE_TLS_CERT_FILE": str(PLACE / "tls.crt"),
        "VOXGATE_TLS_KEY_FILE": str(PLACE / "tls.key"),
    }

    def expect_speech(self, key: str) -> None:
        """Asserts that the speech of `speak` arrives, and that the server is told of TLS."""
        self.assertEqual(self.speak(key), SOUND)
        for seen in self.expect_forwarded(key):
            self.assertEqual(seen.header("x-forwarded-proto"), "https")
        self.expect_decision("accepted", "ok", key_id="speaker")

    def speak(self, key: str) -> bytes:
        raise NotImplementedError

    def check(self, refusal: type[Exception] | tuple[type[Exception], ...]) -> None:
        self.expect_speech(self.keys.speaker)
        self.setUp()
        with self.assertRaises(refusal):
            self.speak(self.keys.unknown)
        self.expect_nothing_forwarded()
        self.expect_decision("refused", "unknown_credential")


def url(server: Gateway) -> str:
    return f"https://{server.address}"


class RivaOverTls(TlsTest):
    dialect = "bearer"

    @classmethod
    def make_upstream(cls) -> riva_nvidia.Riva:
        return riva_nvidia.Riva()

    def speak(self, key: str) -> bytes:
        auth = Auth(
            uri=self.gateway.address,
            ssl_root_cert=AUTHORITY,
            metadata_args=[["authorization", f"Bearer {key}"]],
        )
        with auth.channel:
            sdk = SpeechSynthesisService(auth)
            answers = sdk.synthesize_online(
                riva_nvidia.TEXT, voice_name=riva_nvidia.VOICE, sample_rate_hz=24000
            )
            return b"".join(answer.audio for answer in answers)

    def speak_with_call_credentials(self, key: str) -> bytes:
        """As NVIDIA's cloud asks for it: gRPC sends such credentials only over TLS."""
        root = Path(AUTHORITY).read_bytes()
        token = grpc.access_token_call_credentials(key)
        both = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(root), token)
        with grpc.secure_channel(self.gateway.address, both) as channel:
            stub = riva_nvidia.service.RivaSpeechSynthesisStub(channel)
            request = riva_nvidia.proto.SynthesizeSpeechRequest(
                text=riva_nvidia.TEXT, voice_name=riva_nvidia.VOICE
            )
            return stub.Synthesize(request, timeout=STEP_SECONDS).audio

    def test_speech_arrives_and_an_unknown_key_is_refused(self) -> None:
        self.check(grpc.RpcError)

    def test_credentials_of_a_channel_are_sent(self) -> None:
        self.assertEqual(self.speak_with_call_credentials(self.keys.speaker), SOUND)
        self.expect_forwarded(self.keys.speaker)


class RimeOverTls(TlsTest):
    dialect = "rime"

    @classmethod
    def make_upstream(cls) -> rime_rimelabs.GrpcUpstream:
        return rime_rimelabs.GrpcUpstream()

    def speak(self, key: str) -> bytes:
        async def speak() -> bytes:
            async with Rime(api_key=key, endpoint=self.gateway.address) as sdk:
                return await sdk.tts.synthesize_to_buffer(
                    rime_rimelabs.TEXT, voice=rime_rimelabs.VOICE
                )

        return run(speak())

    def test_speech_arrives_and_an_unknown_key_is_refused(self) -> None:
        self.check(rime_rimelabs.rimelabs_sdk.RimeAuthenticationError)


class ElevenLabsOverTls(TlsTest):
    dialect = "elevenlabs"

    @classmethod
    def routes(cls):
        path = "/v1/text-to-speech/{voice}/stream-input"
        return [("GET", path, elevenlabs_python.stream_input)]

    def speak(self, key: str) -> bytes:
        def words() -> Iterator[str]:
            yield from (f"{word} " for word in elevenlabs_python.TEXT.split(" "))

        with httpx.Client(timeout=STEP_SECONDS) as http:
            sdk = ElevenLabsClient(api_key=key, base_url=url(self.gateway), httpx_client=http)
            sound = sdk.text_to_speech.convert_realtime(
                elevenlabs_python.VOICE,
                text=words(),
                model_id=elevenlabs_python.MODEL,
                output_format=elevenlabs_python.FORMAT,
            )
            return b"".join(sound)

    def test_speech_arrives_and_an_unknown_key_is_refused(self) -> None:
        self.check(Exception)


class CartesiaOverTls(TlsTest):
    dialect = "cartesia"

    @classmethod
    def routes(cls):
        return [("GET", "/tts/websocket", cartesia_python.socket)]

    def speak(self, key: str) -> bytes:
        sdk = cartesia.Cartesia(
            base_url=url(self.gateway), api_key=key, timeout=STEP_SECONDS, max_retries=0
        )
        with sdk, sdk.tts.websocket_connect() as connection:
            asked = cartesia_python.REQUEST
            asked = {name: asked[name] for name in ("model_id", "voice", "output_format")}
            context = connection.context(**asked, timeout=STEP_SECONDS)
            context.push(cartesia_python.TEXT)
            context.no_more_inputs()
            return b"".join(event.audio for event in context.receive() if event.type == "chunk")

    def test_speech_arrives_and_an_unknown_key_is_refused(self) -> None:
        self.check(Exception)


class CartesiaNodeOverTls(CartesiaOverTls):
    """The client sets `wss` whatever the URL says."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        trusted = {"NODE_EXTRA_CA_CERTS": AUTHORITY}
        cls.script = cls._until_end(Script(str(Path(__file__).with_name("tls_node.mjs")), trusted))

    def speak(self, key: str) -> bytes:
        result = self.script.call({"url": url(self.gateway), "key": key})
        if "error" in result:
            raise ConnectionError(result["error"])
        return base64.b64decode(result["audio"])


class Handshake(TlsTest):
    """A client that does not trust the authority does not connect: the others do verify."""

    dialect = "cartesia"
    routes = CartesiaOverTls.routes

    def test_a_client_without_the_authority_refuses(self) -> None:
        nothing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with httpx.Client(verify=nothing, timeout=STEP_SECONDS) as http:
            with self.assertRaises(httpx.ConnectError):
                http.get(url(self.gateway))


TESTS = [RivaOverTls, RimeOverTls, ElevenLabsOverTls, CartesiaOverTls, Handshake]
if os.environ.get("VOXGATE_NODE_MODULES"):
    TESTS.append(CartesiaNodeOverTls)

if __name__ == "__main__":
    sys.exit(harness.main(*TESTS))
