"""Makes a certificate, so that the repository contains no key."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import chart


@cache
def files() -> tuple[Path, Path]:
    """The files of a new certificate and of its key."""
    certificate, key = chart.WORK / "tls.crt", chart.WORK / "tls.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    name = ["-subj", "/CN=voxgate", "-addext", "subjectAltName=DNS:voxgate"]
    places = ["-keyout", key, "-out", certificate]
    subprocess.run([*command.split(), *name, *places], check=True, capture_output=True)
    return certificate, key
