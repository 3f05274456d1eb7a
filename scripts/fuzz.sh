#!/bin/sh
# Fuzzes each parser of client input for FUZZ_SECONDS seconds (default: 15), one on each core.
# libFuzzer guides the inputs by coverage. It needs a C++ compiler; without one, the targets run on
# random inputs.
#
# An input that fails is written to target/fuzz/crashes/TARGET/, and the script prints how to run it
# again. After the fix, move the input to fuzz/seeds/TARGET/ under a name that describes it.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
seconds=${FUZZ_SECONDS:-15}
work=target/fuzz

builds_cxx() {
    echo '#include <algorithm>
int main() { return std::min(0, 1); }' | "${CXX:-c++}" -x c++ - -o /dev/null 2>/dev/null
}

# A profile of its own for the fuzz targets, whatever the release profile says. Most of the time of a
# short run is spent on the build.
export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \
    CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true \
    CARGO_PROFILE_RELEASE_LTO=false \
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true \
    CARGO_PROFILE_RELEASE_STRIP=none
set -- build --manifest-path fuzz/Cargo.toml --locked --release --bins --target-dir "$work"
if builds_cxx || { why=$(scripts/debian-package.sh g++) && builds_cxx; }; then
    # --target separates this build from the one without libFuzzer.
    host=$(rustc -vV | sed -n 's/^host: //p')
    RUSTC_WRAPPER=$PWD/scripts/fuzz-rustc.sh \
        "$cargo" "$@" --target "$host" --features libfuzzer
    programs=$work/$host/release
else
    scripts/skipped.sh add libfuzzer \
        "no C++ compiler (g++: ${why:-it does not help}); random inputs were used"
    "$cargo" "$@"
    programs=$work/release
fi

# xargs runs the other targets as well if one fails, and then fails itself.
find fuzz/seeds -mindepth 1 -maxdepth 1 -type d -exec basename {} \; | sort |
    xargs -P "$(getconf _NPROCESSORS_ONLN)" -n 1 scripts/fuzz-target.sh "$programs" "$seconds"
