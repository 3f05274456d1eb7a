"""Measures Voxgate beside nginx, HAProxy, Envoy and a bare hyper proxy, in turns within one run.

scripts/bench-proxies.sh installs and builds what it needs; see there. The proxy has one core, the load
and the upstream share another. CPU time is user and system time of all processes of the proxy, from
/proc/PID/stat. Each figure is the median of the rounds.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

KEYS = 1000
CASES = {  # name: (connections, what CPU time is divided by)
    "speech": (32, "request"),
    "refused": (32, "request"),
    "mebibyte": (8, "answer"),
    "events": (8, "answer of 200 chunks"),
    "websocket": (32, "echo"),
    "http2": (4, "request"),
    "first-byte": (1, "request"),
}
TITLES = {
    "speech": "accepted, 4 KiB",
    "refused": "refused",
    "mebibyte": "1 MiB answer",
    "events": "200 chunks (SSE)",
    "websocket": "WebSocket echo",
    "http2": "HTTP/2 in front",
    "first-byte": "first byte, low load",
}
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
FIRST_PORT = 17100


def processes(root):
    """A process and all that it started."""
    found, parents = [root], {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat:
                parents[int(name)] = int(stat.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def cpu_seconds(root):
    ticks = 0
    for pid in processes(root):
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def resident_bytes(root):
    pages = 0
    for pid in processes(root):
        with open(f"/proc/{pid}/statm") as statm:
            pages += int(statm.read().split()[1])
    return pages * PAGE


class Proxy:
    """A proxy that runs on the proxies' core."""

    def __init__(self, name, port, command, environment=None, output=None, http2_port=None):
        self.name, self.port, self.http2_port = name, port, http2_port or port
        output = open(output, "wb") if output else subprocess.DEVNULL
        self.log = open(os.path.join(ARGUMENTS.work, f"{name.split()[0]}-{port}.err"), "w+b")
        self.process = subprocess.Popen(
            ["taskset", "-c", ARGUMENTS.proxy_core, *command],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL, stdout=output, stderr=self.log,
        )

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def write(name, text):
    path = os.path.join(ARGUMENTS.work, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def voxgate(port, keys, upstream, name, program, audit):
    environment = {
        "VOXGATE_UPSTREAM": f"http://{upstream}",
        "VOXGATE_LISTEN": f"127.0.0.1:{port}",
        "VOXGATE_ADMIN_LISTEN": f"127.0.0.1:{port + 50}",
        "VOXGATE_KEYS_FILE": keys,
        "VOXGATE_DIALECT": "bearer",
        "VOXGATE_CONNECTIONS_PER_CLIENT": "4000",
    }
    output = None
    # The load fails to authenticate from one address.
    environment["VOXGATE_LIMIT_AUTH_FAILURES"] = "0"
    if audit:
        environment["VOXGATE_AUDIT_DIR"] = os.path.join(ARGUMENTS.work, f"audit-{port}")
    else:
        output = os.path.join(ARGUMENTS.work, f"records-{port}")
    return Proxy(name, port, [program, "serve"], environment, output)


def nginx(port, tokens, upstream):
    # nginx compares the keys of a map without case. It has no other table that is looked up by hash.
    keys = "\n".join(f'"Bearer {token}" 1;' for token in tokens)
    log = os.path.join(ARGUMENTS.work, "nginx.access")
    config = write("nginx.conf", f"""
daemon off; worker_processes 1; pid {ARGUMENTS.work}/nginx.pid; error_log stderr error;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
  access_log {log} combined buffer=64k flush=1s;
  client_body_temp_path {ARGUMENTS.work}/body; proxy_temp_path {ARGUMENTS.work}/proxy;
  fastcgi_temp_path {ARGUMENTS.work}/f; uwsgi_temp_path {ARGUMENTS.work}/u; scgi_temp_path {ARGUMENTS.work}/s;
  map_hash_max_size 8192; map_hash_bucket_size 256;
  map $http_authorization $known {{ default 0; {keys} }}
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  keepalive_requests 1000000000; tcp_nodelay on;
  upstream tts {{ server {upstream}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port}; listen 127.0.0.1:{port + 1} http2;
    location / {{
      if ($known = 0) {{ return 401 'a valid key is required'; }}
      proxy_pass http://tts; proxy_http_version 1.1; proxy_buffering off; proxy_buffer_size 16k; proxy_buffers 8 16k;
      proxy_set_header Connection $connection_upgrade; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Request-Id $request_id;
    }}
  }}
}}
""")
    return Proxy("nginx", port, ["nginx", "-c", config], http2_port=port + 1)


def haproxy(port, tokens, upstream):
    keys = write("haproxy.keys", "\n".join(f"Bearer {token}" for token in tokens) + "\n")
    config = write("haproxy.cfg", f"""
global
  nbthread 1
  maxconn 8000
  log stdout len 1024 format raw local0
defaults
  mode http
  log global
  option httplog
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  http-reuse always
frontend in
  bind 127.0.0.1:{port}
  bind 127.0.0.1:{port + 1} proto h2
  http-request deny deny_status 401 unless {{ req.hdr(authorization) -f {keys} }}
  default_backend tts
backend tts
  option forwardfor
  server tts {upstream} pool-max-conn 128
""")
    output = os.path.join(ARGUMENTS.work, "haproxy.access")
    return Proxy("HAProxy", port, ["haproxy", "-db", "-f", config], output=output, http2_port=port + 1)


def envoy(port, tokens, upstream):
    host, upstream_port = upstream.rsplit(":", 1)
    types = "type.googleapis.com/envoy.extensions"
    credentials = [{"key": token, "client": f"key-{at}"} for at, token in enumerate(tokens)]
    config = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port + 50}}},
        "static_resources": {
            "listeners": [{
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [{"filters": [{
                    "name": "hcm",
                    "typed_config": {
                        "@type": f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "in",
                        "codec_type": "AUTO",
                        "upgrade_configs": [{"upgrade_type": "websocket"}],
                        "access_log": [{
                            "name": "file",
                            "typed_config": {
                                "@type": f"{types}.access_loggers.file.v3.FileAccessLog",
                                "path": os.path.join(ARGUMENTS.work, "envoy.access"),
                            },
                        }],
                        "route_config": {"virtual_hosts": [{
                            "name": "all", "domains": ["*"],
                            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "tts", "timeout": "0s"}}],
                        }]},
                        "http_filters": [{
                            "name": "keys",
                            "typed_config": {
                                "@type": f"{types}.filters.http.api_key_auth.v3.ApiKeyAuth",
                                "credentials": credentials,
                                "key_sources": [{"header": "Authorization"}],
                            },
                        }, {
                            "name": "router",
                            "typed_config": {"@type": f"{types}.filters.http.router.v3.Router"},
                        }],
                    },
                }]}],
            }],
            "clusters": [{
                "name": "tts", "type": "STATIC",
                "circuit_breakers": {"thresholds": [{
                    "max_connections": 10000, "max_pending_requests": 10000, "max_requests": 10000}]},
                "load_assignment": {"cluster_name": "tts", "endpoints": [{"lb_endpoints": [{
                    "endpoint": {"address": {"socket_address": {
                        "address": host, "port_value": int(upstream_port)}}}}]}]},
            }],
        },
    }
    path = write("envoy.json", json.dumps(config))
    command = [ARGUMENTS.envoy, "-c", path, "--concurrency", "1", "--log-level", "error",
               "--disable-hot-restart"]
    return Proxy("Envoy", port, command)


