#!/bin/sh
# Checks the library of each published package with every combination of its features. A package with
# more than MOST features is checked with none, with each one alone, and with all.
#
# A test target may use features that a library forgets to ask for; here, only the library is built.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
python=${PYTHON:-python3}
most=2

if "$cargo" clippy --version >/dev/null 2>&1; then
    command=clippy
    warnings='-D warnings'
else
    command=check
    warnings=
fi

mkdir -p target
# One line for each check: PACKAGE FEATURE,FEATURE
"$cargo" metadata --locked --format-version 1 --no-deps | "$python" -c '
import itertools, json, sys
most = int(sys.argv[1])
for package in json.load(sys.stdin)["packages"]:
    kinds = {kind for target in package["targets"] for kind in target["kind"]}
    if package["publish"] == [] or "lib" not in kinds:
        continue
    features = sorted(set(package["features"]) - {"default"})
    sizes = range(len(features) + 1) if len(features) <= most else (0, 1, len(features))
    for size in sizes:
        for chosen in itertools.combinations(features, size):
            print(package["name"], ",".join(chosen))
' "$most" >target/feature-sets
[ -s target/feature-sets ] || {
    echo 'error: no published library was found in the workspace' >&2
    exit 1
}

while read -r package features; do
    echo "$command --package $package --no-default-features --features '$features'"
    # shellcheck disable=SC2086  # $warnings is two words or none.
    "$cargo" "$command" --quiet --locked --package "$package" --lib --no-default-features \
        --features "$features" ${warnings:+--} $warnings </dev/null
done <target/feature-sets
echo "features: $(wc -l <target/feature-sets) combinations are correct"

most_packages=55
packages=$("$cargo" tree --locked -e normal -p voxgate --no-default-features --prefix none \
    --format '{p}' | sed 's/ (.*//' | sort -u | wc -l)
echo "features: voxgate without features is $packages packages; at most $most_packages are allowed"
[ "$packages" -le "$most_packages" ]
