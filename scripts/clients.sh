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

for test in tests/clients/*_*.py; do
    case $test in
    */*_node.py)
        # Without Node, the list of what was skipped already says why.
        [ -n "$VOXGATE_NODE_MODULES" ] || continue
        echo "$test"
        "$python" "$test"
        ;;
    */*_browser.py)
        if ! (cd tests/clients && "$python" -c 'import browser, sys; sys.exit(not browser.find())'); then
            scripts/skipped.sh add 'tests/clients in a browser' 'Chromium is not installed' >&2
            continue
        fi
        echo "$test"
        "$python" "$test"
        ;;
    *)
        echo "$test"
        "$python" "$test"
        ;;
    esac
done
