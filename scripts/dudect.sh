#!/bin/sh
# Measures with dudect whether the layer's time tells where the stored secret differs from what is
# presented: |t| must stay below 10 in each of three runs, and a comparison that ends at the first
# difference must be far above. docs/explanation/constant-time.md says what that means.
#
# A statistical test of times, so it is no part of `make test`. It wants a quiet machine.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
work=target/constant-time
log=$work/dudect.log

"$cargo" build -p voxgate-constant-time --locked --profile constant-time --target-dir "$work" \
    --features dudect --bin dudect
: >"$log"
for run in 1 2 3; do
    echo "run $run of 3"
    "$work/constant-time/dudect" | sed -n 's/^bench \([a-z_]*\) .*max t = \([^,]*\),.*/\1 \2/p' |
        tee -a "$log"
done
awk '
{ t = $2 < 0 ? -$2 : +$2 }
$1 == "voxgate" { measured++; wrong = wrong || !(t < 10) }
$1 == "early_exit" { controls++; wrong = wrong || !(t > 100) }
END { exit wrong || measured != 3 || controls != 3 }' "$log" || {
    echo '|t| must be below 10 for voxgate, and above 100 for early_exit, in every run' >&2
    exit 1
}
