#!/usr/bin/env bash
# Prepares this checkout: .venv from requirements.lock, the project in it, Java and Maven, the Kafka jars.
#
# Called by the Makefile before every target; asks nothing; a step that is already done is recognised by a stamp,
# so a second run takes a fraction of a second. What cannot be installed is said in one sentence (exit code 1).
#
#   install.sh python     the Python environment only (enough for `make check`)
#   install.sh all        the environment and the embedded Kafka broker (default)
#
# PYTHON=/path/to/python chooses the interpreter. PARITYFLOW_BOOTSTRAP_SERVERS, or PARITYFLOW_TEST_BOOTSTRAP for the
# tests, names a broker of your own: then neither Java nor Maven is needed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly venv=.venv
readonly pom=deploy/kafka/pom.xml

say() { printf '%s\n' "setup: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

digest() {
  if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi | cut -d ' ' -f 1 | tr '\n' ' '
}

# Three tries: registries and networks have bad seconds, and nobody is there to try again.
retry() {
  local attempt
  for attempt in 1 2 3; do
    "$@" && return 0
    [ "$attempt" = 3 ] || { say "try $attempt of 3 failed, trying again: $1 ${2:-}"; sleep $((attempt * 5)); }
  done
  return 1
}

# --- the system's packages -------------------------------------------------------------------------------------------

can_install_packages() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

install_packages() {
  say "installing with apt-get: $*"
  export DEBIAN_FRONTEND=noninteractive
  retry apt-get update -qq >&2 </dev/null || true
  retry apt-get install -y -qq --no-install-recommends "$@" >&2 </dev/null
}

# --- Python ----------------------------------------------------------------------------------------------------------

runs_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# The versions with prebuilt wheels of every dependency come first, whatever newer `python3` may be.
find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.12 python3.11 python3.13 python3 python; do
    if runs_new_enough "$candidate"; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

create_environment() {
  local python
  python=$(find_python) ||
    fail "Python 3.11 or newer is needed and was not found; install it, or name it: make PYTHON=/path/to/python3.12 ..."
  say "creating $venv with $("$python" --version 2>&1)"
  rm -rf "$venv"
  if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
    # Debian and Ubuntu split the module off into a package of its own.
    local package
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    rm -rf "$venv"
    can_install_packages || fail "$python cannot create virtual environments; install the package $package"
    install_packages "$package" || fail "apt-get could not install $package; install it by hand"
    "$python" -m venv "$venv" || fail "$python still cannot create a virtual environment; see the lines above"
  fi
}

prepare_python() {
  local stamp=$venv/.installed wanted
  wanted="$(digest requirements.lock pyproject.toml)$PWD"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && runs_new_enough "$venv/bin/python"; then return 0; fi
  runs_new_enough "$venv/bin/python" || create_environment
  say "installing the Python packages of requirements.lock (the first time takes a minute or two)"
  local pip=("$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --retries 10 --timeout 60)
  retry "${pip[@]}" --require-hashes --no-deps -r requirements.lock ||
    fail "pip could not install requirements.lock; see its lines above (is a package registry reachable?)"
  # Nothing more is downloaded: the build backend is one of the locked packages.
  "${pip[@]}" --no-deps --no-build-isolation --editable . || fail "pip could not install this project; see its lines above"
  printf '%s' "$wanted" >"$stamp"
}

# --- Java, Maven, Kafka ----------------------------------------------------------------------------------------------

# Prints the major version, e.g. 17; fails where `java` is absent or only the stub that some systems ship.
java_major() {
  local banner
  banner=$("${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1) || return 1
  printf '%s\n' "$banner" | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1
}

has_java() {
  local major
  major=$(java_major) && [ -n "$major" ] && [ "$major" -ge 17 ]
}

has_maven() { mvn --version >/dev/null 2>&1; }

prepare_toolchain() {
  local packages=()
  has_java || packages+=(openjdk-17-jre-headless)
  has_maven || packages+=(maven)
  [ ${#packages[@]} -gt 0 ] || return 0
  if can_install_packages; then
    # Releases that no longer carry Java 17 have a newer one behind the default package.
    install_packages "${packages[@]}" ||
      install_packages "${packages[@]/#openjdk-17-jre-headless/default-jre-headless}" ||
      say "apt-get failed; see its lines above"
  fi
  has_java || fail "Java 17 or newer is needed for the embedded Kafka broker: install it (Debian and Ubuntu:" \
    "apt-get install openjdk-17-jre-headless), or set PARITYFLOW_BOOTSTRAP_SERVERS to a Kafka of your own"
  has_maven || fail "Maven is needed once to fetch the Kafka jars: install it (Debian and Ubuntu: apt-get install" \
    "maven), or set PARITYFLOW_BOOTSTRAP_SERVERS to a Kafka of your own"
}

# One place knows how the jars are fetched and where they are kept: pipeline/embedded_kafka/runtime.py.
fetch_jars() {
  "$venv/bin/python" - <<'PYTHON'
import sys
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.embedded_kafka.runtime import find_java, kafka_jars

try:
    find_java()
    kafka_jars(Path(".parityflow"))
except PipelineError as error:
    sys.exit(str(error))
PYTHON
}

prepare_broker() {
  if [ -n "${PARITYFLOW_BOOTSTRAP_SERVERS:-}${PARITYFLOW_TEST_BOOTSTRAP:-}" ]; then return 0; fi
  local of_this_pom
  of_this_pom=deploy/kafka/target/jars-$(digest "$pom" | cut -c 1-12)
  if [ -d "$of_this_pom" ] && has_java; then return 0; fi
  prepare_toolchain
  [ -d "$of_this_pom" ] || say "fetching the Kafka jars with Maven (43 MB, once)"
  retry fetch_jars || fail "the Kafka jars are missing; see the lines above"
}

case "${1:-all}" in
  python) prepare_python ;;
  all)
    prepare_python
    prepare_broker
    ;;
  *) fail "expected 'python' or 'all', found '$1'" ;;
esac
