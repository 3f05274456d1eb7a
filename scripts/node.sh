#!/bin/sh
# Installs the Node packages of tests/NAME at the versions in its package-lock.json, and prints the
# path of their node_modules folder. It is quick if they are already installed.
#
# Usage: node.sh NAME
#
# npm's own configuration selects the registry; the lock file names none.
# Exit code 77 means that the packages cannot be installed here. The reason is in the list of skipped
# checks.
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
[ "${major%%.*}" -ge 20 ] || skip "node is $version; version 20 or later is needed"
command -v npm >/dev/null || skip 'npm is not installed'

# Identifies the folder's contents. It is written last: if it is missing, the folder is incomplete.
stamp="$version $(cat "tests/$name/package.json" "tests/$name/package-lock.json" | cksum)"

if [ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ] || [ ! -d "$folder/node_modules" ]; then
    echo "installing the Node packages of tests/$name into $folder with Node $version" >&2
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "tests/$name/package.json" "tests/$name/package-lock.json" "$folder"
    # The install scripts of packages do not run.
    npm ci --prefix "$folder" --ignore-scripts --omit=dev --no-audit --no-fund >&2
    echo "$stamp" >"$folder/stamp"
fi
echo "$PWD/$folder/node_modules"
