#!/bin/sh
# Runs the client tests against target/debug/voxgate (wherever cargo's target directory is), once
# for each of the demo's voices: espeak-ng when it is on PATH, a built-in tone when it is not.
set -eu
cd -- "$(dirname -- "$0")/.."

python=$(scripts/venv.sh) || {
    code=$?
    [ "$code" -ne 77 ] || exit 0
    exit "$code"
}
folder=$("${CARGO:-cargo}" metadata --format-version 1 --no-deps |
    "$python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
VOXGATE_BIN=$folder/debug/voxgate
export VOXGATE_BIN

command -v espeak-ng >/dev/null || why=$(scripts/debian-package.sh espeak-ng) ||
    scripts/skipped.sh add espeak-ng "$why; the built-in tone voice was tested instead"

for test in tests/clients/rime_*.py; do
    if command -v espeak-ng >/dev/null; then
        echo "$test, espeak-ng speaks"
        "$python" "$test"
    fi
    echo "$test, the built-in tone speaks"
    PATH=/nonexistent "$python" "$test"
done
