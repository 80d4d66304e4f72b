// What a scrape of /metrics costs with many breakers: how long it takes, and what Acquire does
// beside it, at one scrape a second, against Acquire without.
//
//   scrape_bench [--breakers=10000] [--slices=10] [--slice=1s] [--channels=4] [--depth=16]

#include <civetweb.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "breaker/v1/breaker.grpc.pb.h"
#include "tests/bench/die.h"
#include "tests/bench/options.h"
#include "tests/bench/row.h"
#include "tests/bench/rpc_load.h"
#include "tests/bench/server_process.h"
#include "tests/bench/turns.h"
#include "tests/support/channel.h"
#include "tests/support/temp_dir.h"

namespace breaker::bench {
namespace {

std::string OperationOf(size_t n) { return absl::StrCat("operation-", n); }

// Makes the breakers, each with a success and a failure.
void Fill(const std::string& target, int breakers) {
  v1::CircuitBreaker::Stub stub(NewChannel(target));
  constexpr int kBreakersABatch = 1000;
  for (int first = 0; first < breakers; first += kBreakersABatch) {
    v1::ReportBatchRequest request;
    request.set_worker_id("worker-1");
    request.set_session_id(1);
    request.set_sequence(static_cast<uint64_t>(first / kBreakersABatch + 1));
    for (int n = first; n < std::min(breakers, first + kBreakersABatch); ++n) {
      for (const v1::Outcome outcome : {v1::SUCCESS, v1::FAILURE}) {
        v1::OutcomeRun* const run = request.add_outcomes();
        run->set_service("service");
        run->set_operation(OperationOf(static_cast<size_t>(n)));
        run->set_generation(1);
        run->set_outcome(outcome);
        run->set_count(1);
      }
    }
    grpc::ClientContext context;
    v1::ReportBatchResponse response;
    MustBeOk(stub.ReportBatch(&context, request, &response), "ReportBatch");
  }
}

// Its length in bytes.
size_t Scrape(const std::string& target) {
  const size_t colon = target.rfind(':');
  char error[256];
  mg_connection* const connection =
      mg_download(target.substr(0, colon).c_str(), std::stoi(target.substr(colon + 1)), 0, error,
                  sizeof error, "GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n", target.c_str());
  if (connection == nullptr) Die(error);
  std::vector<char> buffer(1 << 20);
  size_t bytes = 0;
  int read;
  while ((read = mg_read(connection, buffer.data(), buffer.size())) > 0) {
    bytes += static_cast<size_t>(read);
  }
  mg_close_connection(connection);
  return bytes;
}

// Scrapes once a second until the end of the object.
class Scraper {
 public:
  explicit Scraper(const std::string& target) : thread_([this, target] { Run(target); }) {}
  ~Scraper() {
    {
      const std::lock_guard<std::mutex> lock(mu_);
      stop_ = true;
    }
    stopped_.notify_one();
    thread_.join();
  }

 private:
  void Run(const std::string& target) {
    std::unique_lock<std::mutex> lock(mu_);
    while (!stop_) {
      lock.unlock();
      Scrape(target);
      lock.lock();
      stopped_.wait_for(lock, std::chrono::seconds(1), [this] { return stop_; });
    }
  }

  std::mutex mu_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

int Main(int argc, char** argv) {
  int breakers = 10'000;
  Slices slices;
  LoadOptions load_options;
  CLI::App app("What a scrape of /metrics costs.");
  app.add_option("--breakers", breakers)->check(CLI::PositiveNumber);
  AddSlices(app, slices);
  AddLoad(app, load_options);
  CLI11_PARSE(app, argc, argv);

  const TempDir dir;
  const ServerProcess server([&] { return ServeDaemonAndHttp(dir.path()); });
  Fill(server.target(0), breakers);

  std::vector<double> millis;
  size_t bytes = 0;
  for (int i = 0; i < slices.count; ++i) {
    const absl::Time start = absl::Now();
    bytes = Scrape(server.target(1));
    millis.push_back(absl::ToDoubleMilliseconds(absl::Now() - start));
  }
  Emit({.figure = absl::StrCat("scrape of ", breakers, " breakers"),
        .measured = Median(millis),
        .unit = "ms",
        .target = "< 250 ms",
        .distribution = {{"max", Quantile(millis, 1)}, {"bytes", static_cast<double>(bytes)}}});

  Load<v1::CircuitBreaker::Stub> load(server.target(0), load_options);
  const auto acquire = [&](v1::CircuitBreaker::Stub& stub, const Turn& turn,
                           std::function<void()> done) {
    auto* call = new Call<v1::AcquireRequest, v1::AcquireResponse>;
    call->request.set_service("service");
    call->request.set_operation(OperationOf(turn.n % static_cast<size_t>(breakers)));
    call->request.set_worker_id("worker-1");
    stub.async()->Acquire(&call->context, &call->request, &call->response,
                          [call, done](const grpc::Status& status) {
                            MustBeOk(status, "Acquire");
                            delete call;
                            done();
                          });
  };
  const auto rates = InTurns(slices.count, {[&] {
                                              const Scraper scraper(server.target(1));
                                              return load.Run(slices.length, acquire);
                                            },
                                            [&] { return load.Run(slices.length, acquire); }});
  Emit({.figure = absl::StrCat("rpc Acquire, ", breakers, " breakers scraped once a second"),
        .measured = Median(rates[0]),
        .unit = "calls/s",
        .against = "without scrapes",
        .against_value = Median(rates[1]),
        .ratio = RatioOf(rates[0], rates[1]),
        .target = ">= 0.9"});
  return 0;
}

}  // namespace
}  // namespace breaker::bench

int main(int argc, char** argv) { return breaker::bench::Main(argc, argv); }
