#!/bin/sh
# The RUSTC_WORKSPACE_WRAPPER of scripts/constant-time.sh. It compiles the crates of this workspace with
# the cfg; the dependencies are the same for all programs.
set -eu
exec "$@" --cfg voxgate_constant_time
