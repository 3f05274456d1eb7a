"""Runs gunicorn, uvicorn and hypercorn behind the gateway, each with its defaults.

harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import json
import sys

FOLDER = __file__.rpartition("/")[0] or "."


def wsgi(environ, start_response):
    """Answers with what the application of a WSGI server reads (PEP 3333)."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else b""
    text = {name: value for name, value in environ.items() if isinstance(value, str)}
    # These belong to the process.
    for name in ("SERVER_SOFTWARE", "RAW_URI", "PATH_INFO"):
        text.pop(name, None)
    read = {
        "method": environ["REQUEST_METHOD"],
        "path": environ.get("PATH_INFO", ""),
        "prefix": environ.get("SCRIPT_NAME", ""),
        "key_id": environ.get("HTTP_X_VOXGATE_KEY_ID"),
        "fields": text,
        "body": body.decode(),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(read).encode()]


async def asgi(scope, receive, send):
    """Answers with what the application of an ASGI server reads."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"].rpartition(".")[2]
            await send({"type": f"lifespan.{kind}.complete"})
            if kind == "shutdown":
                return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    read = {
        "method": scope["method"],
        "path": scope["path"],
        "prefix": scope.get("root_path", ""),
        "key_id": fields.get("x-voxgate-key-id"),
        "fields": {**fields, "scheme": scope["scheme"], "client": str(scope["client"])},
        "body": body.decode(),
    }
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(read).encode()})


if __name__ == "__main__":
    import harness
    from servers import FORGED, PATH, Server, ServerTest, post, python

    # uvicorn takes the host and the port apart.
    LAUNCH_UVICORN = (
        "import sys, uvicorn; host, _, port = sys.argv[1].partition(':'); "
        "sys.argv[1:] = ['--host', host, '--port', port, *sys.argv[2:]]; uvicorn.main()"
    )

    class Gunicorn(ServerTest):
        @classmethod
        def start(cls) -> Server:
            words = ("--bind", "{address}", "--chdir", FOLDER, "servers_python:wsgi")
            return Server(python("gunicorn", *words))

        def test_without_the_gateway_a_folded_name_changes_the_path(self) -> None:
            """The control: the tests above can fail."""
            status, read = post(self.server.address, {"SCRIPT_NAME": FORGED})
            self.assertEqual(status, 200)
            self.assertEqual((read["prefix"], read["path"]), (FORGED, PATH.removeprefix(FORGED)))

    class Uvicorn(ServerTest):
        @classmethod
        def start(cls) -> Server:
            words = ("{address}", "--app-dir", FOLDER, "servers_python:asgi")
            return Server([sys.executable, "-c", LAUNCH_UVICORN, *words])

        def test_without_the_gateway_a_forged_address_is_believed(self) -> None:
            """The control: the tests above can fail."""
            status, read = post(self.server.address, {"X-Forwarded-For": "203.0.113.9"})
            self.assertEqual(status, 200)
            self.assertIn("203.0.113.9", read["fields"]["client"])

    class Hypercorn(ServerTest):
        @classmethod
        def start(cls) -> Server:
            words = ("--bind", "{address}", f"{FOLDER}/servers_python:asgi")
            return Server(python("hypercorn", *words))

    sys.exit(harness.main(Gunicorn, Uvicorn, Hypercorn))
