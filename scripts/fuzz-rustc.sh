#!/bin/sh
# The RUSTC_WRAPPER of scripts/fuzz.sh. It compiles the parsers with coverage instrumentation, so that
# libFuzzer sees which branches an input takes and which values the code compares. Other crates are
# compiled without it: their coverage would hide that of the parsers.
#
# The flags are those of cargo-fuzz. LLVM's pass is also in a stable toolchain.
set -eu

name=
previous=
for argument; do
    [ "$previous" != --crate-name ] || name=$argument
    previous=$argument
done
case $name in
voxgate | voxgate_client_address | voxgate_forwarding | voxgate_speech | voxgate_token | base64 | percent_encoding)
    exec "$@" \
        -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$@" ;;
esac
