#!/bin/sh
# Builds the image of the Dockerfile without a registry, and asks the program in it. Not part of `make test`:
# it compiles the program, which takes minutes.
#
# Both base images are made from Debian packages here, and take the place of those in the Dockerfile by
# build argument: one with the Rust toolchain of this machine and the sources of all dependencies, and one
# that has, like distroless, only the C library and CA certificates. Optimization is off: the image of a
# release differs in this, and in its base images.
#
# Needs root, buildah and debootstrap. MIRROR names the Debian mirror.
set -eu
cd -- "$(dirname -- "$0")/.."
folder=$PWD/target/image
suite=bookworm
mirror=${MIRROR:-http://deb.debian.org/debian}

skip() {
    scripts/skipped.sh add image "$1"
    exit 0
}

[ "$(uname -s)" = Linux ] || skip 'only Linux builds the image'
[ "$(id -u)" -eq 0 ] || skip 'only root can make base images'
for tool in buildah debootstrap; do
    command -v "$tool" >/dev/null || why=$(scripts/debian-package.sh "$tool") || skip "$tool is $why"
done

serve=
clean() {
    status=$?
    [ -z "$serve" ] || kill "$serve" 2>/dev/null || true
    buildah umount --all >/dev/null 2>&1 || true
    rm -rf "$folder"
    exit "$status"
}
trap clean EXIT
trap 'exit 130' INT TERM
rm -rf "$folder"
mkdir -p "$folder/tmp"
# Storage, cache mounts and temporary files of its own: this leaves images of this machine alone.
TMPDIR=$folder/tmp
BUILDAH_ISOLATION=chroot
export TMPDIR BUILDAH_ISOLATION
buildah() {
    command buildah --storage-driver vfs --root "$folder/storage" --runroot "$folder/run" "$@"
}

echo '== the base images'
rust=$folder/rust
debootstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates "$suite" "$rust" "$mirror" \
    >"$folder/debootstrap.log" 2>&1 || {
    tail -n 5 "$folder/debootstrap.log" >&2
    exit 1
}
# The packages stay where debootstrap put them.
base=$folder/base
mkdir -p "$base/etc/ssl/certs" "$base/tmp"
chmod 1777 "$base/tmp"
for package in libc6 libgcc-s1; do
    dpkg-deb --extract "$rust/var/cache/apt/archives/${package}"_*.deb "$base"
done
rm -rf "$base/usr/share/doc" "$rust/var/cache/apt/archives"
cp "$rust/etc/ssl/certs/ca-certificates.crt" "$base/etc/ssl/certs"
echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >"$base/etc/passwd"
echo 'nonroot:x:65532:' >"$base/etc/group"

sysroot=$(rustc --print sysroot)
mkdir -p "$rust/opt/rust/bin" "$rust/opt/cargo"
cp "$sysroot/bin/rustc" "$sysroot/bin/cargo" "$rust/opt/rust/bin"
cp -R "$sysroot/lib" "$rust/opt/rust/lib"
"${CARGO:-cargo}" vendor --quiet --locked --versioned-dirs "$rust/opt/vendor" >/dev/null
cat >"$rust/opt/cargo/config.toml" <<'END'
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/opt/vendor"
END

# image NAME FOLDER [OPTION]...: an image with the contents of FOLDER.
image() {
    name=$1
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$2" / >/dev/null
    shift 2
    [ $# -eq 0 ] || buildah config "$@" "$container"
    buildah commit --quiet --rm "$container" "localhost/$name" >/dev/null
}
image voxgate-test-rust "$rust" --env PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --env CARGO_HOME=/opt/cargo --env CARGO_NET_OFFLINE=true \
    --env CARGO_PROFILE_RELEASE_LTO=off --env CARGO_PROFILE_RELEASE_OPT_LEVEL=0 \
    --env CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 --env CARGO_PROFILE_RELEASE_STRIP=symbols
image voxgate-test-base "$base"
rm -rf "$rust" "$base"

echo '== the image'
buildah build --quiet --pull-never --layers=false \
    --build-arg RUST=localhost/voxgate-test-rust --build-arg BASE=localhost/voxgate-test-base \
    --build-arg VERSION=0.0.0-test --tag localhost/voxgate-test . >"$folder/build.log" 2>&1 || {
    tail -n 40 "$folder/build.log" >&2
    exit 1
}

# has FIELD EXPECTED: compares a field of the image's configuration.
has() {
    found=$(buildah inspect --type image --format "{{.OCIv1.Config.$1}}" localhost/voxgate-test)
    [ "$found" = "$2" ] || {
        echo "error: $1 of the image is $found, not $2" >&2
        exit 1
    }
}
has User 65532:65532
has Entrypoint '[/usr/local/bin/voxgate]'
has Cmd '[serve]'
has 'Labels' "$(printf 'map[%s %s %s %s %s]' \
    'io.buildah.version:'"$(command buildah --version | cut -d' ' -f3)" \
    'org.opencontainers.image.base.name:localhost/voxgate-test-base' \
    'org.opencontainers.image.description:Authenticating gateway for self-hosted text-to-speech' \
    'org.opencontainers.image.licenses:MIT OR Apache-2.0' \
    'org.opencontainers.image.title:Voxgate org.opencontainers.image.version:0.0.0-test')"

echo '== the program in the image, as user 65532'
root=$(buildah mount "$(buildah from --pull-never localhost/voxgate-test)")
[ ! -e "$root/bin/sh" ] || {
    echo 'error: the image has a shell' >&2
    exit 1
}
# run COMMAND [ARGUMENT]...: of the program in the image, with nothing of this environment.
chroot=$(command -v chroot)
run() {
    env --ignore-environment "$chroot" --userspec=65532:65532 "$root" /usr/local/bin/voxgate "$@"
}
install -m 0400 -o 65532 -g 65532 /dev/null "$root/etc/voxgate/keys/keys"
echo 'one-key-Wq3cV9sTz1Lm8xRt5' >"$root/etc/voxgate/keys/keys"
env --ignore-environment VOXGATE_API_KEYS_FILE=/etc/voxgate/keys/keys VOXGATE_UPSTREAM=http://127.0.0.1:1 \
    VOXGATE_AUDIT_DIR=/var/lib/voxgate/audit VOXGATE_LISTEN=127.0.0.1:0 VOXGATE_ADMIN_LISTEN=127.0.0.1:0 \
    "$chroot" --userspec=65532:65532 "$root" /usr/local/bin/voxgate serve >"$folder/serve.log" 2>&1 &
serve=$!
for _ in $(seq 100); do
    admin=$(sed -n 's/.*"message":"listening".*"admin":"\([^"]*\)".*/\1/p' "$folder/serve.log")
    address=$(sed -n 's/.*"message":"listening","address":"\([^"]*\)".*/\1/p' "$folder/serve.log")
    [ -z "$admin" ] || break
    kill -0 "$serve" 2>/dev/null || break
    sleep 0.1
done
[ -n "$admin" ] || {
    cat "$folder/serve.log" >&2
    echo 'error: the program in the image does not serve' >&2
    exit 1
}
[ "$(stat -c %u:%g "/proc/$serve")" = 65532:65532 ] || {
    echo 'error: the program does not run as 65532' >&2
    exit 1
}
run probe --url "http://$admin/readyz" --expect 200
run probe --url "http://$address/v1/rime-tts" --expect 401
# The TTS server is missing, which only a caller with a key gets to know.
run probe --url "http://$address/v1/rime-tts" --expect 502 \
    --key-file /etc/voxgate/keys/keys
kill "$serve"
wait "$serve"
serve=
[ "$(find "$root/var/lib/voxgate/audit" -type f -user 65532 | wc -l)" -gt 0 ] || {
    echo 'error: the program in the image wrote no audit log' >&2
    exit 1
}
echo 'the image is built, and its program answers'