def load(case, port, connections, seconds, tokens):
    command = ["taskset", "-c", ARGUMENTS.load_core, ARGUMENTS.tools, "load", case,
               f"127.0.0.1:{port}", str(connections), str(seconds), tokens]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{case} at port {port}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def wait_until_ready(proxy, tokens):
    for _ in range(100):
        try:
            result = load("speech", proxy.port, 1, 0.05, tokens)
            if result["requests"] and not result["failed"]:
                return
        except RuntimeError:
            if proxy.process.poll() is not None:
                break
            time.sleep(0.1)
    proxy.log.seek(0)
    sys.exit(f"error: {proxy.name} does not serve:\n{proxy.log.read().decode(errors='replace')[-2000:]}")


def measure(proxy, case, tokens):
    connections, _ = CASES[case]
    port = proxy.http2_port if case == "http2" else proxy.port
    pid = proxy.process.pid if proxy.process else None
    before = cpu_seconds(pid) if pid else 0
    result = load(case, port, connections, ARGUMENTS.seconds, tokens)
    after = cpu_seconds(pid) if pid else 0
    # A proxy may close a connection now and then.
    if result["failed"] > result["requests"] / 100:
        raise RuntimeError(f"{proxy.name}, {case}: {result['failed']} requests failed")
    return {
        "cpu": (after - before) * 1e6 / max(result["requests"], 1),
        "rate": result["requests"] / result["seconds"],
        "p50": result["p50_us"],
        "p99": result["p99_us"],
    }


