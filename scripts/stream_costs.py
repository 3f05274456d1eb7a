#!/usr/bin/env python3
"""Measures what a stream of audio costs the gateway: memory, and CPU time of its chunks.

Usage: stream_costs.py VOXGATE [STREAMS] [SECONDS]    VOXGATE is a program that was built with --release

An upstream in this process sends 4 800 bytes every 100 milliseconds on each stream, which is 24 kHz of
16 bits (PCM), in chunks over HTTP/1.1. CPU time is that of the gateway, from /proc/PID/stat, so that the
load of the machine changes it little; memory is from /proc/PID/status. The last line is the CPU time of a
request as a multiple of that of a chunk, which does not depend on the machine's speed.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time

KEY = "a-key-of-the-measurement-with-length"
PORT, UPSTREAM, ADMIN = 17801, 17802, 17803
CHUNK = b"12c0\r\n" + bytes(0x12C0) + b"\r\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\ntransfer-encoding: chunked\r\n\r\n"
EVERY = 0.1


async def upstream(reader, writer):
    """Answers each request: with one chunk, or, if its path asks for it, with a stream."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD)
            if b"stream" not in head.split(b"\r\n", 1)[0]:
                writer.write(CHUNK + b"0\r\n\r\n")
                await writer.drain()
                continue
            while True:
                writer.write(CHUNK)
                await writer.drain()
                await asyncio.sleep(EVERY)
    except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


def request(path):
    lines = f"POST {path} HTTP/1.1\r\nhost: tts\r\nauthorization: Bearer {KEY}\r\ncontent-length: 2\r\n\r\n{{}}"
    return lines.encode()


class Listener:
    """A caller that listens."""

    def __init__(self):
        self.received = 0

    async def run(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(request("/v1/rime-tts?stream"))
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(status)
        while data := await reader.read(65536):
            self.received += len(data)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


async def one_after_the_other(count):
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    for _ in range(count):
        writer.write(request("/v1/rime-tts"))
        await reader.readuntil(b"0\r\n\r\n")
    writer.close()


async def measure(pid, streams, seconds):
    await one_after_the_other(200)
    before = cpu_seconds(pid)
    requests = 5000
    await one_after_the_other(requests)
    of_request = (cpu_seconds(pid) - before) / requests
    empty = resident_kib(pid)
    listeners = [Listener() for _ in range(streams)]
    tasks = []
    for listener in listeners:
        tasks.append(asyncio.create_task(listener.run()))
        await asyncio.sleep(0.002)
    await asyncio.sleep(3)
    failed = [task.exception() for task in tasks if task.done()]
    if failed:
        raise RuntimeError(f"{len(failed)} streams ended: {failed[0]}")
    before, received, since = cpu_seconds(pid), sum(it.received for it in listeners), time.monotonic()
    await asyncio.sleep(seconds)
    cpu, took = cpu_seconds(pid) - before, time.monotonic() - since
    chunks = (sum(it.received for it in listeners) - received) / len(CHUNK)
    of_chunk = cpu / chunks
    memory = (resident_kib(pid) - empty) / streams
    print(f"streams                         {streams}, {chunks / took / streams:.1f} chunks/s each")
    print(f"memory of a stream              {memory:.0f} KiB")
    print(f"streams in a GiB                {1024 * 1024 / memory:.0f}")
    print(f"CPU time of a chunk             {of_chunk * 1e6:.0f} µs")
    print(f"CPU time of a request           {of_request * 1e6:.0f} µs")
    print(f"streams of one core, all busy   {EVERY / of_chunk:.0f}")
    print(f"a request, in chunks            {of_request / of_chunk:.1f}")
    for task in tasks:
        task.cancel()


async def main():
    program = sys.argv[1]
    streams, seconds = (int(it) for it in (sys.argv[2:] + ["1000", "15"])[:2])
    server = await asyncio.start_server(upstream, "127.0.0.1", UPSTREAM, backlog=4096)
    with tempfile.TemporaryDirectory() as work:
        environment = {
            "VOXGATE_API_KEYS": KEY,
            "VOXGATE_UPSTREAM": f"http://127.0.0.1:{UPSTREAM}",
            "VOXGATE_LISTEN": f"127.0.0.1:{PORT}",
            "VOXGATE_ADMIN_LISTEN": f"127.0.0.1:{ADMIN}",
            "VOXGATE_AUDIT_DIR": os.path.join(work, "audit"),
        }
        log = open(os.path.join(work, "log"), "w+")
        gateway = subprocess.Popen([program, "serve"], env=environment, stdout=log, stderr=log)
        try:
            for _ in range(100):
                await asyncio.sleep(0.1)
                try:
                    (await asyncio.open_connection("127.0.0.1", PORT))[1].close()
                    break
                except OSError:
                    continue
            await measure(gateway.pid, streams, seconds)
        except Exception:
            log.seek(0)
            print(log.read()[-2000:], file=sys.stderr)
            raise
        finally:
            gateway.terminate()
            gateway.wait()
            server.close()


asyncio.run(main())
