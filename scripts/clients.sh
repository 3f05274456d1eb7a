#!/bin/sh
# Runs the vendors' own clients through the program `voxgate` in cargo's target directory
# (target/debug): each tests/clients/<vendor>_<client>.py, one after the other. Rime's client runs
# against the demo, once for each voice of the demo: espeak-ng, and the built-in tone, which the demo
# uses if espeak-ng is not on PATH.
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

command -v espeak-ng >/dev/null || why=$(scripts/debian-package.sh espeak-ng) ||
    scripts/skipped.sh add espeak-ng "$why; only the built-in tone was tested"

for test in tests/clients/*_*.py; do
    case $test in
    */rime_*)
        if command -v espeak-ng >/dev/null; then
            echo "$test, voice: espeak-ng"
            "$python" "$test"
        fi
        echo "$test, voice: built-in tone"
        PATH=/nonexistent "$python" "$test"
        ;;
    */*_node.py)
        # Without Node, the list of skipped checks already has the reason.
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
