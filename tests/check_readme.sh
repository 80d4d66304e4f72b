#!/usr/bin/env bash
# README shows what is: every line of `breakerd --help`, and code that is built and run.
#
#   check_readme.sh BREAKERD
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
# in_file FILE: reports the lines of stdin that the file does not have.
in_file() {
  local line
  while IFS= read -r line; do
    if [[ -n "$line" ]] && ! grep -qxF -- "$line" "$1"; then
      echo "not in $1: $line"
      status=1
    fi
  done
}

in_file README.md < <("$1" --help)
in_file client/cpp/examples/quickstart.cc < <(sed -n '/^```cpp$/,/^```$/{/^```/!p}' README.md)
exit "$status"
