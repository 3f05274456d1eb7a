#!/bin/sh
# Makes screenshots of the audit report with Chromium, 1280 and 390 pixels wide, in target/screenshots.
#
# CHROMIUM is the browser (default: chromium or google-chrome), VOXGATE the program (default: it is
# built).
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
python=${PYTHON:-python3}
browser=${CHROMIUM:-$(command -v chromium || command -v google-chrome || true)}
[ -n "$browser" ] || {
    echo 'error: Chromium is not installed; install it, or name it in CHROMIUM' >&2
    exit 1
}
if [ -z "${VOXGATE-}" ]; then
    "$cargo" build --locked --package voxgate-gateway --bin voxgate
    VOXGATE=${CARGO_TARGET_DIR:-target}/debug/voxgate
fi

out=target/screenshots
mkdir -p "$out"
"$python" scripts/sample_log.py >"$out/audit.jsonl"
"$VOXGATE" audit report --html "$out/report.html" "$out/audit.jsonl"
profile=$(mktemp -d)
trap 'rm -rf -- "$profile"' EXIT

# shoot NAME WIDTH HEIGHT: the page in a frame of this width, because a window has a least width.
shoot() {
    page=$out/frame-$2.html
    printf '<!DOCTYPE html><body style="margin:0"><iframe src="report.html" width="%s" height="%s" style="border:0">' \
        "$2" "$3" >"$page"
    # --no-sandbox: the page is our own, and root has no sandbox in a container.
    "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$profile" \
        --window-size="$2,$3" --screenshot="$out/$1.png" \
        "file://$PWD/$page" >"$out/$1.log" 2>&1 || {
        cat "$out/$1.log" >&2
        exit 1
    }
    rm -f "$page"
    [ -s "$out/$1.png" ] || {
        echo "error: $browser made no screenshot; see $out/$1.log" >&2
        exit 1
    }
    echo "$out/$1.png"
}
shoot report-1280 1280 4200
shoot report-390 390 6400
