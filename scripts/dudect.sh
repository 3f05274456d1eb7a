#!/bin/sh
# Measures with dudect whether the layer's time depends on where a wrong key differs from the stored
# one. |t| must stay below 10 in each of three runs. For the control, a comparison that stops at the
# first difference, |t| must be above 100. docs/explanation/constant-time.md explains the method.
#
# This is a statistical test of measured times. It needs an idle machine, so `make test` does not
# run it.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
work=target/constant-time
log=$work/dudect.log

export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only
"$cargo" build --manifest-path constant-time/Cargo.toml --locked --release --target-dir "$work" \
    --features dudect --bin dudect
: >"$log"
for run in 1 2 3; do
    echo "run $run of 3"
    "$work/release/dudect" | sed -n 's/^bench \([a-z_]*\) .*max t = \([^,]*\),.*/\1 \2/p' |
        tee -a "$log"
done
awk '
{ t = $2 < 0 ? -$2 : +$2 }
$1 == "voxgate" { measured++; wrong = wrong || !(t < 10) }
$1 == "early_exit" { controls++; wrong = wrong || !(t > 100) }
END { exit wrong || measured != 3 || controls != 3 }' "$log" || {
    echo 'error: in each run, |t| must be below 10 for voxgate and above 100 for early_exit' >&2
    exit 1
}
