#!/usr/bin/env bash
# Installs what is missing, builds, starts the daemon in the foreground and says what to type next.
# Flags given are passed to breakerd (see its --help); the address is that of BREAKERD_LISTEN.
set -euo pipefail
cd "$(dirname "$0")/.."

deploy/install_packages.sh
cmake --preset release -DBREAKER_BUILD_TESTS=OFF >/dev/null
cmake --build --preset release --target breakerd breakerctl

bin=.build/release/bin
export BREAKERD_LISTEN="${BREAKERD_LISTEN:-127.0.0.1:50051}"
export BREAKERD_DATA_DIR="${BREAKERD_DATA_DIR:-.data}"
"$bin/breakerd" "$@" &
daemon=$!
trap 'kill -TERM "$daemon" 2>/dev/null' INT TERM

# The daemon opens its port when it has loaded its state, or ends with a reason.
until "$bin/breakerctl" --target "$BREAKERD_LISTEN" list >/dev/null 2>&1; do
  kill -0 "$daemon" 2>/dev/null || break
  sleep 0.1
done
if kill -0 "$daemon" 2>/dev/null; then
  cat <<NEXT

breakerd is running; Ctrl-C stops it. In another shell, in this folder, type:

  export PATH="\$PWD/$bin:\$PATH" BREAKERD_TARGET=$BREAKERD_LISTEN
  breakerctl exec demo/http -- curl -sf http://127.0.0.1:8099/
  breakerctl stats demo/http

The board shows every circuit, live: its address is in the log above (http_listening).

NEXT
fi

# A signal ends a wait early; the daemon then still drains.
status=0
wait "$daemon" || status=$?
while kill -0 "$daemon" 2>/dev/null; do
  status=0
  wait "$daemon" || status=$?
done
exit "$status"
