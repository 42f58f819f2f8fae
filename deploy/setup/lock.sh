#!/usr/bin/env bash
# Writes requirements.lock anew from pyproject.toml: every package the project runs, builds or is tested with, with
# the hashes of all files of its release, and no index address: which registry serves them is the reader's business.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=.venv/bin/python
"$python" -m piptools --version >/dev/null 2>&1 || "$python" -m pip install --quiet --no-input pip-tools

locked=$(mktemp)
trap 'rm -f "$locked"' EXIT

# A folder of wheels on this machine must not leave its hashes in the lock.
unset PIP_FIND_LINKS

"$python" - <<'PYTHON' | "$python" -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe \
  --no-header --no-emit-options "$@" --output-file "$locked" - >/dev/null
import pathlib
import tomllib

project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())
groups = [project["build-system"]["requires"], project["project"]["dependencies"], project["dependency-groups"]["dev"]]
print("\n".join(requirement for group in groups for requirement in group))
PYTHON

{
  echo "# Written by \`make lock\` from pyproject.toml; do not edit. Installed with pip's --require-hashes."
  sed 's/ -r -$/ pyproject.toml/' "$locked"
} >requirements.lock
