#!/bin/sh
# Tests scripts/skipped.sh: CI fails for a skipped check that is not on the list of allowed ones.
set -eu
cd -- "$(dirname -- "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export VOXGATE_SKIPPED="$folder/skipped" VOXGATE_SKIPPED_ALLOWED="$folder/allowed"
printf '# a comment: ignored\nlisted: a reason\n' >"$VOXGATE_SKIPPED_ALLOWED"

expect() { # STATUS CI-VALUE MESSAGE
    status=0
    CI=$2 scripts/skipped.sh report >/dev/null 2>&1 || status=$?
    [ "$status" -eq "$1" ] || {
        echo "scripts/skipped.sh: $3: exit status $status, expected $1" >&2
        exit 1
    }
}
scripts/skipped.sh reset
expect 0 true 'an empty list'
scripts/skipped.sh add listed 'not here' >/dev/null
expect 0 true 'a listed check in CI'
scripts/skipped.sh add 'list' 'a part of a listed name' >/dev/null
expect 0 '' 'an unlisted check outside CI'
expect 1 true 'an unlisted check in CI'
scripts/skipped.sh reset
scripts/skipped.sh add '# a comment' 'a comment is not a name' >/dev/null
expect 1 true 'the text of a comment'
