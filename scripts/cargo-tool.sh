#!/bin/sh
# Installs a Cargo tool into target/tools, at the version that the caller names, and prints the path
# of its program. It is quick if that version is already there.
#
# Usage: cargo-tool.sh NAME VERSION [CARGO-INSTALL-ARGUMENT]...
#
# Exit code 77 means that the tool cannot be installed here. The reason is in the list of skipped
# checks, under NAME.
set -eu
cd -- "$(dirname -- "$0")/.."
[ $# -ge 2 ] || {
    echo "usage: $0 NAME VERSION [CARGO-INSTALL-ARGUMENT]..." >&2
    exit 64
}
cargo=${CARGO:-cargo}
name=$1
version=$2
shift 2
program=$PWD/target/tools/bin/$name
log=target/tools-$name.log

# is_current PROGRAM: whether it exists and has the wanted version. It is called as cargo calls it.
is_current() {
    found=$("$1" "${name#cargo-}" --version 2>/dev/null) && [ "${found##* }" = "$version" ]
}

if is_current "$program"; then
    echo "$program"
    exit 0
fi
if is_current "$name"; then
    command -v "$name"
    exit 0
fi

echo "installing $name $version into target/tools; this takes some minutes (see $log)" >&2
mkdir -p target
# The build is not optimized: compiling takes longer than all that the tool does here.
export CARGO_INCREMENTAL=0 \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    CARGO_PROFILE_RELEASE_DEBUG=0 \
    CARGO_PROFILE_RELEASE_LTO=off \
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 \
    CARGO_TARGET_DIR=target/tools-build
"$cargo" install --locked --root target/tools "$@" "$name@$version" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    scripts/skipped.sh add "$name" "cargo could not install version $version (see $log)" >&2
    exit 77
}
rm -rf target/tools-build
is_current "$program" || {
    echo "error: $program does not have version $version" >&2
    exit 1
}
echo "$program"
