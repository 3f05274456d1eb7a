"""Runs grpcio, hypercorn and nginx behind the gateway as HTTP/2 servers (`h2c://`).

    clients ──HTTP/1.1 or gRPC──▶ voxgate serve ──HTTP/2──▶ the server

Each server allows few streams and ends its connections now and then. No request may fail.
harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

import harness
from harness import Gateway, Keys, STEP_SECONDS
from servers import Server, free_port, python

FOLDER = Path(__file__).parent
AT_ONCE = 24
TEXT = b"Good morning."


def all_at_once(call: Callable[[int], object], count: int) -> list[object]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(call, range(count)))


class Upstream(unittest.TestCase):
    """The base class: subclasses set `address` in `start`."""

    def start(self) -> str:
        raise NotImplementedError

    def setUp(self) -> None:
        self.keys = Keys.plain()
        address = self.start()
        self.gateway = Gateway(
            "bearer",
            f"h2c://{address}",
            keys=self.keys,
            extra={"limited": {"secret": self.keys.limited}},
        )
        self.addCleanup(self.gateway.stop)

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.gateway.address, timeout=STEP_SECONDS)
        try:
            key = {"Authorization": f"Bearer {self.keys.limited}"}
            connection.request("GET", path, headers=key)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Grpcio(Upstream):
    def start(self) -> str:
        def echo(request: bytes, _: grpc.ServicerContext) -> bytes:
            return request

        def repeat(request: bytes, _: grpc.ServicerContext):
            for _ in range(20):
                yield request

        methods = {
            "Echo": grpc.unary_unary_rpc_method_handler(echo),
            "Repeat": grpc.unary_stream_rpc_method_handler(repeat),
        }
        # Connections get a GOAWAY after a second; calls in flight end.
        options = [
            ("grpc.max_concurrent_streams", 3),
            ("grpc.max_connection_age_ms", 1000),
            ("grpc.max_connection_age_grace_ms", 60_000),
        ]
        server = grpc.server(ThreadPoolExecutor(AT_ONCE), options=options)
        handler = grpc.method_handlers_generic_handler("voxgate.Test", methods)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(lambda: server.stop(0).wait())
        return f"127.0.0.1:{port}"

    def test_calls_outlive_connections_and_few_streams(self) -> None:
        key = [("authorization", f"Bearer {self.keys.limited}")]
        with grpc.insecure_channel(self.gateway.address) as channel:
            echo = channel.unary_unary("/voxgate.Test/Echo")
            repeat = channel.unary_stream("/voxgate.Test/Repeat")

            def call(number: int) -> None:
                text = TEXT * (number + 1)
                heard = echo(text, metadata=key, timeout=STEP_SECONDS)
                self.assertEqual(heard, text)
                stream = repeat(text, metadata=key, timeout=STEP_SECONDS)
                self.assertEqual(list(stream), [text] * 20)

            all_at_once(call, 600)


class Hypercorn(Upstream):
    def start(self) -> str:
        words = ("--bind", "{address}", f"{FOLDER}/servers_python:asgi")
        server = Server(python("hypercorn", *words))
        self.addCleanup(server.stop)
        return server.address

    def test_requests_are_answered(self) -> None:
        def get(number: int) -> None:
            status, body = self.get(f"/path/{number}")
            self.assertEqual(status, 200)
            self.assertIn(f'"/path/{number}"'.encode(), body)

        all_at_once(get, 300)


NGINX = """
daemon off;
error_log stderr warn;
pid {folder}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen {address} http2;
        http2_max_concurrent_streams 3;
        # A GOAWAY after so many requests.
        keepalive_requests 5;
        location / {{ return 200 "audio"; }}
    }}
}}
"""


NGINX_PROGRAM = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")


@unittest.skipIf(NGINX_PROGRAM is None, "nginx is not installed")
class Nginx(Upstream):
    def start(self) -> str:
        assert NGINX_PROGRAM is not None
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        os.chmod(folder.name, 0o777)
        address = f"127.0.0.1:{free_port()}"
        configuration = Path(folder.name) / "nginx.conf"
        configuration.write_text(NGINX.format(folder=folder.name, address=address))
        command = [NGINX_PROGRAM, "-p", folder.name, "-c", str(configuration)]

        class Started(Server):
            def __init__(self) -> None:
                self.address = address
                harness.Child.__init__(self, command, {"PATH": os.environ["PATH"]})
                self.wait_for("open port", self._accepts)

        server = Started()
        self.addCleanup(server.stop)
        return address

    def test_requests_outlive_connections_and_few_streams(self) -> None:
        def get(_: int) -> None:
            self.assertEqual(self.get("/"), (200, b"audio"))

        all_at_once(get, 600)

    def test_requests_of_one_client_connection_outlive_its_connections(self) -> None:
        connection = http.client.HTTPConnection(self.gateway.address, timeout=STEP_SECONDS)
        self.addCleanup(connection.close)
        for _ in range(100):
            key = {"Authorization": f"Bearer {self.keys.limited}"}
            connection.request("GET", "/", headers=key)
            answer = connection.getresponse()
            self.assertEqual((answer.status, answer.read()), (200, b"audio"))


if __name__ == "__main__":
    if NGINX_PROGRAM is None:
        skipped = FOLDER.parent.parent / "scripts" / "skipped.sh"
        subprocess.run([skipped, "add", "nginx as an HTTP/2 server", "not installed"], check=True)
    sys.exit(harness.main(Grpcio, Hypercorn, Nginx))
