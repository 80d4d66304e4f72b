#!/usr/bin/env bash
# The board in headless Chromium: installs what the test needs of Node's packages, and runs it.
#
#   run.sh BREAKERD BREAKERCTL FOLDER_FOR_PICTURES
#
# Exits with 77 where there is no browser or no npm.
set -euo pipefail
cd "$(dirname "$0")"

export BREAKERD_PATH="$1" BREAKERCTL_PATH="$2" BOARD_ARTIFACTS="$3"
for program in "$BREAKERD_PATH" "$BREAKERCTL_PATH"; do
  [[ -x "$program" ]] || { echo "There is no $program: build it first." >&2; exit 1; }
done
if ! command -v npm >/dev/null || ! command -v "${CHROMIUM_PATH:-chromium}" >/dev/null; then
  echo 'There is no npm or no chromium on this machine: the board is not tested.'
  exit 77
fi
if ! diff -q package-lock.json node_modules/.installed >/dev/null 2>&1; then
  npm ci --silent --no-audit --no-fund
  cp package-lock.json node_modules/.installed
fi
exec node --test board_test.mjs
