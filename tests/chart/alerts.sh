#!/bin/sh
# Tests the rendered alert rules with promtool and alerts_test.yaml.
#
# Usage: alerts.sh RENDERED
# RENDERED is the output of `helm template rel --namespace tts` with alerts enabled.
set -eu
rendered=$(realpath -- "$1")
cd -- "$(dirname -- "$0")/../.."
folder=target/chart/alerts

command -v promtool >/dev/null || why=$(scripts/debian-package.sh prometheus) || {
    scripts/skipped.sh add promtool "$why"
    exit 0
}

# A rule file is the `spec` of a PrometheusRule. The test file must be in the same directory.
mkdir -p "$folder"
awk '
    /^---/ { is_rule = is_spec = 0 }
    is_spec { sub(/^  /, ""); print }
    /^kind: PrometheusRule$/ { is_rule = 1 }
    is_rule && /^spec:$/ { is_spec = 1 }
' "$rendered" >"$folder/alerts.rules.yaml"
cp tests/chart/alerts_test.yaml "$folder"

promtool check rules "$folder/alerts.rules.yaml"
promtool test rules "$folder/alerts_test.yaml"
