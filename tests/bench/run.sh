#!/usr/bin/env bash
# Builds the release preset and prints every figure in one table: the engine, the rpcs against a no-op
# service, and a start with 1,000,000 stored breakers. Compare within a run, not between runs:
# machines differ, and so do their other loads. Arguments go to rpc_bench.
set -euo pipefail
cd "$(dirname "$0")/../.."

deploy/install_packages.sh tests
cmake --preset release -DBREAKER_BUILD_TESTS=ON -DBREAKER_BUILD_BENCHMARKS=ON >/dev/null
cmake --build --preset release --target engine_bench rpc_bench start_bench >/dev/null
bin=.build/release/tests/bench

# Google Benchmark's figures as rows: name|figure|against|ratio|target.
engine_rows() {
  "$bin/engine_bench" --benchmark_format=json 2>/dev/null | python3 -c '
import json, sys

runs = {run["name"]: run for run in json.load(sys.stdin)["benchmarks"]}
clock = 2 * runs["ReadClock"]["real_time"]
lookup = runs["SlotThenBreaker"]["real_time"]
for name, run in runs.items():
    pair = run["real_time"]
    if name.startswith("AcquireAndReport/"):
        what, target = "1 thread, {:,} breakers".format(int(name.split("/")[1])), "< 500 ns"
    elif name.startswith("TwoThreads"):
        what, target = "2 threads, " + ("the same" if "same:1" in name else "one each"), ""
    else:
        continue
    against, unit = (lookup, "two dependent reads") if "1000000" in name else (clock, "two clock readings")
    print(f"engine Acquire + Report, {what}|{pair:.0f} ns|{against:.0f} ns {unit}"
          f"|{pair / against:.1f}|{target}")
    if "bytes/breaker" in run:
        size = run["bytes/breaker"]
        print(f"resident memory an idle breaker, at 1,000,000|{size:.0f} bytes|||<= 1024 bytes")
'
}

{
  echo 'figure|measured|against|ratio|target'
  engine_rows
  "$bin/rpc_bench" "$@" 2>/dev/null
  "$bin/start_bench" 2>/dev/null
} | column -t -s '|'
