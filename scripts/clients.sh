#!/bin/sh
# Runs vendors' own clients through target/debug/voxgate (wherever cargo's target directory is):
# each of tests/clients/<vendor>_<client>.py, one after the other. Rime's run against the demo, once
# for each of its voices: espeak-ng when it is on PATH, a built-in tone when it is not.
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
    scripts/skipped.sh add espeak-ng "$why; the built-in tone voice was tested instead"

for test in tests/clients/*_*.py; do
    case $test in
    */rime_*)
        if command -v espeak-ng >/dev/null; then
            echo "$test, espeak-ng speaks"
            "$python" "$test"
        fi
        echo "$test, the built-in tone speaks"
        PATH=/nonexistent "$python" "$test"
        ;;
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
