#!/bin/sh
# Checks the dependencies against deny.toml with cargo-deny, which scripts/cargo-tool.sh installs.
set -eu
cd -- "$(dirname -- "$0")/.."
version=0.20.2

# Without its default features, cargo-deny fetches with the git program, and needs no C library.
deny=$(scripts/cargo-tool.sh cargo-deny "$version" --no-default-features) || {
    code=$?
    [ "$code" -ne 77 ] || exit 0
    exit "$code"
}
"$deny" --locked --workspace check --hide-inclusion-graph bans licenses sources
# Without the advisory database, nothing is known about the dependencies.
if "$deny" --locked fetch db; then
    "$deny" --locked --workspace check --disable-fetch advisories
else
    scripts/skipped.sh add advisories 'the advisory database could not be fetched'
fi
