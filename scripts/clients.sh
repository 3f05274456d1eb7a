#!/bin/sh
# Runs vendors' own clients through target/debug/voxgate (wherever cargo's target directory is):
# each of tests/clients/<vendor>_<client>.py, one after the other. Rime's run against the demo.
set -eu
cd -- "$(dirname -- "$0")/.."

python=$(scripts/venv.sh clients) || {
    code=$?
    [ "$code" -ne 77 ] || exit 0
    exit "$code"
}
VOXGATE_NODE_MODULES=$(scripts/node.sh clients) || {
    code=$?
    [ "$code" -eq 77 ] || exit "$code"
    VOXGATE_NODE_MODULES=
}
folder=$("${CARGO:-cargo}" metadata --format-version 1 --no-deps |
    "$python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
VOXGATE_BIN=$folder/debug/voxgate
export VOXGATE_BIN VOXGATE_NODE_MODULES

# The test itself lists what it skips.
command -v nginx /usr/sbin/nginx >/dev/null || scripts/debian-package.sh nginx-light >&2 || true

for test in tests/clients/*_*.py; do
    case $test in
    */*_node.py)
        # Without Node, the list of what was skipped already says why.
        [ -n "$VOXGATE_NODE_MODULES" ] || continue
        echo "$test"
        "$python" "$test"
        ;;
    *)
        echo "$test"
        "$python" "$test"
        ;;
    esac
done
