#!/bin/sh
# Checks with valgrind that the layer takes constant time. memcheck checks that no branch or address
# depends on a secret, except where it is declared. callgrind checks that a wrong key takes the same
# number of instructions wherever it differs. docs/explanation/constant-time.md explains both. Each tool must also
# report a positive control: a program that is wrong on purpose.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
work=target/constant-time

case $(uname -sm) in
'Linux x86_64') ;;
*)
    scripts/skipped.sh add constant-time 'the programs for valgrind need Linux on x86_64'
    exit 0
    ;;
esac
if ! command -v valgrind >/dev/null && ! why=$(scripts/debian-package.sh valgrind); then
    scripts/skipped.sh add constant-time "valgrind: $why"
    exit 0
fi

# The code is built as for a release, and keeps its line tables for valgrind's reports.
export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_STRIP=none
set -- build --manifest-path constant-time/Cargo.toml --locked --release --target-dir "$work"

fail() {
    echo "error: $1" >&2
    exit 1
}

# memcheck MODE: sets $status to valgrind's exit status, which is 99 if memcheck reports an error.
memcheck() {
    status=0
    valgrind --quiet --error-exitcode=99 --num-callers=8 --log-file="$work/memcheck-$1.log" \
        "$work/release/memcheck" "$1" || status=$?
}

# Only this program is built with the cfg: it makes the library tell valgrind what is declassified.
RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/constant-time-rustc.sh \
    "$cargo" "$@" --features memcheck --bin memcheck
memcheck layer
[ "$status" -eq 0 ] || {
    cat "$work/memcheck-layer.log" >&2
    fail 'memcheck: a branch or an address depends on a secret (see the report above)'
}
for control in undeclared early-exit; do
    memcheck "$control"
    [ "$status" -eq 99 ] || fail "memcheck: the control $control was not reported"
    echo "memcheck: the control $control was reported, as it must be"
done

"$cargo" "$@" --bin callgrind
counts=$work/callgrind.out
valgrind --tool=callgrind --quiet --collect-atstart=no --combine-dumps=yes \
    --callgrind-out-file="$counts" --log-file="$work/callgrind.log" "$work/release/callgrind"
# Each request runs several times; its smallest number of instructions counts. For each kind of
# request, this compares the numbers of its positions.
awk '
/^desc: Trigger: Client Request: / { what = $5; position = $6 }
/^summary: / && what {
    if (!((what, position) in fewest) || $2 < fewest[what, position]) fewest[what, position] = $2
    positions[what] = position > positions[what] ? position : positions[what]
    what = ""
}
END {
    for (what in positions) {
        # Accepting and refusing write different values. The layer has random parts, so that the fewest
        # instructions of 16 rounds can differ by two, whatever the position is. A comparison that ends
        # early takes at least one instruction more for each of the 53 positions, as the control does.
        least = most = fewest[what, 0]
        for (position = 1; position <= positions[what]; position++) {
            count = fewest[what, position]
            least = count < least ? count : least
            most = count > most ? count : most
        }
        printf "callgrind: %s: %d positions, %d to %d instructions\n", what, position, least, most
        wrong = wrong || (what == "early-exit" ? most - least < 53 : most - least > (what == "verdict" ? 16 : 4))
        kinds++
    }
    exit wrong || kinds != 4
}' "$counts" || fail 'callgrind: the layer must take as many instructions within 4 for each position, within 16 for each state of a key, and the control must not'
