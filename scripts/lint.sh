#!/bin/sh
# Checks spelling with typos, the GitHub workflows against their schema, and the syntax of the scripts.
set -eu
cd -- "$(dirname -- "$0")/.."

for script in scripts/*.sh .ci/run; do
    sh -n "$script"
done
scripts/skipped_test.sh

python=$(scripts/venv.sh lint) || {
    code=$?
    [ "$code" -ne 77 ] || exit 0
    exit "$code"
}
tools=$(dirname -- "$python")
"$tools/typos"
"$tools/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml
"$tools/check-jsonschema" --builtin-schema vendor.dependabot .github/dependabot.yml
