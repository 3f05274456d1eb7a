#!/bin/sh
# Packages a chart: the same files give the same package. `helm package` alone stores the time of day (Helm 3)
# or the times of the files (Helm 4).
#
# Usage: package-chart.sh CHART FOLDER
#
# HELM names the program (default: helm). SOURCE_DATE_EPOCH is the time in the package, in seconds (default:
# that of the last commit). It needs GNU tar. It prints the path of the package.
set -eu
[ $# -eq 2 ] || {
    echo "usage: $0 CHART FOLDER" >&2
    exit 64
}
time=${SOURCE_DATE_EPOCH:-$(git -C "$1" log -1 --format=%ct)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${HELM:-helm}" package "$1" --destination "$work/helm" >/dev/null
name=$(basename -- "$work"/helm/*.tgz)
mkdir "$work/files"
tar -xmzf "$work/helm/$name" -C "$work/files"
mkdir -p "$2"
(cd "$work/files" && find . -type f | sed 's,^\./,,' | LC_ALL=C sort) >"$work/list"
tar --directory "$work/files" --files-from "$work/list" --format=ustar --mtime="@$time" --mode=0644 \
    --owner=0 --group=0 --numeric-owner --create |
    gzip -n -9 >"$2/$name"
echo "$2/$name"
