#!/bin/sh
# Builds the program twice from the committed source, in two folders, and compares the files. Not part of
# `make test`: it takes minutes.
#
# PROFILE=release compares what a release builds; the default, dev, takes a fraction of the time.
set -eu
cd -- "$(dirname -- "$0")/.."
PROFILE=${PROFILE:-dev}
CARGO_INCREMENTAL=0
CARGO_PROFILE_DEV_DEBUG=0
CARGO_PROFILE_DEV_STRIP=debuginfo
export PROFILE CARGO_INCREMENTAL CARGO_PROFILE_DEV_DEBUG CARGO_PROFILE_DEV_STRIP
output=$PROFILE
[ "$output" != dev ] || output=debug

# A commit that is made in the meantime must not count.
commit=$(git rev-parse HEAD)
folder=$PWD/target/reproducible
rm -rf "$folder"
mkdir -p "$folder"
for copy in one another/folder; do
    mkdir -p "$folder/$copy"
    git archive "$commit" | tar -x -C "$folder/$copy"
    CARGO_TARGET_DIR=$folder/$copy/target "$folder/$copy/scripts/build-release.sh" --quiet
    built=$folder/$copy/target/$output/voxgate
    if grep -qaF -e "$folder" -e "${CARGO_HOME:-$HOME/.cargo}" "$built"; then
        echo "error: $built names folders of this machine:" >&2
        grep -aoE "($folder|${CARGO_HOME:-$HOME/.cargo})[-A-Za-z0-9_./]*" "$built" | sort -u | head >&2
        exit 1
    fi
    mv "$built" "$folder/voxgate-$(echo "$copy" | tr / -)"
    rm -rf "${folder:?}/$copy"
done
sha256sum "$folder"/voxgate-*
cmp "$folder"/voxgate-* || {
    echo "error: two builds of one source differ: $folder" >&2
    exit 1
}
rm -rf "$folder"
echo "two builds with the profile $PROFILE, one file"
