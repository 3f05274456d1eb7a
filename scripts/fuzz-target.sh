#!/bin/sh
# Runs one fuzz target, and prints the last line of its log. scripts/fuzz.sh runs one on each core.
#
# Usage: fuzz-target.sh PROGRAMS SECONDS TARGET
#
# PROGRAMS is the folder with the built targets.
set -eu
cd -- "$(dirname -- "$0")/.."
programs=$1
seconds=$2
target=$3
work=target/fuzz
corpus=$work/corpus/$target
crashes=$work/crashes/$target
log=$work/$target.log

mkdir -p "$corpus" "$crashes"
echo "fuzzing $target for $seconds seconds"
if ! "$programs/$target" -max_total_time="$seconds" -max_len=200 \
    -dict=fuzz/words.dict -artifact_prefix="$crashes/" "$corpus" "fuzz/seeds/$target" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "error: the fuzz target $target failed; its input is in $crashes" >&2
    echo "  To run it again: $programs/$target FILE" >&2
    exit 1
fi
echo "$target: $(tail -n 1 "$log")"
