#!/bin/sh
# Fuzzes each parser of untrusted input for FUZZ_SECONDS (30): with libFuzzer, guided by coverage, or
# with random input if there is no C++ compiler to build libFuzzer.
#
# Crashes are in target/fuzz/crashes/TARGET/; the program that this prints runs one again. When it is
# fixed, move it to fuzz/seeds/TARGET/ under a name that describes it.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
seconds=${FUZZ_SECONDS:-30}
work=target/fuzz

builds_cxx() {
    echo '#include <algorithm>
int main() { return std::min(0, 1); }' | "${CXX:-c++}" -x c++ - -o /dev/null 2>/dev/null
}

set -- build -p voxgate-fuzz --locked --profile fuzz --bins --target-dir "$work"
if builds_cxx || { why=$(scripts/debian-package.sh g++) && builds_cxx; }; then
    # With --target, this build and the other one do not take each other's place.
    host=$(rustc -vV | sed -n 's/^host: //p')
    RUSTC_WRAPPER=$PWD/scripts/fuzz-rustc.sh \
        "$cargo" "$@" --target "$host" --features libfuzzer
    programs=$work/$host/fuzz
else
    scripts/skipped.sh add 'coverage-guided fuzzing' \
        "no C++ compiler (g++: ${why:-of no help}); the same targets ran on random inputs"
    "$cargo" "$@"
    programs=$work/fuzz
fi

for seeds in fuzz/seeds/*/; do
    target=$(basename "$seeds")
    corpus=$work/corpus/$target
    crashes=$work/crashes/$target
    log=$work/$target.log
    mkdir -p "$corpus" "$crashes"
    echo "fuzzing $target for $seconds seconds"
    if ! "$programs/$target" -max_total_time="$seconds" -max_len=200 \
        -dict=fuzz/words.dict -artifact_prefix="$crashes/" "$corpus" "$seeds" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "$target: found something; run it again with $programs/$target FILE" >&2
        exit 1
    fi
    tail -n 1 "$log"
done
