"""What the tests of clients that open WebSockets with the package `websockets` share.

These SDKs pass a refused handshake on as that package's own `InvalidStatus`, with the answer in it.
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
    """A `ClientTest` whose client opens WebSockets, too."""

    @classmethod
    def setUpClass(cls) -> None:
        # These SDKs still use what `websockets` has deprecated; that is not ours to mend.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        super().setUpClass()

    def expect_accepted(self, seen: Seen) -> None:
        """The gateway has put exactly this request on record, without its query."""
        self.expect_decision(
            "accepted",
            "ok",
            key_id="speaker",
            path=seen.path,
            request_id=seen.header("x-request-id"),
        )

    def expect_refused_handshake(self, key: str, status: int, open_socket: Callable) -> dict:
        """Opening the socket is refused, before any upgrade: the body that the client can read."""
        with self.assertRaises(InvalidStatus) as caught:
            open_socket()
        answer = caught.exception.response
        self.assertEqual(answer.status_code, status)
        self.assertNotIn("upgrade", answer.headers)
        # The name of an accepted subprotocol is for an accepted handshake.
        self.assertNotIn("sec-websocket-protocol", answer.headers)
        text = f"{answer.headers}{answer.body.decode()}"
        self.assertFalse([form for form in spellings(key) if form in text], text)
        return json.loads(answer.body)


def replay(url: str, *offers: str) -> ClientConnection:
    """What a browser sends: it can set neither a header of its own nor more than these offers.

    This is no SDK. `websockets` sends the offers as browsers do, in one header and with ", "
    between them, and the query byte for byte.
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
