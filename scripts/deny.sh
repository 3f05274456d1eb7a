#!/bin/sh
# Checks the dependencies against deny.toml with cargo-deny, which it installs from its crate, pinned,
# into target/tools. It is built with little optimisation: it runs for seconds.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
version=0.20.2
tools=target/tools

if [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
    echo "installing cargo-deny $version" >&2
    CARGO_TARGET_DIR=$PWD/$tools/build CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        "$cargo" install --quiet --locked --root "$tools" --no-default-features \
        "cargo-deny@$version"
    rm -rf "$tools/build"
fi
deny=$tools/bin/cargo-deny
"$deny" --locked check --hide-inclusion-graph bans licenses sources
# A database that cannot be fetched says nothing about the dependencies.
if "$deny" --locked fetch db; then
    "$deny" --locked check --disable-fetch advisories
else
    scripts/skipped.sh add advisories 'the advisory database could not be fetched'
fi
