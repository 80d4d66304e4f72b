#!/usr/bin/env bash
# The WebSocket application end to end: builds the Node client and the application, installs what
# they need of npm's packages, and runs the tests.
#
#   run.sh BREAKERD BREAKERCTL
#
# With LOG_FOLDER set, what all processes have logged is left there. Exits with 77 where there is no
# npm.
set -euo pipefail
cd "$(dirname "$0")"

export BREAKERD_PATH="$(realpath "$1")" BREAKERCTL_PATH="$(realpath "$2")"
if ! command -v npm >/dev/null; then
  echo 'There is no npm on this machine: the WebSocket application is not tested.'
  exit 77
fi

# What package-lock.json names, in the folder; anew only when it names something else.
install() {
  if ! diff -q "$1/package-lock.json" "$1/node_modules/.installed" >/dev/null 2>&1; then
    (cd "$1" && npm ci --silent --no-audit --no-fund)
    cp "$1/package-lock.json" "$1/node_modules/.installed"
  fi
}

client=../../../client/node
install "$client"
built="$client/dist/esm/index.js"
if [[ ! -e $built || -n $(find "$client"/src "$client"/*.json "$client"/build.mjs ../../../proto \
    -path "$client/src/generated" -prune -o -type f -newer "$built" -print -quit) ]]; then
  (cd "$client" && npm run --silent build)
fi
install .
rm -rf dist
node_modules/.bin/tsc -p .
exec node --enable-source-maps --test --test-timeout=180000 dist/test/app_test.js
