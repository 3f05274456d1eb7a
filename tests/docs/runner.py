"""Runs the blocks of one page in order, in a temporary directory.

A page is read as its reader reads it: exported variables, files and the current directory carry over
from block to block. `voxgate serve` is started in the background, as in a first terminal, and is
stopped when the page starts it again or ends.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pages import Block, Page

DEADLINE = 60
SERVE = re.compile(r"^\s*voxgate serve\b")
# Addresses that another process of this machine may use. A page must declare them.
FIXED = re.compile(r"\b(?:127\.0\.0\.1|0\.0\.0\.0|localhost):(?:3000|8000|8080|8081)\b")


class Failed(Exception):
    """A block did not do what the page describes."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Upstream(BaseHTTPRequestHandler):
    """The TTS server behind the gateway: it answers everything."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"ID3 not really speech"
        self.send_response(200)
        self.send_header("Content-Type", "audio/mpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


class Session:
    """The state of a reader of one page: a directory, an environment, and possibly a gateway."""

    def __init__(self, voxgate: Path, fixtures: dict[str, str], sample_log: Path | None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="voxgate-docs-")
        base = Path(self._temporary.name).resolve()
        self.here = base / "page"
        self._state = base / "state"
        self._programs = base / "bin"
        for folder in (self.here, self._state, self._programs):
            folder.mkdir()
        (self._programs / "voxgate").symlink_to(voxgate)
        self._gateway: subprocess.Popen[bytes] | None = None
        self._upstream: ThreadingHTTPServer | None = None
        self._log = self._state / "gateway.log"
        # Replacements of text in the page.
        self.replaced: dict[str, str] = {}
        self._environment = {
            "HOME": str(self.here),
            "LANG": "C.UTF-8",
            "PATH": f"{self._programs}{os.pathsep}{os.environ['PATH']}",
        }
        self._prepare(fixtures, sample_log)
        (self._state / "cwd").write_text(f"{self.here}\n")
        (self._state / "env").write_text("")

    def _prepare(self, fixtures: dict[str, str], sample_log: Path | None) -> None:
        if "gateway" in fixtures:
            gateway, self._admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
            self._environment["VOXGATE_LISTEN"] = gateway
            self._environment["VOXGATE_ADMIN_LISTEN"] = self._admin
            self.replaced[fixtures["gateway"]] = gateway
        if "admin" in fixtures:
            self.replaced[fixtures["admin"]] = self._admin
        if "upstream" in fixtures:
            self._upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
            threading.Thread(target=self._upstream.serve_forever, daemon=True).start()
            self.replaced[fixtures["upstream"]] = f"127.0.0.1:{self._upstream.server_port}"
        if "log" in fixtures:
            assert sample_log
            log = self._state / "sample-log"
            shutil.copytree(sample_log / "log", log)
            self.replaced[fixtures["log"]] = str(log)
        if "pubkey" in fixtures:
            assert sample_log
            self.replaced[fixtures["pubkey"]] = str(sample_log / "audit.pub")
        if "checkpoints" in fixtures:
            assert sample_log
            self.replaced[fixtures["checkpoints"]] = str(sample_log / "checkpoints.jsonl")

    def close(self) -> None:
        try:
            self.stop()
        finally:
            if self._upstream:
                self._upstream.shutdown()
                self._upstream.server_close()
            self._temporary.cleanup()

    def rewrite(self, text: str) -> str:
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        return text

    def save(self, block: Block) -> None:
        (self.here / str(block.saved_as)).write_text(self.rewrite(block.text))

    def sh(self, script: str) -> tuple[int, str]:
        """Runs a script. The next script has its exports and its directory."""
        cwd = (self._state / "cwd").read_text().rstrip("\n")
        whole = (
            f". {self._state}/env\ncd {shlex.quote(cwd)}\n"
            f"trap 'code=$?; export -p >{self._state}/env; pwd >{self._state}/cwd; exit $code' EXIT\n"
            f"set -a\n{script}"
        )
        try:
            done = subprocess.run(
                ["sh", "-c", whole],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=DEADLINE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"did not end within {DEADLINE} seconds:\n{script}") from None
        return done.returncode, done.stdout.decode(errors="replace")

    def serve(self, line: str) -> None:
        """Runs `voxgate serve`, as in the reader's first terminal."""
        if "VOXGATE_LISTEN" not in self._environment:
            raise Failed("the page runs `voxgate serve`, so it has to declare docs-run: gateway=…")
        self.stop()
        command = re.sub(r"\s+#.*$", "", line.strip())
        cwd = (self._state / "cwd").read_text().rstrip("\n")
        with self._log.open("wb") as log:
            self._gateway = subprocess.Popen(
                ["sh", "-c", f". {self._state}/env; cd {shlex.quote(cwd)}; exec {command}"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + DEADLINE
        while not self._ready():
            ended = self._gateway.poll() is not None
            if ended or time.monotonic() > until:
                self._gateway = None if ended else self._gateway
                said = self._log.read_text(errors="replace")
                raise Failed(f"the gateway did not start: {command}\n{said}")
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._admin}/readyz", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """Stops the gateway of this page, and no other process."""
        gateway, self._gateway = self._gateway, None
        if gateway is None:
            return
        gateway.terminate()
        try:
            code = gateway.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            gateway.kill()
            gateway.wait()
            raise Failed("the gateway did not stop") from None
        if code != 0:
            said = self._log.read_text(errors="replace")
            raise Failed(f"the gateway ended with {code}\n{said}")


def logical_lines(text: str) -> list[str]:
    """Lines, joined with lines that continue a backslash, a quote or a here-document."""
    found: list[str] = []
    pending, heredoc = "", None
    for line in text.splitlines():
        pending += f"{line}\n"
        if heredoc:
            heredoc = None if line == heredoc else heredoc
        elif match := re.search(r"<<-?\s*['\"]?(\w+)['\"]?", line):
            heredoc = match[1]
        if heredoc or line.endswith("\\"):
            continue
        found.append(pending)
        pending = ""
    return found + ([pending] if pending else [])


def run_sh(session: Session, text: str) -> None:
    script = ""

    def flush() -> None:
        nonlocal script
        if script.strip():
            code, output = session.sh(f"set -eu\n{script}")
            if code != 0:
                raise Failed(f"exit status {code}:\n{script}{output}")
        script = ""

    for line in logical_lines(text):
        if SERVE.match(line):
            flush()
            session.serve(line)
        else:
            script += line
    flush()


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each command of a console block, with the output that the page shows."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((f"{line[2:]}\n", []))
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}{line[2:]}\n", [])
        elif found:
            found[-1][1].append(line)
        elif line.strip():
            raise Failed(f"output before the first command: {line}")
    return found


def matches(shown: list[str], output: str) -> bool:
    """`…` in a line matches any text. Alone in a line, it matches any number of lines."""
    while shown and not shown[-1].strip():
        shown = shown[:-1]
    pattern = "".join(
        r"(?:.*\n)*?"
        if line.strip() == "…"
        else ".*".join(re.escape(part) for part in line.rstrip().split("…")) + r"[ ]*\n"
        for line in shown
    )
    output = output.rstrip("\n") + "\n" if output.strip() else ""
    return re.fullmatch(pattern, output) is not None


def run_console(session: Session, text: str) -> None:
    for command, shown in commands(text):
        if SERVE.match(command):
            session.serve(command)
            continue
        code, output = session.sh(command)
        if code != 0:
            raise Failed(f"exit status {code}:\n$ {command}{output}")
        if shown and not matches(shown, output):
            expected = "\n".join(shown)
            raise Failed(f"$ {command}the page shows:\n{expected}\nit was:\n{output}")


def run_page(page: Page, voxgate: Path, sample_log: Path | None) -> tuple[int, dict[str, str]]:
    """Runs a page. Returns the number of blocks that ran, and the replacements in its text."""
    session = Session(voxgate, page.fixtures, sample_log)
    count = 0
    block: Block | None = None
    try:
        for block in page.blocks:
            if block.saved_as:
                session.save(block)
            if not block.is_shell or block.not_run:
                continue
            text = session.rewrite(block.text)
            if fixed := FIXED.search(text):
                raise Failed(f"{fixed[0]} is not declared by a docs-run comment of the page")
            (run_console if block.language == "console" else run_sh)(session, text)
            count += 1
        session.stop()
    except Failed as failed:
        line = block.line if block else 1
        raise Failed(f"{page.path}:{line}: {failed}") from None
    finally:
        session.close()
    return count, session.replaced


def write_sample_log(voxgate: Path, into: Path) -> None:
    """Creates a signed audit log with one accepted and two refused requests."""
    session = Session(voxgate, {"upstream": "tts:80", "gateway": "gateway:80"}, None)
    try:
        script = f"""
            export VOXGATE_UPSTREAM=http://tts:80 VOXGATE_KEYS_FILE=keys.toml
            voxgate key new --id ivr-prod > token
            voxgate audit keygen audit.key > {shlex.quote(str(into / "audit.pub"))}
            export VOXGATE_AUDIT_SIGNING_KEY_FILE=audit.key
            export VOXGATE_AUDIT_DIR={shlex.quote(str(into / "log"))}
        """
        run_sh(session, session.rewrite(script))
        session.serve("voxgate serve")
        calls = """
            curl -s http://gateway:80/v1/rime-tts
            curl -s -H 'Authorization: Bearer wrong' http://gateway:80/v1/rime-tts
            curl -s -H "Authorization: Bearer $(cat token)" -d text http://gateway:80/v1/rime-tts
        """
        run_sh(session, session.rewrite(calls))
        session.stop()
        kept = shlex.quote(str(into / "checkpoints.jsonl"))
        run_sh(session, f"voxgate audit query --event checkpoint --format json > {kept}\n")
    finally:
        session.close()
