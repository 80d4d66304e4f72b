#!/usr/bin/env bash
# Installs what is missing, builds the release preset and prints every figure in one table; the same
# goes to .build/figures.json. Compare within a run, not between runs: machines differ, and so do
# their other loads. A ratio is the median over slices, in each of which both sides took their turn.
#
#   tests/bench/run.sh                    all groups
#   tests/bench/run.sh engine watch       some of them
#   tests/bench/run.sh --quick [GROUP]    in seconds each, to see that they work
#
# Groups:
#   engine     what a call costs the engine, and how much memory a breaker takes
#   rpc        Acquire and Report against a no-op rpc
#   start      a start with 1,000,000 stored breakers
#   batch      ReportBatch against a no-op rpc
#   cached     what a guarded call costs a worker whose client decides by itself
#   guarded    guarded calls of one worker: that client, one that asks, a breaker in Redis
#   watch      from a trip until the last of many watchers knows, against a no-op push
#   watchers   what 2,000 watchers cost the daemon; takes ten minutes, to see that nothing grows
#   overshoot  calls that cached workers let through after a trip
#   policy     from SetPolicy, or a swapped ConfigMap, until a busy fleet of workers has it
#   scrape     what a scrape of /metrics takes, and what it does to Acquire
set -euo pipefail
cd "$(dirname "$0")/../.."

all_groups=(engine rpc start batch cached guarded watch watchers overshoot policy scrape)
groups=()
quick=
for argument in "$@"; do
  if [[ "$argument" == --quick ]]; then
    quick=yes
  elif [[ " ${all_groups[*]} " == *" $argument "* ]]; then
    groups+=("$argument")
  else
    echo "$0: $argument is none of --quick ${all_groups[*]}" >&2
    exit 2
  fi
done
if (( ${#groups[@]} == 0 )); then
  groups=("${all_groups[@]}")
fi

deploy/install_packages.sh bench
cmake --preset release -DBREAKER_BUILD_TESTS=ON -DBREAKER_BUILD_BENCHMARKS=ON >/dev/null
cmake --build --preset release --target "${groups[@]/%/_bench}" -- --quiet
bin=.build/release/tests/bench

# What a benchmark leaves behind when it is interrupted goes with this.
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
export TEST_TMPDIR="$scratch"

run_group() {
  local arguments=()
  if [[ "$quick" ]]; then
    case "$1" in
      engine) arguments=(--benchmark_min_time=0.05) ;;
      start) arguments=(--breakers=10000) ;;
      watch) arguments=(--trips=20 --watchers 100 500) ;;
      watchers) arguments=(--idle=2s --churn=5s) ;;
      overshoot) arguments=(--rounds=3) ;;
      policy) arguments=(--changes=5) ;;
      *) arguments=(--slices=3 --slice=300ms) ;;
    esac
  fi
  "$bin/$1_bench" "${arguments[@]}"
}

failed=()
for group in "${groups[@]}"; do
  echo "Measuring $group" >&2
  if ! run_group "$group" >>"$scratch/rows" 2>"$scratch/log"; then
    tail -n 5 "$scratch/log" >&2
    failed+=("$group")
  fi
done
python3 tests/bench/figures.py "$scratch/rows" .build/figures.json | column -t -s '|'
if (( ${#failed[@]} > 0 )); then
  echo "No figures of ${failed[*]}" >&2
  exit 1
fi
