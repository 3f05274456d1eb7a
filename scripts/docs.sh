#!/bin/sh
# Runs the documentation with target/debug/voxgate (wherever cargo's target directory is): the blocks
# of README.md and docs/, and checks of their links and settings. Then it plants mistakes, which the
# same checks have to find.
#
# VOXGATE_BIN names another program.
set -eu
cd -- "$(dirname -- "$0")/.."
python=${PYTHON:-python3}

for program in "$python" curl openssl; do
    command -v "$program" >/dev/null || {
        scripts/skipped.sh add documentation "$program is not installed"
        exit 0
    }
done
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    scripts/skipped.sh add documentation "$("$python" --version); 3.11 is needed"
    exit 0
}
if [ -z "${VOXGATE_BIN-}" ]; then
    folder=$("${CARGO:-cargo}" metadata --format-version 1 --no-deps |
        "$python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    VOXGATE_BIN=$folder/debug/voxgate
fi
export VOXGATE_BIN PYTHONDONTWRITEBYTECODE=1

"$python" tests/docs/run.py
"$python" tests/docs/run.py --planted
