#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test.
#
#   tests/run.sh             the tests
#   tests/run.sh asan        the same under AddressSanitizer and UndefinedBehaviorSanitizer
#   tests/run.sh tsan        the same under ThreadSanitizer
#
# Further arguments go to ctest: tests/run.sh dev -L unit
set -euo pipefail
cd "$(dirname "$0")/.."

grpcurl_version=v1.9.1

deploy/install_packages.sh tests

# Some tests talk to the daemon through grpcurl, as a stranger would.
tools="$PWD/.build/tools"
if [[ ! -x "$tools/grpcurl" ]]; then
  if command -v go >/dev/null; then
    echo "Building grpcurl $grpcurl_version"
    GOBIN="$tools" go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$grpcurl_version"
  else
    echo "There is no Go on this machine to build grpcurl with: the tests that use it are skipped."
  fi
fi

preset="${1:-dev}"
shift || true
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset"
ctest --preset "$preset" --parallel "$(nproc)" "$@"
