#!/bin/sh
# Keeps the list of what `make test` could not do here, so that nothing is left out in silence.
#
# Usage: skipped.sh reset | add WHAT WHY | report
set -eu
cd -- "$(dirname -- "$0")/.."
list=target/skipped

case ${1-} in
reset)
    mkdir -p target
    : >"$list"
    ;;
add)
    mkdir -p target
    echo "$2: $3" >>"$list"
    echo "skipped $2: $3"
    ;;
report)
    echo
    if [ -s "$list" ]; then
        echo 'skipped, because:'
        sed 's/^/  /' "$list"
    else
        echo 'nothing was skipped'
    fi
    ;;
*)
    echo "usage: $0 reset | add WHAT WHY | report" >&2
    exit 64
    ;;
esac
