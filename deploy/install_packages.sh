#!/usr/bin/env bash
# Installs what is missing of the Debian 12 packages that a build needs; with `tests`, those of the
# tests and checks as well; with `bench`, those of the tests and of what benchmarks compare with. Does
# nothing, and asks for no rights, where all are there.
set -euo pipefail

packages=(
  build-essential ca-certificates cmake ninja-build mold pkg-config
  libabsl-dev libcli11-dev libcivetweb-dev libgrpc++-dev libprotobuf-dev librocksdb-dev libssl-dev
  libyaml-cpp-dev nlohmann-json3-dev prometheus-cpp-dev
  protobuf-compiler protobuf-compiler-grpc
)
if [[ "${1:-}" == tests || "${1:-}" == bench ]]; then
  packages+=(
    ccache clang-14 clang-format-14 libbenchmark-dev libgmock-dev libgtest-dev
    bsdextrautils bubblewrap chromium curl git openssl procps prometheus
    python3 python3-venv python3-yaml zsh
  )
  # Node may have come from elsewhere than from Debian.
  command -v npm >/dev/null || packages+=(nodejs npm)
fi
if [[ "${1:-}" == bench ]]; then
  packages+=(libhiredis-dev redis-server)
fi

missing=()
for package in "${packages[@]}"; do
  if [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]]; then
    missing+=("$package")
  fi
done
if (( ${#missing[@]} == 0 )); then
  exit 0
fi

as_root=()
if (( EUID != 0 )); then
  as_root=(sudo)
fi
echo "Installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
