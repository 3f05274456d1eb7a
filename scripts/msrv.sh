#!/bin/sh
# Checks the library and the program with the oldest Rust that Cargo.toml promises, if that
# toolchain is installed. It downloads none.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}

oldest=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
[ -n "$oldest" ] || {
    echo 'Cargo.toml has no rust-version' >&2
    exit 1
}
case $(rustc --version) in
"rustc $oldest"[.\ ]*)
    echo "this is Rust $oldest"
    exit 0
    ;;
esac
toolchain=$(rustup toolchain list 2>/dev/null |
    sed -n "s/^\(${oldest}[.-][^ ]*\).*/\1/p" | head -n 1)
if [ -z "$toolchain" ]; then
    scripts/skipped.sh add "Rust $oldest" 'that toolchain is not installed; the newer one was used'
    exit 0
fi
RUSTUP_TOOLCHAIN=$toolchain "$cargo" check --locked --workspace --exclude voxgate-fuzz --exclude voxgate-constant-time --lib --bins
