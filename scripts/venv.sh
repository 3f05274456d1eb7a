#!/bin/sh
# Makes the Python environment of tests/NAME, exactly as its requirements.txt pins it, and prints the
# path of its interpreter. It is quick when the environment is already there.
#
# Usage: venv.sh NAME
#
# PYTHON names the interpreter to start from. Where packages come from is pip's own configuration.
# Exit code 77 means that it cannot be made here; the reason is in the list of what was skipped.
set -eu
cd -- "$(dirname -- "$0")/.."
name=$1
requirements=tests/$name/requirements.txt
venv=target/venv-$name
python=${PYTHON:-python3}

skip() {
    scripts/skipped.sh add "tests/$name" "$1" >&2
    exit 77
}

command -v "$python" >/dev/null || skip "$python is not installed"
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])') ||
    skip "$python does not run"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    skip "$python is Python $version; 3.11 is needed"

# What the environment is made from. It is written last: without it, the making was interrupted.
stamp=$("$python" - "$requirements" <<'END'
import hashlib, sys
pinned = open(sys.argv[1], "rb").read()
print(hashlib.sha256(pinned).hexdigest(), sys.version.split()[0], sys.base_prefix)
END
)

# Every pinned package is there, and its files have not gone.
is_complete() {
    "$venv/bin/python" -I - "$requirements" <<'END'
import importlib.metadata, sys
for line in open(sys.argv[1], encoding="utf-8"):
    name, _, version = line.split("#")[0].strip().partition("==")
    if not name:
        continue
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        sys.exit(f"{name} is missing")
    if found.version != version:
        sys.exit(f"{name} is {found.version}, not {version}")
    for file in found.files or ():
        if file.suffix in (".py", ".so") and not file.locate().exists():
            sys.exit(f"{name} lacks {file}")
END
}

if [ "$(cat "$venv/stamp" 2>/dev/null)" = "$stamp" ] && [ -x "$venv/bin/python" ] &&
    is_complete >&2; then
    echo "$PWD/$venv/bin/python"
    exit 0
fi

# Debian splits venv's own pip from python3, into python3-venv.
fresh() {
    rm -rf "$venv"
    "$python" -m venv "$@" "$venv" >target/venv.log 2>&1
}

mkdir -p target
echo "making $venv with Python $version" >&2
if fresh || { why=$(scripts/debian-package.sh python3-venv) && fresh; }; then
    set -- "$venv/bin/python" -m pip
elif fresh --without-pip && "$python" -m pip --python "$venv/bin/python" --version >/dev/null 2>&1
then
    # A pip of 22.3 or later can install into an environment that has none.
    set -- "$python" -m pip --python "$venv/bin/python"
else
    rm -rf "$venv"
    skip "$python cannot make an environment with pip in it; python3-venv: ${why:-of no help}"
fi

# The list is complete, so nothing else is resolved; and no package runs code to be installed.
"$@" --disable-pip-version-check --quiet install --no-deps --only-binary :all: \
    --requirement "$requirements" >&2
is_complete >&2
echo "$stamp" >"$venv/stamp"
echo "$PWD/$venv/bin/python"
