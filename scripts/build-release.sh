#!/bin/sh
# Builds the program like a release: the same source gives the same file in each folder and for each user,
# because the file names in messages begin at the source, not at the root of the machine.
#
# Usage: build-release.sh [ARGUMENT OF CARGO]...
#
# PROFILE names cargo's profile (default: release).
set -eu
cd -- "$(dirname -- "$0")/.."

source=$(pwd -P)
target=${CARGO_TARGET_DIR:-$source/target}
home=${CARGO_HOME:-$HOME/.cargo}
# rustc takes the last prefix that fits, and the target directory is usually in the source.
flags="--remap-path-prefix=$home=/cargo"
for pair in "$source=/voxgate" "$target=/voxgate/target"; do
    flags=$(printf '%s\037%s' "$flags" "--remap-path-prefix=$pair")
done
CARGO_ENCODED_RUSTFLAGS=$flags
# For dependencies in C.
CFLAGS="${CFLAGS-} -ffile-prefix-map=$home=/cargo -ffile-prefix-map=$target=/voxgate/target"
export CARGO_ENCODED_RUSTFLAGS CFLAGS

exec "${CARGO:-cargo}" build --profile "${PROFILE:-release}" --locked --package voxgate-gateway \
    --features otlp --bin voxgate "$@"
