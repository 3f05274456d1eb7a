#!/bin/sh
# Checks the library with each combination of its features, each other crate alone, and the number of
# packages that the library without features depends on.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
most=55

if "$cargo" clippy --version >/dev/null 2>&1; then
    command=clippy deny='-- -D warnings'
else
    command=check deny=
fi
for axum in '' axum; do
    for notify in '' notify; do
        for log in '' audit-log; do
            features="$axum $notify $log"
            echo "voxgate with the features: $features"
            "$cargo" "$command" --quiet --locked -p voxgate --lib --features "$features" $deny
        done
    done
done
for package in voxgate-audit-log voxgate-limits-redis voxgate-gateway; do
    echo "$package alone"
    "$cargo" "$command" --quiet --locked -p "$package" --lib $deny
done

packages=$("$cargo" tree --locked -e normal -p voxgate --no-default-features --prefix none \
    --format '{p}' | sed 's/ (.*//' | sort -u | wc -l)
echo "voxgate without features depends on $((packages - 1)) packages; at most $most are allowed"
[ "$packages" -le "$most" ]
