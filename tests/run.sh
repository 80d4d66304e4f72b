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
kustomize_version=v5.8.1

deploy/install_packages.sh tests

# Some tests talk to the daemon through grpcurl, as a stranger would, and render the manifests of
# Kubernetes.
tools="$PWD/.build/tools"
# install_tool NAME MODULE@VERSION: builds a Go program, if it is not there.
install_tool() {
  [[ -x "$tools/$1" ]] && return
  if command -v go >/dev/null; then
    echo "Building $1 ${2#*@}"
    GOBIN="$tools" go install "$2"
  else
    echo "There is no Go on this machine to build $1 with: the tests that use it are skipped."
  fi
}
install_tool grpcurl "github.com/fullstorydev/grpcurl/cmd/grpcurl@$grpcurl_version"
install_tool kustomize "sigs.k8s.io/kustomize/kustomize/v5@$kustomize_version"

preset="${1:-dev}"
shift || true
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset"
ctest --preset "$preset" --parallel "$(nproc)" "$@"
