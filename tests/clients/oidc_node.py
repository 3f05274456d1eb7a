"""Callers present access tokens of a real OpenID provider (the npm package `oidc-provider`) to
`voxgate serve`, while the provider exchanges its keys and is down.

harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

import jwt
import requests
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

import harness
from harness import SOUND, STEP_SECONDS, Child, ClientTest, Gateway, Upstream

# Between two requests for a key set, the gateway waits 30 s; after a failure 10 s.
REFRESH_SECONDS = 90
RESOURCE, OTHER_RESOURCE = "urn:speech", "urn:other"
AUDIENCES = {RESOURCE: "voxgate", OTHER_RESOURCE: "another-service"}


def key_set(kid: str) -> dict:
    """A new private key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key = jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)
    # The provider would publish that the public key signs.
    del key["key_ops"]
    return {"keys": [{**key, "kid": kid, "alg": "RS256", "use": "sig"}]}


class Provider(Child):
    """The provider. It signs with the key of `jwks`."""

    def __init__(self, jwks: dict, secret: str, port: int = 0) -> None:
        asked = {"port": port, "jwks": jwks, "clientSecret": secret, "audiences": AUDIENCES}
        self._secret = secret
        with tempfile.TemporaryFile("w+") as given:
            json.dump(asked, given)
            given.seek(0)
            super().__init__(
                ["node", str(Path(__file__).with_suffix(".mjs"))],
                {name: os.environ[name] for name in ("PATH", "VOXGATE_NODE_MODULES")},
                stdin=given,
            )
        self.issuer: str = self.wait_for("line with the issuer", lambda: self._said("issuer"))
        self.port = int(self.issuer.rpartition(":")[2])

    def _said(self, name: str) -> str | None:
        said = (json.loads(line) for line in self.lines if line.startswith("{"))
        return next((one[name] for one in said if name in one), None)

    def fetches(self) -> int:
        """How often its key set was asked for."""
        return sum('"/jwks"' in line for line in self.lines)

    def token(self, resource: str = RESOURCE) -> str:
        answer = requests.post(
            f"{self.issuer}/token",
            auth=("backend", self._secret),
            data={"grant_type": "client_credentials", "resource": resource, "scope": "speak"},
            timeout=STEP_SECONDS,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]


async def speech(request: web.Request) -> web.Response:
    return web.Response(body=SOUND, content_type="audio/wav")


