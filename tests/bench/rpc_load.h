#ifndef BREAKER_TESTS_BENCH_RPC_LOAD_H_
#define BREAKER_TESTS_BENCH_RPC_LOAD_H_

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "no_op.grpc.pb.h"
#include "tests/bench/options.h"
#include "tests/bench/server_process.h"
#include "tests/bench/turns.h"
#include "tests/support/channel.h"

namespace breaker::bench {

// Of the connections, and of the calls under way on each.
struct LoadOptions {
  int channels = 4;
  int depth = 16;
};

// --channels=COUNT --depth=COUNT
inline void AddLoad(CLI::App& app, LoadOptions& options) {
  app.add_option("--channels", options.channels)->check(CLI::PositiveNumber);
  app.add_option("--depth", options.depth)->check(CLI::PositiveNumber);
}

// A call with all that lives as long as it.
template <typename Request, typename Response>
struct Call {
  grpc::ClientContext context;
  Request request;
  Response response;
};

// Names one of the calls of a load: the n-th of all, in one of channels x depth lanes, each of
// which has one call under way.
struct Turn {
  size_t n;
  size_t lane;
};

// Calls of one kind, one after the other in each lane.
template <typename Stub>
class Load {
 public:
  // Begins a call; `done` is to be called when it has ended.
  using Begin = std::function<void(Stub&, const Turn& turn, std::function<void()> done)>;

  Load(const std::string& target, const LoadOptions& options) : depth_(options.depth) {
    for (int i = 0; i < options.channels; ++i) {
      stubs_.push_back(std::make_unique<Stub>(NewChannel(target)));
    }
  }

  // Calls a second, over `length`.
  double Run(absl::Duration length, const Begin& begin) {
    begin_ = begin;
    calls_ = 0;
    const absl::Time start = absl::Now();
    until_ = start + length;
    under_way_ = stubs_.size() * depth_;
    for (size_t lane = 0; lane < stubs_.size() * depth_; ++lane) Next(lane);
    std::unique_lock<std::mutex> lock(mu_);
    idle_.wait(lock, [this] { return under_way_ == 0; });
    return static_cast<double>(calls_) / absl::ToDoubleSeconds(absl::Now() - start);
  }

 private:
  void Next(size_t lane) {
    const Turn turn = {calls_.fetch_add(1, std::memory_order_relaxed), lane};
    begin_(*stubs_[lane / depth_], turn, [this, lane] {
      if (absl::Now() < until_) {
        Next(lane);
        return;
      }
      const std::lock_guard<std::mutex> lock(mu_);
      if (--under_way_ == 0) idle_.notify_one();
    });
  }

  const size_t depth_;
  std::vector<std::unique_ptr<Stub>> stubs_;
  Begin begin_;
  absl::Time until_;
  std::atomic<size_t> calls_{0};
  std::mutex mu_;
  std::condition_variable idle_;
  size_t under_way_ = 0;
};

// Calls a second of the same kind.
struct Comparison {
  double daemon;
  double no_op;
  Ratio ratio;
};
Comparison CompareWithNoOp(const ServerProcess& server, const Slices& slices,
                           const LoadOptions& options, const auto& begin) {
  Load<v1::CircuitBreaker::Stub> daemon(server.target(0), options);
  Load<NoOp::Stub> no_op(server.target(1), options);
  const auto rates = InTurns(slices.count, {[&] { return daemon.Run(slices.length, begin); },
                                            [&] { return no_op.Run(slices.length, begin); }});
  return {Median(rates[0]), Median(rates[1]), RatioOf(rates[0], rates[1])};
}

}  // namespace breaker::bench

#endif  // BREAKER_TESTS_BENCH_RPC_LOAD_H_
