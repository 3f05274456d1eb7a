#!/bin/sh
# Runs vendors' own clients through target/debug/voxgate (wherever cargo's target directory is):
# each of tests/clients/<vendor>_<client>.py, one on each core. Rime's run against the demo.
set -eu
cd -- "$(dirname -- "$0")/.."

python=$(scripts/venv.sh clients) || {
    code=$?
    [ "$code" -ne 77 ] || exit 0
    exit "$code"
}
VOXGATE_NODE_MODULES=$(scripts/node.sh clients) || {
    code=$?
    [ "$code" -eq 77 ] || exit "$code"
    VOXGATE_NODE_MODULES=
}
# pipecat needs other versions of the same packages.
pipecat=$(scripts/venv.sh clients-pipecat) || {
    code=$?
    [ "$code" -eq 77 ] || exit "$code"
    pipecat=
}
# Supertone's client needs a newer Python than the others, and so has an environment of its own.
supertone=
for candidate in "${PYTHON:-python3}" python3.12 python3.13 python3.14; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
        supertone=$(PYTHON=$candidate scripts/venv.sh clients-supertone) || {
            code=$?
            [ "$code" -eq 77 ] || exit "$code"
            supertone=
        }
        break
    fi
done
[ -n "$supertone" ] ||
    scripts/skipped.sh add tests/clients-supertone 'no Python 3.12 or later is installed' >&2

# A real page opens WebSockets. Chromium is a Debian package.
if ! VOXGATE_CHROMIUM=$(command -v chromium); then
    if why=$(scripts/debian-package.sh chromium); then
        VOXGATE_CHROMIUM=$(command -v chromium)
    else
        scripts/skipped.sh add "tests/clients in a browser" "chromium is $why" >&2
        VOXGATE_CHROMIUM=
    fi
fi
folder=$("${CARGO:-cargo}" metadata --format-version 1 --no-deps |
    "$python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
VOXGATE_BIN=$folder/debug/voxgate
export VOXGATE_BIN VOXGATE_CHROMIUM VOXGATE_NODE_MODULES

# The test itself lists what it skips.
command -v nginx /usr/sbin/nginx >/dev/null || scripts/debian-package.sh nginx-light >&2 || true

# tests: prints the interpreter and the path of each test that can run.
tests() {
    for test in tests/clients/*_*.py; do
        interpreter=$python
        case $test in
        # Without Node or Chromium, the list of what was skipped already says why.
        */*_node.py) [ -n "$VOXGATE_NODE_MODULES" ] || continue ;;
        */*_browser.py) [ -n "$VOXGATE_CHROMIUM" ] || continue ;;
        */*_pipecat.py) interpreter=$pipecat ;;
        */supertone_*.py) interpreter=$supertone ;;
        esac
        [ -z "$interpreter" ] || printf '%s\0%s\0' "$interpreter" "$test"
    done
}
# xargs runs the other tests as well if one fails, and then fails itself.
tests | xargs -0 -P "$(getconf _NPROCESSORS_ONLN)" -n 2 scripts/clients-test.sh