class OpenId(ClientTest):
    dialect = "rime"

    @classmethod
    def setUpClass(cls) -> None:
        cls.keys = harness.Keys.plain()
        cls.secret = secrets.token_hex(16)
        cls.old_keys = key_set("old")
        cls.provider = cls._until_end(Provider(cls.old_keys, cls.secret))
        cls.upstream = cls._until_end(Upstream([("POST", "/v1/rime-tts", speech)]))
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.file = Path(folder.name) / "issuers.toml"
        cls.write_issuers("voxgate")
        settings = {"VOXGATE_ISSUERS_FILE": str(cls.file), "VOXGATE_LIMIT_AUTH_FAILURES": "0"}
        cls.gateway = cls._until_end(
            Gateway(cls.dialect, cls.upstream.url, keys=cls.keys, settings=settings)
        )
        cls.gateway.wait_for("line that the keys are in force", cls._has_keys)

    @classmethod
    def write_issuers(cls, audience: str) -> None:
        new = cls.file.with_suffix(".new")
        new.write_text(
            "[[issuer]]\n"
            'name = "idp"\n'
            f"issuer = {json.dumps(cls.provider.issuer)}\n"
            f"audiences = [{json.dumps(audience)}]\n"
            'scope_claim = "scope"\n'
            'scopes = { speak = "tts:synthesize" }\n',
            encoding="utf-8",
        )
        new.rename(cls.file)

    @classmethod
    def _has_keys(cls) -> bool | None:
        return cls._logged("the keys of an issuer are in force")

    @classmethod
    def _logged(cls, message: str) -> bool | None:
        return any(message in line for line in cls.gateway.errors) or None

    def speak(self, token: str) -> int:
        answer = requests.post(
            f"{self.gateway.url}/v1/rime-tts",
            headers={"authorization": f"Bearer {token}"},
            json={"text": "Good morning."},
            timeout=STEP_SECONDS,
        )
        return answer.status_code

    def expect_refusal(self, token: str, token_error: str) -> None:
        before = len(self.gateway.lines)
        self.assertEqual(self.speak(token), 401)
        self.gateway.wait_for_decision(before, outcome="refused", token_error=token_error)

    def until(self, what: str, found) -> None:
        deadline = time.monotonic() + REFRESH_SECONDS
        while not found():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.2)

    def test_a_token_is_accepted_with_the_rights_of_its_claims(self) -> None:
        token = self.provider.token()
        self.assertEqual(jwt.get_unverified_header(token)["typ"], "at+jwt")
        self.assertEqual(self.speak(token), 200)
        self.expect_forwarded(token, "idp/backend")
        record = self.expect_decision("accepted", "ok", key_id="idp/backend")
        claims = jwt.decode(token, options={"verify_signature": False})
        self.assertEqual(record["auth_method"], "jwt")
        self.assertEqual(record["token_issuer"], self.provider.issuer)
        self.assertEqual(record["token_id"], claims["jti"])
        # The scope does not include this one.
        answer = requests.get(
            f"{self.gateway.url}/data/voices/all.json",
            headers={"authorization": f"Bearer {token}"},
            timeout=STEP_SECONDS,
        )
        self.assertIn(answer.status_code, (401, 403))

    def test_a_token_for_another_service_is_refused(self) -> None:
        self.expect_refusal(self.provider.token(OTHER_RESOURCE), "wrong_audience")
        self.expect_nothing_forwarded()

    def test_a_token_that_another_key_signed_is_refused(self) -> None:
        claims = jwt.decode(self.provider.token(), options={"verify_signature": False})
        other = jwt.PyJWK(key_set("old")["keys"][0]).key
        forged = jwt.encode(claims, other, "RS256", {"kid": "old", "typ": "at+jwt"})
        self.expect_refusal(forged, "bad_signature")
        self.expect_nothing_forwarded()

    def test_y_a_changed_file_of_issuers_comes_into_force(self) -> None:
        token, other = self.provider.token(), self.provider.token(OTHER_RESOURCE)
        self.assertEqual(self.speak(token), 200)
        self.write_issuers("another-service")
        self.until("the other audience counts", lambda: self.speak(other) == 200)
        # It was accepted before.
        self.expect_refusal(token, "wrong_audience")
        self.write_issuers("")
        self.gateway.wait_for(
            "line that the file has a problem",
            lambda: self._logged("the last issuers stay in force"),
        )
        self.assertEqual(self.speak(other), 200)
        self.write_issuers("voxgate")
        self.until("the first audience counts", lambda: self.speak(token) == 200)

    def test_z_the_provider_is_down_and_returns_with_another_key(self) -> None:
        old = self.provider.token()
        self.assertEqual(self.speak(old), 200)
        port = self.provider.port
        self.provider.stop()
        # The provider gets another key, signs with it, and is down before the gateway asks for it.
        new_keys = key_set("new")
        between = self._until_end(Provider(new_keys, self.secret, port))
        new = between.token()
        self.assertEqual(between.fetches(), 0)
        between.stop()
        for _ in range(20):
            self.expect_refusal(new, "unknown_key")
        self.until(
            "the gateway asks for the unknown key",
            lambda: self._logged("the last ones stay in force"),
        )
        # The last keys stay in force.
        self.assertEqual(self.speak(old), 200)
        again = self._until_end(Provider(new_keys, self.secret, port))
        self.until("the new key is accepted", lambda: self.speak(new) == 200)
        # A key that the provider has withdrawn is refused, also for a token that was accepted before.
        # Tokens with unknown keys cause no request each.
        for _ in range(20):
            self.expect_refusal(old, "unknown_key")
        self.assertLessEqual(again.fetches(), 2)


if __name__ == "__main__":
    sys.exit(harness.main(OpenId))
