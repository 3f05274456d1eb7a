"""Runs a server of Node's own HTTP module behind the gateway.

harness.py documents the variables that it needs. The last line printed is "N passed, N failed".
"""

from __future__ import annotations

import sys
from pathlib import Path

import harness
from servers import Server, ServerTest, post


class Node(ServerTest):
    @classmethod
    def start(cls) -> Server:
        return Server(["node", str(Path(__file__).with_suffix(".mjs")), "{address}"])

    def test_without_the_gateway_a_forged_header_arrives(self) -> None:
        """The control: the tests above can fail."""
        status, read = post(self.server.address, {"X-Original-URL": "forged"})
        self.assertEqual(status, 200)
        self.assertEqual(read["fields"]["x-original-url"], "forged")


if __name__ == "__main__":
    sys.exit(harness.main(Node))
