#!/bin/sh
# Installs the Node packages of tests/NAME, exactly as its package-lock.json pins them, and prints the
# path of their node_modules. It is quick when they are already there.
#
# Usage: node.sh NAME
#
# Where packages come from is npm's own configuration; the lock names no registry.
# Exit code 77 means that it cannot be done here; the reason is in the list of what was skipped.
set -eu
cd -- "$(dirname -- "$0")/.."
name=$1
folder=target/node-$name

skip() {
    scripts/skipped.sh add "tests/$name in Node" "$1" >&2
    exit 77
}

command -v node >/dev/null || skip 'node is not installed'
version=$(node --version) || skip 'node does not run'
major=${version#v}
[ "${major%%.*}" -ge 20 ] || skip "node is $version; 20 is needed"
command -v npm >/dev/null || skip 'npm is not installed'

# What the folder is made from. It is written last: without it, the making was interrupted.
stamp="$version $(cat "tests/$name/package.json" "tests/$name/package-lock.json" | cksum)"

if [ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ] || [ ! -d "$folder/node_modules" ]; then
    echo "making $folder with Node $version" >&2
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "tests/$name/package.json" "tests/$name/package-lock.json" "$folder"
    # No package runs code to be installed.
    npm ci --prefix "$folder" --ignore-scripts --omit=dev --no-audit --no-fund >&2
    echo "$stamp" >"$folder/stamp"
fi
echo "$PWD/$folder/node_modules"
