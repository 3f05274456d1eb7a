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
# A real page opens WebSockets. Chromium is a Debian package.
if ! VOXGATE_CHROMIUM=$(command -v chromium); then
    if why=$(scripts/debian-package.sh chromium); then
        VOXGATE_CHROMIUM=$(command -v chromium)
    else
        scripts/skipped.sh add "tests/clients in a browser" "chromium is $why" >&2
        VOXGATE_CHROMIUM=
    fi
fi
folder=$("${CARGO:-cargo}" metadata --format-version 1 --no-deps |
    "$python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
VOXGATE_BIN=$folder/debug/voxgate
export VOXGATE_BIN VOXGATE_CHROMIUM VOXGATE_NODE_MODULES

for test in tests/clients/*_*.py; do
    case $test in
    */*_node.py)
        # Without Node, the list of what was skipped already says why.
        [ -n "$VOXGATE_NODE_MODULES" ] || continue
        echo "$test"
        "$python" "$test"
        ;;
    */*_browser.py)
        [ -n "$VOXGATE_CHROMIUM" ] || continue
        echo "$test"
        "$python" "$test"
        ;;
    *)
        echo "$test"
        "$python" "$test"
        ;;
    esac
done
