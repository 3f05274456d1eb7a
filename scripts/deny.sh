#!/bin/sh
# Checks the dependencies against deny.toml, if cargo-deny is installed.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}

if ! "$cargo" deny --version >/dev/null 2>&1; then
    scripts/skipped.sh add cargo-deny 'not installed (cargo install --locked cargo-deny)'
    exit 0
fi
"$cargo" deny --locked check --hide-inclusion-graph bans licenses sources
# A database that cannot be fetched says nothing about the dependencies.
if "$cargo" deny --locked fetch db; then
    "$cargo" deny --locked check --disable-fetch advisories
else
    scripts/skipped.sh add advisories 'the advisory database could not be fetched'
fi
