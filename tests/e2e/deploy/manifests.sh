#!/usr/bin/env bash
# The manifests of deploy/: installs what their test needs of Python's packages, and runs it.
#
#   manifests.sh BREAKERD
#
# Exits with 77 where there is no python3 that can make an environment.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
environment="$here/../../../.build/tools/python"

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  echo 'There is no python3 with venv on this machine: the manifests are not tested.'
  exit 77
fi
if ! diff -q "$here/requirements.txt" "$environment/.installed" >/dev/null 2>&1; then
  python3 -m venv --clear "$environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$environment/.installed"
fi
exec "$environment/bin/python" "$here/manifests_test.py" "$1"
