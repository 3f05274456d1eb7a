#!/bin/sh
# Checks the libraries and the program with the oldest Rust version that Cargo.toml declares
# (rust-version), if that toolchain is installed. It does not download a toolchain.
set -eu
cd -- "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}

oldest=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
[ -n "$oldest" ] || {
    echo 'error: Cargo.toml has no line rust-version = "…"' >&2
    exit 1
}
case $(rustc --version) in
"rustc $oldest"[.\ ]*) ;;
*)
    RUSTUP_TOOLCHAIN=$(rustup toolchain list 2>/dev/null |
        sed -n "s/^\(${oldest}[.-][^ ]*\).*/\1/p" | head -n 1)
    [ -n "$RUSTUP_TOOLCHAIN" ] || {
        scripts/skipped.sh add msrv "the Rust $oldest toolchain is not installed"
        exit 0
    }
    export RUSTUP_TOOLCHAIN
    ;;
esac
"$cargo" check --locked --workspace --exclude voxgate-fuzz --exclude voxgate-constant-time \
    --lib --bins --all-features
