#!/bin/sh
# Creates a virtual environment with the packages of tests/NAME/requirements.txt, and prints the path
# of its Python interpreter. It is quick if the environment already exists.
#
# Usage: venv.sh NAME
#
# PYTHON names the base interpreter (default: python3). pip's own configuration selects the index.
# Exit code 77 means that the environment cannot be created here. The reason is in the list of skipped
# checks.
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
    skip "$python is Python $version; 3.11 or later is needed"

# Identifies the environment's contents. It is written last: if it is missing, the environment is
# incomplete.
stamp=$("$python" - "$requirements" <<'END'
import hashlib, sys
pinned = open(sys.argv[1], "rb").read()
print(hashlib.sha256(pinned).hexdigest(), sys.version.split()[0], sys.base_prefix)
END
)

# is_complete: whether every pinned package is installed, with all its files.
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
            sys.exit(f"{name}: the file {file} is missing")
END
}

if [ "$(cat "$venv/stamp" 2>/dev/null)" = "$stamp" ] && [ -x "$venv/bin/python" ] &&
    is_complete >&2; then
    echo "$PWD/$venv/bin/python"
    exit 0
fi

# create [OPTION]...: creates an empty environment. On Debian, pip for new environments is in the
# package python3-venv.
create() {
    rm -rf "$venv"
    "$python" -m venv "$@" "$venv" >target/venv.log 2>&1
}

mkdir -p target
echo "creating $venv with Python $version" >&2
if create || { why=$(scripts/debian-package.sh python3-venv) && create; }; then
    set -- "$venv/bin/python" -m pip
elif create --without-pip && "$python" -m pip --python "$venv/bin/python" --version >/dev/null 2>&1
then
    # pip 22.3 and later can install into an environment without pip.
    set -- "$python" -m pip --python "$venv/bin/python"
else
    rm -rf "$venv"
    skip "$python cannot create an environment with pip (python3-venv: ${why:-does not help})"
fi

# requirements.txt lists every package, so pip resolves no others. Only wheels are installed: they run
# no code at installation.
"$@" --disable-pip-version-check --quiet install --no-deps --only-binary :all: \
    --requirement "$requirements" >&2
is_complete >&2
echo "$stamp" >"$venv/stamp"
echo "$PWD/$venv/bin/python"
