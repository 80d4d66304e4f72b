#!/usr/bin/env bash
# The Node client: installs what it needs of npm's packages, builds it, and runs all its tests.
#
#   run_tests.sh BREAKERD BREAKERCTL [TEST_FILE...]
#
# Exits with 77 where there is no npm.
set -euo pipefail
BREAKERD_PATH="$(realpath "$1")"
BREAKERCTL_PATH="$(realpath "$2")"
export BREAKERD_PATH BREAKERCTL_PATH
shift 2
cd "$(dirname "$0")"

if ! command -v npm >/dev/null; then
  echo 'There is no npm on this machine: the Node client is not tested.'
  exit 77
fi
if ! diff -q package-lock.json node_modules/.installed >/dev/null 2>&1; then
  npm ci --silent --no-audit --no-fund
  cp package-lock.json node_modules/.installed
fi
node build.mjs
if [ $# -eq 0 ]; then set -- test/unit/*_test.mjs test/integration/*_test.mjs; fi
# One file at a time: several of them watch clocks.
exec node --expose-gc --test --test-concurrency=1 "$@"
