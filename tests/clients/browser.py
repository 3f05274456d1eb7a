"""Drives Chromium by the DevTools protocol, without any other package.

The browser has a profile of its own, in a folder that is removed, and reaches no address except the
loopback interface.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import tempfile

from websockets.sync.client import connect

from harness import STEP_SECONDS

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find() -> str | None:
    """The browser's program, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """A browser with one page."""

    def __init__(self) -> None:
        program = find()
        assert program, "install chromium"
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                program,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--no-proxy-server",
                "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
                f"--user-data-dir={self._profile.name}",
                "--remote-debugging-port=0",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            self._socket = connect(self._address(), max_size=None)
            self._numbers = itertools.count(1)
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
        except BaseException:
            self.stop()
            raise

    def _address(self) -> str:
        seen = []
        for line in self._process.stderr:
            if "DevTools listening on " in line:
                return line.partition("DevTools listening on ")[2].strip()
            seen.append(line)
        raise AssertionError(f"the browser did not start: {''.join(seen[-10:])}")

    def _ask(self, method: str, session: str | None = None, **arguments):
        number = next(self._numbers)
        request = {"id": number, "method": method, "params": arguments}
        if session:
            request["sessionId"] = session
        self._socket.send(json.dumps(request))
        while True:
            answer = json.loads(self._socket.recv(timeout=STEP_SECONDS))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str) -> None:
        """Opens a page, and waits until its script can run."""
        self._ask("Page.navigate", self._session, url=url)
        ready = (
            "new Promise(done => document.readyState === 'complete' ? done(location.href) :"
            " addEventListener('load', () => done(location.href)))"
        )
        for _ in range(100):
            if self.run(ready) == url:
                return
        raise AssertionError(f"the page {url} did not open")

    def run(self, script: str):
        """The value of an expression, or of its promise."""
        result = self._ask(
            "Runtime.evaluate",
            self._session,
            expression=script,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def stop(self) -> None:
        """Ends the browser. Safe to call twice."""
        if socket := getattr(self, "_socket", None):
            socket.close()
        self._process.kill()
        self._process.wait(STEP_SECONDS)
        self._process.stderr.close()
        self._profile.cleanup()
