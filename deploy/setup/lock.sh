#!/usr/bin/env bash
# Writes the locks anew from pyproject.toml, with the hashes of all files of each release and no index address: which
# registry serves them is the reader's business.
#
#   requirements.lock         everything the project runs, is built and is tested with (make)
#   deploy/requirements.lock  what it runs and is built with, the same versions (the image)
#
# Arguments go to pip-compile, e.g. --upgrade-package aiohttp.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly python=.venv/bin/python
"$python" -m piptools --version >/dev/null 2>&1 || "$python" -m pip install --quiet --no-input pip-tools

work=$(mktemp -d)
readonly work
trap 'rm -rf "$work"' EXIT

# A folder of wheels on this machine must not leave its hashes in the lock.
unset PIP_FIND_LINKS

# Prints the requirements of the named parts of pyproject.toml, one a line.
requirements() {
  "$python" - "$@" <<'PYTHON'
import pathlib
import sys
import tomllib

project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())
parts = {
    "build": project["build-system"]["requires"],
    "run": project["project"]["dependencies"],
    "test": project["dependency-groups"]["dev"],
}
print("\n".join(requirement for part in sys.argv[1:] for requirement in parts[part]))
PYTHON
}

# Usage: write LOCK PARTS [pip-compile's arguments]; what LOCK pins already stays unless an argument upgrades it.
write() {
  local lock=$1 parts=$2
  shift 2
  if [ -f "$lock" ]; then cp "$lock" "$work/new"; else rm -f "$work/new"; fi
  # shellcheck disable=SC2086  # the parts are words
  requirements $parts | "$python" -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe \
    --no-header --no-emit-options "$@" --output-file "$work/new" - >/dev/null
  {
    echo "# Written by \`make lock\` from pyproject.toml; do not edit. Installed with pip's --require-hashes."
    grep -v '^# Written by' "$work/new" | sed -e 's/ -r -$/ pyproject.toml/' -e '/^    #   -c /d' -e 's/^    # via -c .*/    # via/'
  } >"$lock"
}

write requirements.lock "build run test" "$@"

# The image gets exactly the versions that were tested.
sed -n 's/^\([a-z0-9._-]*==[^ ]*\) \\$/\1/p' requirements.lock >"$work/tested"
write deploy/requirements.lock "build run" --constraint "$work/tested"
