"""Makes session tokens with Inworld's Node SDK and as its JWT sample does, by signed requests, and
opens realtime sessions with them, through `voxgate serve`.

harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import datetime
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
import inworld
from minting import MintTest
from tokens_browser import session

WORKSPACE = "workspaces/test"


def free_port() -> int:
    """A port that is free now. The host that a client signs must be known before the start."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Inworld(MintTest):
    dialect = "inworld"
    minter = inworld.credential()

    @classmethod
    def routes(cls):
        return [("GET", "/api/v1/realtime/session", session)]

    @classmethod
    def setUpClass(cls) -> None:
        cls.keys = inworld.keys()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        file = Path(folder.name) / "minter"
        file.touch(0o600)
        file.write_text(cls.minter, encoding="utf-8")
        signing = {"secret": cls.minter, "signing_secret_file": str(file)}
        cls.extra_keys = {"minter": {**signing, "scopes": ["tts:synthesize", "tokens:mint"]}}
        cls.host = f"127.0.0.1:{free_port()}"
        cls.settings = {"VOXGATE_LISTEN": cls.host, "VOXGATE_TOKEN_SIGNED_HOSTS": cls.host}
        super().setUpClass()

    def script(self, how: str, **changes) -> dict:
        key, _, secret = self.minter.partition(":")
        asked = {
            "how": how,
            "url": self.gateway.url,
            "socketUrl": self.gateway.ws_url,
            "engineHost": self.host,
            "key": key,
            "secret": secret,
            "workspace": WORKSPACE,
            **changes,
        }
        ended = subprocess.run(
            ["node", str(Path(__file__).with_suffix(".mjs"))],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=harness.STEP_SECONDS,
            env={
                "PATH": os.environ["PATH"],
                "VOXGATE_NODE_MODULES": os.environ["VOXGATE_NODE_MODULES"],
            },
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout.strip().splitlines()[-1])

    def test_the_sdk_and_the_sample_open_realtime_sessions(self) -> None:
        for how in ("sdk", "sample"):
            with self.way(how):
                made = self.script(how)
                self.assertEqual(made.get("type"), "Bearer", made)
                self.made(made["token"])
                self.assertEqual(made["message"]["type"], "session.updated")
                self.assertTrue(made["sessionId"].startswith("test:"), made["sessionId"])
                [seen] = self.expect_arrived(made["token"])
                self.assertEqual(seen.path, "/api/v1/realtime/session")

    def test_a_nonce_counts_once(self) -> None:
        nonce = secrets.token_hex(6)[:11]
        self.made(self.script("sample", nonce=nonce)["token"])
        again = self.script("sample", nonce=nonce)
        self.assertEqual(again["status"], 403, again)
        self.expect_decision("refused", "replayed_signature", key_id="minter")

    def test_a_signature_is_of_now_for_this_host_and_for_no_other_path_or_key(self) -> None:
        now = datetime.datetime.now(datetime.UTC)
        stamp = lambda minutes: f"{now + datetime.timedelta(minutes=minutes):%Y%m%d%H%M%S}"
        for changes, status, reason in (
            ({"dateTime": stamp(-6)}, 403, "stale_signature"),
            ({"dateTime": stamp(6)}, 403, "stale_signature"),
            ({"engineHost": "api-engine.inworld.ai"}, 403, "invalid_signature"),
            ({"secret": "guess"}, 403, "invalid_signature"),
            ({"key": "unknown"}, 403, "unknown_credential"),
            ({"path": "/auth/v1/tokens"}, 401, "malformed_credential"),
            ({"path": "/tts/v1/voice"}, 401, "malformed_credential"),
        ):
            with self.way(str(changes)):
                refused = self.script("sample", **changes)
                self.assertEqual(refused.get("status"), status, refused)
                self.expect_decision("refused", reason)
        changed = self.script("sample", body={"key": "other", "resources": []})
        self.assertEqual(changed["status"], 400, changed)
        self.assertIn("key must be", changed["body"])
        self.expect_nothing_forwarded()

    def test_the_sdk_reads_a_refusal_of_grpc(self) -> None:
        refused = self.script("sdk", secret="guess")
        self.assertEqual(refused.get("code"), 16, refused)
        self.expect_decision("refused", "invalid_signature", key_id="minter")


if __name__ == "__main__":
    sys.exit(harness.main(Inworld))
