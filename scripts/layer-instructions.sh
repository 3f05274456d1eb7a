#!/bin/sh
# Counts the instructions and allocations of one request in the layer, for each row of
# benches/layer.rs. The numbers do not depend on the load of the machine.
#
# Usage: layer-instructions.sh [ROW]...
set -eu
cd -- "$(dirname -- "$0")/.."
command -v valgrind >/dev/null || why=$(scripts/debian-package.sh valgrind) || {
    echo "valgrind: $why" >&2
    exit 1
}
target=${CARGO_TARGET_DIR:-target}
# Frame names are needed to tell what is counted.
CARGO_PROFILE_BENCH_STRIP=none CARGO_PROFILE_BENCH_DEBUG=line-tables-only \
    ${CARGO:-cargo} bench --quiet --locked --all-features --bench layer --no-run
bench=$(find "$target/release/deps" -name 'layer-*' -perm -u+x -type f -printf '%T@ %p\n' |
    sort -n | tail -n 1 | cut -d ' ' -f 2)
[ $# -gt 0 ] || set -- 0 1 2 3 4 5
mkdir -p "$target/layer"
printf '%4s  %22s  %12s\n' row 'instructions/request' 'allocations'
for row; do
    out=$target/layer/callgrind.$row
    # Two rounds of 1000 requests each are counted.
    valgrind --quiet --tool=callgrind --callgrind-out-file="$out" --collect-atstart=no \
        --toggle-collect='layer::serve*' --toggle-collect='layer::verify*' \
        "$bench" --only "$row" --bench >/dev/null 2>&1
    total=$(sed -n 's/^totals: //p' "$out")
    # In a call graph, "calls=COUNT" follows the name of the callee.
    calls=$(awk '/^cfn=/ { callee = $0 }
        /^cfn=\([0-9]+\) / { split($0, id, /[()]/); names[id[2]] = $0 }
        /^calls=/ { split(callee, id, /[()]/); name = names[id[2]]
            if (name ~ /\) (malloc|calloc|realloc|aligned_alloc|posix_memalign)$/) {
                split($1, count, "="); sum += count[2] } }
        END { print sum + 0 }' "$out")
    printf '%4s  %22s  %12s\n' "$row" "$((total / 2000))" "$(awk "BEGIN { print $calls / 2000 }")"
done
