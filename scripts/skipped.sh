#!/bin/sh
# Keeps the list of checks that `make test` skipped.
#
# Usage: skipped.sh reset | add CHECK REASON | report [STEP]...
#
# `report` lists them. With steps, which have all passed, its last line names them.
#
# In CI (CI=true), a skipped check is an error, unless the file SKIPPED_ALLOWED lists it (default:
# scripts/skipped.allowed). `add` fails at once; `report` fails if the list has such a check.
# SKIPPED_LIST is the file with the list (default: target/skipped).
set -eu
cd -- "$(dirname -- "$0")/.."
list=${SKIPPED_LIST:-target/skipped}
allowed=${SKIPPED_ALLOWED:-scripts/skipped.allowed}

usage() {
    echo "usage: $0 reset | add CHECK REASON | report [STEP]..." >&2
    exit 64
}

# is_allowed CHECK: whether CHECK may be skipped in CI.
is_allowed() {
    [ "${CI-}" != true ] ||
        CHECK=$1 awk -F ': ' '!/^#/ && $1 == ENVIRON["CHECK"] { found = 1 } END { exit !found }' \
            "$allowed"
}

refuse() {
    echo "error: CI must not skip this check: $1" >&2
    echo "  Install what it needs, or add a line to $allowed: 'CHECK: REASON'." >&2
}

case ${1-} in
reset)
    [ $# -eq 1 ] || usage
    mkdir -p -- "$(dirname -- "$list")"
    : >"$list"
    ;;
add)
    [ $# -eq 3 ] || usage
    case $2 in *': '*) usage ;; esac
    mkdir -p -- "$(dirname -- "$list")"
    echo "$2: $3" >>"$list"
    echo "skipped $2: $3"
    is_allowed "$2" || {
        refuse "$2"
        exit 1
    }
    ;;
report)
    shift
    echo
    # passed SKIPPED STEP...: one line for all steps.
    passed() {
        skipped=$1
        shift
        [ $# -eq 0 ] || echo "passed: $* ($# steps, $skipped)"
    }
    if [ ! -s "$list" ]; then
        echo 'no check was skipped'
        passed 'no check skipped' "$@"
        exit 0
    fi
    echo 'skipped checks:'
    awk '!seen[$0]++ { print "  " $0 }' "$list"
    status=0
    # A test that calls `add` may ignore its exit status.
    checks=$(awk -F ': ' '!seen[$1]++ { print $1 }' "$list")
    while IFS= read -r check; do
        is_allowed "$check" || {
            refuse "$check"
            status=1
        }
    done <<END
$checks
END
    [ "$status" -ne 0 ] || passed "skipped: $(printf '%s\n' "$checks" | paste -s -d , - | sed 's/,/, /g')" "$@"
    exit "$status"
    ;;
*)
    usage
    ;;
esac
