#!/bin/sh
# Installs one Debian package, if the system has apt-get and the user is root.
#
# Usage: debian-package.sh PACKAGE
#
# The tests start servers themselves, so no service of the package is enabled or started: its scripts find
# programs that do nothing in place of those that manage services.
#
# On failure, it prints the reason to standard output, in one line.
set -eu
cd -- "$(dirname -- "$0")/.."
package=$1
log=target/apt-$package.log

why() {
    echo "$1"
    exit 1
}

[ -z "${NO_INSTALL-}" ] || why 'not installed, and NO_INSTALL is set'
command -v apt-get >/dev/null || why 'not installed, and apt-get is not available'
[ "$(id -u)" -eq 0 ] || why 'not installed, and only root can install it'

# dpkg runs the scripts of packages with this PATH.
without_services() {
    services=target/no-services
    mkdir -p "$services"
    for tool in deb-systemd-helper deb-systemd-invoke invoke-rc.d service systemctl update-rc.d; do
        printf '#!/bin/sh\nexit 0\n' >"$services/$tool"
        chmod +x "$services/$tool"
    done
    PATH=$PWD/$services:$PATH "$@"
}

install() {
    DEBIAN_FRONTEND=noninteractive without_services apt-get --quiet --yes -o DPkg::Lock::Timeout=120 \
        install --no-install-recommends "$package"
}

echo "installing the Debian package $package" >&2
mkdir -p target
# The package lists may be missing or old, so try again after an update.
if install >"$log" 2>&1 </dev/null; then exit 0; fi
if { apt-get --quiet update && install; } >>"$log" 2>&1 </dev/null; then exit 0; fi
tail -n 5 "$log" >&2
why "apt-get could not install $package (see $log)"
