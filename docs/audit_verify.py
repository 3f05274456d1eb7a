#!/usr/bin/env python3
"""Verifies the chain of an audit log: python3 audit_verify.py DIRECTORY

Everything it knows is in reference/audit-log.md, section "The file". It prints the first bad place as file:line
and ends with 1, or says how long the log is. It looks at no signature and no `seq`, and takes a
line that a crash has torn for a bad one."""

import hashlib
import json
import pathlib
import sys


def opening(path):
    """The first line of a segment."""
    with path.open("rb") as file:
        return json.loads(file.readline())


def bad(segment, line):
    sys.exit(print(f"audit-{segment:012}.jsonl:{line}") or 1)


def verify(directory):
    paths = sorted(pathlib.Path(directory).glob("audit-*.jsonl"))
    first = opening(paths[0])
    chain, count = bytes.fromhex(first["previous"]), first["lines"]
    for number, path in enumerate(paths, first["segment"]):
        if path.name != f"audit-{number:012}.jsonl":
            bad(number, 1)
        # The next segment says how this one ended, and how much of it belongs to the log.
        following = opening(paths[number - first["segment"] + 1]) if path != paths[-1] else {}
        data = path.read_bytes()
        lines = data[: following.get("end")].splitlines(keepends=True)
        for at, line in enumerate(lines, 1):
            body, _, rest = line.rpartition(b',"chain":"')
            chain = hashlib.sha256(chain + body).digest()
            if rest != chain.hex().encode() + b'"}\n':
                bad(number, at)
            fields = json.loads(line)
            if at == 1 and (fields["segment"], fields["lines"]) != (number, count):
                bad(number, at)
            count += 1
        if following:
            follows, sealed = following["follows"], fields.get("event") == "segment_seal"
            cut = len(data) < following["end"]
            longer = follows == "sealed" and len(data) > following["end"]
            if cut or longer or follows == "damaged" or sealed != (follows == "sealed"):
                bad(number, len(lines) + 1)
    print(f"{count} lines, chain {chain.hex()}")


verify(sys.argv[1])
