#!/bin/sh
# cargo's RUSTC_WRAPPER for scripts/fuzz.sh: compiles the parsers so that libFuzzer sees which of
# their branches an input takes, and what they compare it with. All else is left as it is: what the
# model does would drown what they do.
#
# The flags are those of cargo-fuzz; a stable toolchain has LLVM's pass, too.
set -eu
coverage="-Cpasses=sancov-module\
 -Cllvm-args=-sanitizer-coverage-level=4\
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters\
 -Cllvm-args=-sanitizer-coverage-pc-table\
 -Cllvm-args=-sanitizer-coverage-trace-compares"

name=
previous=
for argument; do
    [ "$previous" != --crate-name ] || name=$argument
    previous=$argument
done
case $name in
voxgate | base64 | percent_encoding) exec "$@" $coverage ;;
*) exec "$@" ;;
esac
