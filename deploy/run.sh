#!/usr/bin/env bash
# Installs what is missing, builds, starts the daemon in the foreground and says what to type next.
# Everything given is passed to breakerd; see its --help.
set -euo pipefail
cd "$(dirname "$0")/.."

deploy/install_packages.sh
cmake --preset release -DBREAKER_BUILD_TESTS=OFF >/dev/null
cmake --build --preset release --target breakerd breakerctl

bin=.build/release/bin
"$bin/breakerd" --data_dir="${BREAKERD_DATA_DIR:-.data}" "$@" &
daemon=$!
trap 'kill -TERM "$daemon" 2>/dev/null' INT TERM

# The daemon opens its port when it has loaded its state, or ends with a reason.
while kill -0 "$daemon" 2>/dev/null; do
  if "$bin/breakerctl" list >/dev/null 2>&1; then
    cat <<NEXT

breakerd is running; Ctrl-C stops it. In another shell, in this folder, type:

  export PATH="\$PWD/$bin:\$PATH"
  breakerctl exec demo/http -- curl -sf http://127.0.0.1:8099/
  breakerctl stats demo/http

NEXT
    break
  fi
  sleep 0.1
done

# A signal ends a wait early; the daemon then still drains.
status=0
wait "$daemon" || status=$?
while kill -0 "$daemon" 2>/dev/null; do
  status=0
  wait "$daemon" || status=$?
done
exit "$status"
