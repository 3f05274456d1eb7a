#!/bin/sh
# Keeps the list of the checks that `make test` skipped.
#
# Usage: skipped.sh reset | add WHAT WHY | report
#
# In CI (CI=true), `report` fails if a skipped check is not listed in scripts/skipped.allowed.
# VOXGATE_SKIPPED names another list, and VOXGATE_SKIPPED_ALLOWED another list of allowed checks.
set -eu
cd -- "$(dirname -- "$0")/.."
list=${VOXGATE_SKIPPED:-target/skipped}
allowed=${VOXGATE_SKIPPED_ALLOWED:-scripts/skipped.allowed}

case ${1-} in
reset)
    mkdir -p "$(dirname -- "$list")"
    : >"$list"
    ;;
add)
    mkdir -p "$(dirname -- "$list")"
    echo "$2: $3" >>"$list"
    echo "skipped $2: $3"
    ;;
report)
    echo
    if [ ! -s "$list" ]; then
        echo 'nothing was skipped'
        exit 0
    fi
    echo 'skipped, because:'
    sed 's/^/  /' "$list"
    [ "${CI-}" = true ] || exit 0
    status=0
    while IFS= read -r line; do
        what=${line%%:*}
        if ! grep -v '^#' "$allowed" | cut -d: -f1 | grep -qxF -- "$what"; then
            echo "CI must not skip \"$what\": install what it needs, or add it to $allowed with a reason" >&2
            status=1
        fi
    done <"$list"
    exit "$status"
    ;;
*)
    echo "usage: $0 reset | add WHAT WHY | report" >&2
    exit 64
    ;;
esac
