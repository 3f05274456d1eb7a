#!/usr/bin/env python3
"""Verifies the chain of an audit log: python3 audit_verify.py DIRECTORY

It knows what reference/audit-log.md, section "The file", says. It prints the first bad place as
file:line and ends with 1, or prints the length of the log. It ends with 5 if the log says that lines
were lost, with 4 if there is no log, and with 7 if lines are redacted. It checks no signature and no `seq`,
so that it does not detect a rewritten log or a missing end, nor that an edit pretends to be a redaction,
and a line that a crash has torn is bad to it.
"""

import hashlib
import json
import pathlib
import sys


def opening(path):
    """The first line of a segment; nothing if there is none that can be read."""
    try:
        fields = json.loads(contents(path).partition(b"\n")[0])
        return fields if fields["event"] == "segment_open" else {}
    except (ValueError, KeyError, TypeError):
        return {}


def contents(path):
    """A segment is a regular file, and no symbolic link."""
    return b"" if path.is_symlink() else path.read_bytes()


def redactions(path):
    """What is known of the redacted lines of a segment: (number, chain, SHA-256) and their fields."""
    found, statement = {}, b""
    path = path.with_suffix(".redacted")
    for line in contents(path).splitlines(keepends=True) if path.exists() else []:
        fields = json.loads(line)
        if "line" in fields:
            key = fields["line"], fields["chain"], fields["sha256"]
            found[key] = fields["fields"].split()
        elif fields["event"] == "redaction_end":
            if hashlib.sha256(statement).hexdigest() != fields["sha256"]:
                raise ValueError(path.name)
            statement = b""
            continue
        statement += line
    return found


def redacted(line, number, listed):
    """The chain of a redacted line, if it is as its list says: its fields are masked or replaced."""
    try:
        fields, digits = json.loads(line), line[-67:-3].decode()
        names = listed[number, digits, hashlib.sha256(line[:-1]).hexdigest()]
        replaced = {"request_id", "trace_id"}
        masked = all(name in replaced or not fields[name].strip("*") for name in names)
        return bytes.fromhex(digits) if "seq" in fields and masked else None
    except (ValueError, KeyError):
        return None


def bad(segment, line):
    sys.exit(print(f"audit-{segment:012}.jsonl:{line}") or 1)


def verify(directory):
    paths = sorted(pathlib.Path(directory).glob("audit-*.jsonl"))
    number, chain, count, lost, holes, removed = 0, bytes(32), 0, set(), [], 0
    for index, path in enumerate(paths):
        number += 1
        begin = opening(path)
        if path.name != f"audit-{number:012}.jsonl":
            # Segments are missing. This one says where the log was before it.
            if path.name != f"audit-{begin.get('segment', 0):012}.jsonl":
                bad(number, 1)
            holes += [(missing, count + 1) for missing in range(number, begin["segment"])]
            number, count = begin["segment"], begin["lines"]
            chain = bytes.fromhex(begin["previous"])
        # The next segment says how this one ended, and how much of it belongs to the log.
        following = opening(paths[index + 1]) if path != paths[-1] else {}
        follows = following.get("follows") if following.get("segment") == number + 1 else None
        data = contents(path)
        lines = data[: following.get("end") if follows else None].splitlines(keepends=True)
        fields = {}
        try:
            listed = redactions(path)
        except (ValueError, KeyError, TypeError):
            bad(number, 1)
        for at, line in enumerate(lines, 1):
            body, _, rest = line.rpartition(b',"chain":"')
            after = hashlib.sha256(chain + body).digest()
            if rest != after.hex().encode() + b'"}\n':
                after = redacted(line, at, listed)
                if not after and follows == "lost":
                    break
                if not after:
                    bad(number, at)
                removed += 1
            fields = json.loads(line)
            if at == 1 and (fields["segment"], fields["lines"]) != (number, count):
                bad(number, at)
            if fields["event"] == "segments_lost":
                lost.update(range(fields["from"], fields["to"] + 1))
            if fields["event"] == "retention":
                holes = [hole for hole in holes if hole[0] > fields["to"]]
            chain, count = after, count + 1
        if follows == "lost" and count < following["lines"]:
            holes.append((number, count + 1))
            chain, count = bytes.fromhex(following["previous"]), following["lines"]
        elif follows and follows != "lost":
            sealed = fields.get("event") == "segment_seal"
            cut = len(data) < following["end"]
            longer = follows == "sealed" and len(data) > following["end"]
            if cut or longer or follows == "damaged" or sealed != (follows == "sealed"):
                bad(number, len(lines) + 1)
    for segment, _ in holes:
        if segment not in lost:
            bad(segment, 1)
    if not count:
        sys.exit(print("there is no audit log") or 4)
    print(f"{count} lines, chain {chain.hex()}")
    for segment, line in holes[:1]:
        sys.exit(print(f"lines are lost from line {line} on, in segment {segment}") or 5)
    if removed:
        sys.exit(print(f"{removed} lines are redacted; whether a key has signed that was not checked") or 7)


if len(sys.argv) != 2:
    sys.exit("usage: audit_verify.py DIRECTORY")
verify(sys.argv[1])
