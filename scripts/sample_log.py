#!/usr/bin/env python3
"""Prints the audit records of two months of a busy gateway, for screenshots of the report.

The records are the same at each run. Some names are long, and some are from strangers.
"""

import datetime
import json
import random

KEYS = [
    ("ivr-prod", "acme"),
    ("web", "initech"),
    ("contact-centre-of-the-northern-region-production-2026-q1", "acme"),
    ("https://identity.example.com/realms/speech/service-account-batch-synthesis", "initech"),
    ("büro-süd", "acme"),
]
REFUSALS = [
    ("unknown_credential", 401),
    ("missing_credential", 401),
    ("insufficient_scope", 403),
    ("voice_not_allowed", 403),
    ("rate_limited", 429),
]


def main():
    chance = random.Random(1)
    seq = 0
    start = datetime.datetime(2026, 3, 1, 8)

    def write(time, event, **fields):
        nonlocal seq
        seq += 1
        record = {
            "v": 1,
            "seq": seq,
            "ts": time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "instance": "027a04a293b0357d",
            "event": event,
        }
        print(json.dumps(record | fields, separators=(",", ":")))

    write(start, "start", mode="validate", dialect="rime", keys=5, config="0123456789ab")
    for number in range(1500):
        time = start + datetime.timedelta(minutes=59 * number, seconds=number % 60)
        request = {"request_id": f"019c0de0-0000-7000-8000-{number:012x}"}
        key, account = KEYS[min(int(chance.expovariate(0.8)), len(KEYS) - 1)]
        known = {"key_id": key, "account": account}
        place = {"peer": f"10.1.{chance.randrange(4)}.{chance.randrange(9)}:4000", "method": "POST"}
        place["path"] = "/v1/rime-tts"
        if chance.random() < 0.12:
            reason, status = chance.choice(REFUSALS)
            who = known
            if status == 401:
                who = {"cred_fp": f"{chance.randrange(7):016x}"} if "unknown" in reason else {}
                place["peer"] = f"[2001:db8:85a3:8d3:1319:8a2e:370:{chance.randrange(5)}]:40000"
            refusal = {"outcome": "refused", "reason": reason, "status": status}
            write(time, "decision", **refusal, **request, **who, **place)
            continue
        write(time, "decision", outcome="accepted", reason="ok", **request, **known, **place)
        write(
            time + datetime.timedelta(seconds=1),
            "complete",
            **request,
            key_id=key,
            status=chance.choice([200, 200, 200, 101]),
            ended="ok",
            duration_us=930_000,
            bytes_sent=chance.randrange(20_000, 900_000),
            characters=chance.randrange(20, 900),
            audio_ms=chance.randrange(900, 60_000),
        )
        if number in (400, 900):
            write(
                time + datetime.timedelta(seconds=2),
                "key",
                generation=2,
                change="changed",
                key_id=KEYS[2][0],
                changed_by="ann@build-1",
                changed_reason="ticket 17: voices of the new contract",
                state="active",
                rights_before="voices=cove wildflower; rate=unset",
                rights="voices=cove wildflower team-*; rate=10/s",
            )
    write(time, "policy_changed", rules_before=41, rules=43, policy="7d" * 32)


main()
