#!/usr/bin/env bash
# The arrows of the architecture: no room includes what lies behind it. All headers of the
# distribution are in one folder, so that a link line stops nobody.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
# forbid FOLDER PATTERN WHY: no file of the folder includes what matches.
forbid() {
  local found
  if found=$(grep -rnE "^#include [<\"]($2)" "$1"); then
    printf '%s\n  %s\n' "$3:" "$found"
    status=1
  fi
}

forbid server/engine 'grpc|google/protobuf|breaker/v1|rocksdb|thread>|server/(rpc|store|http|log|daemon)' \
  'the engine knows no gRPC, protobuf, storage, threads or log'
forbid server/store 'grpc|breaker/v1|server/(rpc|http|daemon)' 'the store knows no rpc'
forbid server/rpc 'rocksdb|server/http' 'rpc knows no RocksDB'
forbid client/cpp/include 'grpc|google/protobuf|breaker/v1|server/' \
  'the public header of the client shows no gRPC or protobuf'
if grep -rlE '^#include "rocksdb/' server client | grep -v '^server/store/rocksdb_store.cc$'; then
  echo 'only server/store/rocksdb_store.cc includes RocksDB'
  status=1
fi
exit "$status"
