#!/bin/sh
# Renders the chart in helm/ with two versions of Helm. tests/chart checks the result against the
# Kubernetes schemas, against the program `voxgate` in cargo's target directory (target/debug), and
# against the chart's documentation.
#
# Helm comes from two npm packages, so these tests need Node.
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

"$python" -m pytest --quiet -p no:cacheprovider --numprocesses "$(getconf _NPROCESSORS_ONLN)" tests/chart