def idle_tunnels(proxy, tokens):
    """Bytes of memory of each idle tunnel."""
    before = resident_bytes(proxy.process.pid)
    command = ["taskset", "-c", ARGUMENTS.load_core, ARGUMENTS.tools, "load", "idle",
               f"127.0.0.1:{proxy.port}", str(ARGUMENTS.tunnels), "0", tokens]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if holder.stdout.readline().strip() != "open":
            return None
        return (resident_bytes(proxy.process.pid) - before) / ARGUMENTS.tunnels
    finally:
        holder.stdin.close()
        holder.wait()


class Direct:
    """The upstream without a proxy."""

    def __init__(self, port):
        self.name, self.port, self.http2_port, self.process = "no proxy", port, port, None


def table(proxies, results, field, cases, base, unit):
    columns = [TITLES[case] for case in cases]
    print("| | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    for proxy in proxies:
        cells = []
        for case in cases:
            values, of_base = results[proxy.name, case], results[base, case]
            if not values or not of_base:
                cells.append("–")
                continue
            value = statistics.median(result[field] for result in values)
            # Each round is compared with the other proxy's of the same round.
            ratios = [one[field] / two[field] for one, two in zip(values, of_base) if two[field]]
            ratio = f" ({statistics.median(ratios):.2f})" if ratios else ""
            cells.append(f"{value:.{1 if value < 100 else 0}f}{unit}{ratio}")
        print(f"| {proxy.name} | " + " | ".join(cells) + " |")
    print()


def main():
    tokens = []
    with open(ARGUMENTS.tokens) as file:
        tokens = file.read().split()
    upstream = f"127.0.0.1:{FIRST_PORT}"
    server = subprocess.Popen(["taskset", "-c", ARGUMENTS.load_core, ARGUMENTS.tools, "upstream", upstream])
    proxies = []
    try:
        wanted = ARGUMENTS.only.split(",") if ARGUMENTS.only else None
        port = FIRST_PORT + 100
        for name in ["nginx", "HAProxy", "Envoy", "bare hyper", "Voxgate", "Voxgate to stdout", "other"]:
            port += 100
            if wanted and name not in wanted:
                continue
            if name == "nginx" and shutil.which("nginx"):
                proxies.append(nginx(port, tokens, upstream))
            elif name == "HAProxy" and shutil.which("haproxy"):
                proxies.append(haproxy(port, tokens, upstream))
            elif name == "Envoy" and ARGUMENTS.envoy:
                proxies.append(envoy(port, tokens, upstream))
            elif name == "bare hyper":
                command = [ARGUMENTS.tools, "bare", f"127.0.0.1:{port}", upstream]
                proxies.append(Proxy(name, port, command))
            elif name == "Voxgate":
                proxies.append(voxgate(port, ARGUMENTS.keys, upstream, name, ARGUMENTS.voxgate, True))
            elif name == "Voxgate to stdout":
                proxies.append(voxgate(port, ARGUMENTS.keys, upstream, name, ARGUMENTS.voxgate, False))
            elif name == "other" and ARGUMENTS.other:
                proxies.append(voxgate(port, ARGUMENTS.keys, upstream, name, ARGUMENTS.other, True))
            else:
                print(f"{name} is not installed and left out", file=sys.stderr)
                continue
            wait_until_ready(proxies[-1], ARGUMENTS.tokens)
        cases = ARGUMENTS.cases.split(",") if ARGUMENTS.cases else list(CASES)
        subjects = [*proxies, Direct(FIRST_PORT)]
        results = {(proxy.name, case): [] for proxy in subjects for case in cases}
        unsupported = {("no proxy", case) for case in cases if case != "first-byte"}
        unsupported.add(("bare hyper", "refused"))
        for turn in range(ARGUMENTS.rounds + 1):
            for case in cases:
                # Not always in the same order: each proxy follows each other one.
                shift = turn % len(subjects)
                for proxy in subjects[shift:] + subjects[:shift]:
                    if (proxy.name, case) in unsupported:
                        continue
                    try:
                        result = measure(proxy, case, ARGUMENTS.tokens)
                    except RuntimeError as error:
                        print(f"left out: {error}", file=sys.stderr)
                        unsupported.add((proxy.name, case))
                        results[proxy.name, case] = []
                        continue
                    if turn > 0:  # The first round warms up.
                        results[proxy.name, case].append(result)
        base = ARGUMENTS.base
        if base not in [proxy.name for proxy in proxies]:
            base = proxies[0].name
        loaded = [case for case in cases if case != "first-byte"]
        print(f"{ARGUMENTS.rounds} rounds of {ARGUMENTS.seconds} s in turns; in brackets: relative to {base}.\n")
        for title, field, unit in [("CPU time for each, in µs", "cpu", ""), ("Median time, in µs", "p50", ""),
                                   ("99th percentile, in µs", "p99", ""), ("Number a second", "rate", "")]:
            print(f"**{title}**\n")
            table(proxies, results, field, loaded, base, unit)
        if "first-byte" in cases and results["no proxy", "first-byte"]:
            direct = statistics.median(one["p50"] for one in results["no proxy", "first-byte"])
            print("**Delay of the first byte at 100 requests a second, in µs, beyond the upstream's "
                  f"{direct:.0f} µs**\n")
            for proxy in proxies:
                values = results[proxy.name, "first-byte"]
                if values:
                    print(f"- {proxy.name}: {statistics.median(one['p50'] for one in values) - direct:.0f}")
            print()
        if ARGUMENTS.tunnels:
            print(f"**Memory of an idle tunnel, of {ARGUMENTS.tunnels}, in KiB**\n")
            for proxy in proxies:
                each = idle_tunnels(proxy, ARGUMENTS.tokens)
                print(f"- {proxy.name}: " + ("–" if each is None else f"{each / 1024:.1f}"))
            print()
        print("nginx compares keys with `map`, without case. The bare hyper proxy compares no keys and "
              "writes no records.")
    finally:
        for proxy in proxies:
            proxy.stop()
        server.terminate()
        server.wait()


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", required=True, help="the program voxgate-bench-proxies")
    parser.add_argument("--voxgate", required=True, help="the program voxgate")
    parser.add_argument("--other", help="another build of voxgate, to compare with")
    parser.add_argument("--envoy", help="the program envoy")
    parser.add_argument("--only", help="names of proxies, separated by commas")
    parser.add_argument("--cases", help="names of cases, separated by commas")
    parser.add_argument("--base", default="nginx", help="the proxy that the others are compared with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--tunnels", type=int, default=1000)
    parser.add_argument("--proxy-core", default="1")
    parser.add_argument("--load-core", default="0")
    return parser.parse_args()


if __name__ == "__main__":
    ARGUMENTS = parse()
    with tempfile.TemporaryDirectory(prefix="voxgate-bench-") as ARGUMENTS.work:
        import hashlib
        import secrets

        tokens = [secrets.token_urlsafe(40)[:53] for _ in range(KEYS)]
        ARGUMENTS.tokens = write("tokens", "\n".join(tokens) + "\n")
        ARGUMENTS.keys = write("keys.toml", "".join(
            f'[[key]]\nid = "key-{at}"\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n'
            for at, token in enumerate(tokens)))
        main()
