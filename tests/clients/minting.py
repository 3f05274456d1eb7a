"""Shared code for the tests of short-lived tokens: a gateway that makes them.

    backend, with a key ──▶ voxgate serve      asks for a token, with the vendor's own client
    browser, with the token ──▶ voxgate serve ──▶ Upstream
"""

from __future__ import annotations

import json
import secrets
import urllib.parse
from pathlib import Path

import requests
from websockets.exceptions import InvalidStatus

import harness
from handshakes import replay
from harness import STEP_SECONDS, ClientTest, Gateway

SETTINGS = {"VOXGATE_TOKEN_MINT": "on"}


class MintTest(ClientTest):
    """A `ClientTest` with a gateway that makes tokens, and the key `minter` that may ask for them.

    The key `speaker` may not. No other gateway is started.
    """

    settings: dict[str, str] = {}
    minter: str

    @classmethod
    def setUpClass(cls) -> None:
        if not hasattr(cls, "keys"):
            cls.keys = harness.Keys.plain()
        if not hasattr(cls, "minter"):
            cls.minter = secrets.token_hex(16)
        cls.tokens: list[str] = []
        cls.addClassCleanup(cls._check_silence)
        cls.upstream = cls._until_end(cls.make_upstream())
        minter = {"secret": cls.minter, "scopes": ["tts:synthesize", "realtime", "tokens:mint"]}
        cls.gateway = cls._until_end(
            Gateway(
                cls.dialect,
                cls.upstream.url,
                keys=cls.keys,
                extra={"minter": minter, **cls.extra_keys},
                settings=SETTINGS | cls.settings,
            )
        )

    @classmethod
    def _check_silence(cls) -> None:
        """Asserts that no key and no token was printed."""
        secrets_of = {cls.minter, *cls.keys.all(), *cls.tokens}
        if gateway := getattr(cls, "gateway", None):
            assert not gateway.printed_secrets(secrets_of), "the gateway printed a secret"

    def made(self, token: str) -> str:
        """Notes a token, so that it must not be printed. Asserts that it is on record."""
        self.assertEqual(token.count("."), 2, "a token is a JWT")
        self.tokens.append(token)
        self.record = self.gateway.wait_for("record of a token", self._token_record)
        self.assertEqual(self.record["key_id"], "minter")
        return token

    def _token_record(self) -> dict | None:
        records = (json.loads(line) for line in self.gateway.lines[self.decisions_before :])
        found = [record for record in records if record.get("event") == "token"]
        return found[-1] if found else None

    def expect_arrived(self, token: str) -> list[harness.Seen]:
        """Asserts that requests reached the upstream as the key's, and without the token."""
        return self.expect_forwarded(token, "minter")

    def expect_refused_socket(self, target: str, *offers: str, status: int) -> str:
        """Asserts that a browser's handshake is refused. Returns the body."""
        with self.assertRaises(InvalidStatus) as caught:
            replay(self.gateway.ws_url + target, *offers)
        self.assertEqual(caught.exception.response.status_code, status)
        return caught.exception.response.body.decode()

    def post(self, path: str, **arguments) -> requests.Response:
        return requests.post(self.gateway.url + path, timeout=STEP_SECONDS, **arguments)

    def revoke(self, key_id: str) -> None:
        """Disables a key in the keys file, and waits until the gateway has noticed."""
        file = Path(self.gateway._folder.name) / "keys.toml"
        text = file.read_text(encoding="utf-8")
        id_line = f"id = {json.dumps(key_id)}"
        assert id_line in text
        new = file.with_suffix(".new")
        new.write_text(text.replace(id_line, f"{id_line}\ndisabled = true"), encoding="utf-8")
        new.rename(file)

        def noticed() -> dict | None:
            records = (json.loads(line) for line in self.gateway.lines)
            wanted = {"event": "key", "key_id": key_id, "state": "disabled"}.items()
            return next((record for record in records if wanted <= record.items()), None)

        self.gateway.wait_for(f"record that {key_id} is disabled", noticed)


def quoted(token: str) -> str:
    return urllib.parse.quote(token, safe="")
