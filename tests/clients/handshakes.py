"""Shared code for the tests of clients that use the package `websockets`.

If a handshake is refused, these SDKs raise that package's `InvalidStatus` with the response.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from harness import STEP_SECONDS, ClientTest, Seen, spellings


class HandshakeTest(ClientTest):
    """A `ClientTest` for a client that also opens WebSockets."""

    @classmethod
    def setUpClass(cls) -> None:
        # These SDKs use deprecated functions of `websockets`. Voxgate cannot change that.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        super().setUpClass()

    def expect_accepted(self, seen: Seen) -> None:
        """Asserts that the gateway audited exactly this request, without its query."""
        self.expect_decision(
            "accepted",
            "ok",
            key_id="speaker",
            path=seen.path,
            request_id=seen.header("x-request-id"),
        )

    def expect_refused_handshake(self, key: str, status: int, open_socket: Callable) -> dict:
        """Asserts that the handshake is refused before the upgrade. Returns the response's body."""
        with self.assertRaises(InvalidStatus) as caught:
            open_socket()
        answer = caught.exception.response
        self.assertEqual(answer.status_code, status)
        self.assertNotIn("upgrade", answer.headers)
        # Only an accepted handshake names a subprotocol.
        self.assertNotIn("sec-websocket-protocol", answer.headers)
        text = f"{answer.headers}{answer.body.decode()}"
        self.assertFalse([form for form in spellings(key) if form in text], text)
        return json.loads(answer.body)


def replay(url: str, *offers: str) -> ClientConnection:
    """Opens a WebSocket as a browser does, which can set subprotocols but no other header.

    This is not an SDK. `websockets` sends the subprotocols as browsers do, in one header, separated
    by ", ". It sends the query unchanged.
    """
    subprotocols: Sequence[Subprotocol] | None = [Subprotocol(offer) for offer in offers] or None
    return connect(
        url,
        subprotocols=subprotocols,
        open_timeout=STEP_SECONDS,
        close_timeout=STEP_SECONDS,
        user_agent_header="Mozilla/5.0 (a replay)",
        proxy=None,
    )
