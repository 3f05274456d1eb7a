#!/bin/sh
# Checks the published libraries with the oldest version of each direct dependency that Cargo.toml
# allows. If it fails, raise the version in Cargo.toml to the oldest one that works.
#
# The work happens in a copy, so that Cargo.lock stays as it is.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
python=${PYTHON:-python3}
work=target/minimal-versions

rm -rf "$work/source"
mkdir -p "$work/source"
# The modification times stay, so that cargo compiles only what changed.
tar --exclude=./target --exclude=./.git -cf - . | tar -xf - -C "$work/source"
rm "$work/source/Cargo.lock"

# `direct-minimal-versions` is not stable yet. RUSTC_BOOTSTRAP lets a stable cargo accept it. Only this
# command has it: with it, some build scripts would turn on unstable features.
(
    cd "$work/source"
    RUSTC_BOOTSTRAP=1 "$cargo" -Z direct-minimal-versions generate-lockfile
) >"$work/resolve.log" 2>&1 || {
    cat "$work/resolve.log" >&2
    echo 'error: raise the version of the package that the message names, in Cargo.toml' >&2
    exit 1
}

set -- check --manifest-path "$work/source/Cargo.toml" --target-dir "$work/build" --locked --lib
for package in $("$cargo" metadata --locked --format-version 1 --no-deps | "$python" -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    kinds = {kind for target in package["targets"] for kind in target["kind"]}
    # A program is released with its Cargo.lock.
    if package["publish"] != [] and "lib" in kinds and "bin" not in kinds:
        print(package["name"])
'); do
    set -- "$@" --package "$package"
done
# Without a package, cargo would check the default members.
case $* in *--package*) ;; *)
    echo 'error: no published library was found in the workspace' >&2
    exit 1
    ;;
esac
"$cargo" "$@" --all-features
