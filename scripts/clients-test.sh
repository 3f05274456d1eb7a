#!/bin/sh
# Runs one test of tests/clients, and prints its output when it has ended. scripts/clients.sh runs one
# on each core.
#
# Usage: clients-test.sh PYTHON TEST
set -eu
cd -- "$(dirname -- "$0")/.."
mkdir -p target/clients
log=target/clients/$(basename "$2" .py).log
status=0
"$1" "$2" >"$log" 2>&1 || status=$?
echo "$2
$(cat "$log")"
exit "$status"
