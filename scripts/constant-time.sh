#!/bin/sh
# Shows with valgrind that the layer takes constant time: that nothing depends on a secret but what
# is declared, and that a mismatch takes as many instructions wherever it is. docs/explanation/constant-time.md
# says what that means. Each has a positive control, without which silence would mean nothing.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
work=target/constant-time

case $(uname -sm) in
'Linux x86_64') ;;
*)
    scripts/skipped.sh add 'constant time in valgrind' 'its client requests are for Linux on x86_64'
    exit 0
    ;;
esac
if ! command -v valgrind >/dev/null && ! why=$(scripts/debian-package.sh valgrind); then
    scripts/skipped.sh add 'constant time in valgrind' "valgrind: $why"
    exit 0
fi

set -- build -p voxgate-constant-time --locked --profile constant-time --target-dir "$work"
built=$work/constant-time

fail() {
    echo "$1" >&2
    exit 1
}

# memcheck MODE
memcheck() {
    status=0
    valgrind --quiet --error-exitcode=99 --num-callers=8 --log-file="$work/memcheck-$1.log" \
        "$built/memcheck" "$1" || status=$?
}

# Only this program is built with the cfg, which lets it know what is declassified.
RUSTFLAGS="${RUSTFLAGS-} --cfg voxgate_constant_time" "$cargo" "$@" --features memcheck --bin memcheck
memcheck layer
[ "$status" -eq 0 ] || {
    cat "$work/memcheck-layer.log" >&2
    fail 'memcheck: something depends on a secret that was not declassified'
}
for control in undeclared early-exit; do
    memcheck "$control"
    [ "$status" -eq 99 ] || fail "memcheck does not report the control $control"
    echo "memcheck: the control $control is reported"
done

"$cargo" "$@" --bin callgrind
counts=$work/callgrind.out
valgrind --tool=callgrind --quiet --collect-atstart=no --combine-dumps=yes \
    --callgrind-out-file="$counts" --log-file="$work/callgrind.log" "$built/callgrind"
# For each kind of request and position the fewest instructions, and how many different there are.
awk '
/^desc: Trigger: Client Request: / { what = $5; position = $6 }
/^summary: / && what {
    if (!((what, position) in fewest) || $2 < fewest[what, position]) fewest[what, position] = $2
    positions[what] = position > positions[what] ? position : positions[what]
    what = ""
}
END {
    for (what in positions) {
        different = 0
        for (position = 0; position <= positions[what]; position++) {
            count = fewest[what, position]
            if (!((what, count) in seen)) different++
            seen[what, count] = 1
        }
        printf "callgrind: %s: %d positions, %d different numbers of instructions\n",
            what, position, different
        wrong = wrong || (what == "early-exit" ? different == 1 : different > 1)
        kinds++
    }
    exit wrong || kinds != 3
}' "$counts" || fail 'callgrind: the layer must take one number of instructions, the control several'
