// What operators change while a fleet of workers is at full speed: it reaches all of them, and
// costs no call.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "breaker/client.h"
#include "breaker/v1/admin.grpc.pb.h"
#include "tests/support/channel.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"
#include "tests/support/watcher.h"

namespace breaker {
namespace {

namespace fs = std::filesystem;

using testing::DaemonProcess;
using ::testing::HasSubstr;
using testing::Text;
using testing::Watcher;

const Key kKey = {"s", "o"};

// Workers that make guarded calls, all of which succeed, until they are told to stop.
class Fleet {
 public:
  Fleet(const std::string& target, int workers) {
    for (int i = 0; i < workers; ++i) {
      clients_.push_back(std::make_unique<Client>(ClientOptions{
          .target = target, .worker_id = std::to_string(i), .rpc_timeout = absl::Seconds(20)}));
    }
    for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this, i] { Work(i); });
  }
  ~Fleet() { Stop(); }

  // Ends the workers, who then have reported all.
  void Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    clients_.clear();
  }

  uint64_t calls() const { return calls_; }
  uint64_t refused() const { return refused_; }
  // Whether every worker's next call is let through, or refused.
  bool AllAre(bool allowed) {
    for (const auto& client : clients_) {
      auto permit = client->Acquire(kKey);
      const bool is_allowed = permit->allowed();
      if (is_allowed) permit->Ignore();
      if (is_allowed != allowed) return false;
    }
    return true;
  }

 private:
  static constexpr int kThreads = 4;

  // Calls of every so many-th worker.
  void Work(int first) {
    while (!stop_) {
      for (size_t i = static_cast<size_t>(first); i < clients_.size(); i += kThreads) {
        auto permit = clients_[i]->Acquire(kKey);
        if (permit->allowed()) {
          permit->Success();
          ++calls_;
        } else {
          ++refused_;
        }
      }
      std::this_thread::yield();
    }
  }

  std::vector<std::unique_ptr<Client>> clients_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> calls_{0};
  std::atomic<uint64_t> refused_{0};
  std::vector<std::thread> threads_;
};

class OperateUnderLoadTest : public ::testing::Test {
 protected:
  // A directory as Kubernetes makes of a ConfigMap, in which this policy file is version 1.
  OperateUnderLoadTest() {
    WriteVersion(1);
    fs::create_symlink("..1", dir() / "..data");
    fs::create_symlink("..data/policies.yaml", dir() / "policies.yaml");
    daemon_ = std::make_unique<DaemonProcess>(
        std::vector<std::string>{"--policies=" + (dir() / "policies.yaml").string()});
    admin_ = v1::BreakerAdmin::NewStub(NewChannel(daemon_->target()));
    stub_ = v1::CircuitBreaker::NewStub(NewChannel(daemon_->target()));
  }

  fs::path dir() const { return dir_.path(); }

  // One in which s/o opens after so many failures.
  void WriteVersion(int failures) const {
    const fs::path version = dir() / (".." + std::to_string(failures));
    fs::create_directory(version);
    std::ofstream(version / "policies.yaml")
        << "policies: [{service: s, operation: o, policy: {failure_threshold: " << failures
        << "}}]\n";
  }
  void SwapTo(int failures) const {
    WriteVersion(failures);
    fs::create_symlink(".." + std::to_string(failures), dir() / "..data_tmp");
    fs::rename(dir() / "..data_tmp", dir() / "..data");
  }

  v1::CircuitStats Stats() const {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    v1::CircuitStats stats;
    const grpc::Status status =
        stub_->GetStats(&context, Text<v1::GetStatsRequest>("service: 's' operation: 'o'"), &stats);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return stats;
  }

  const TempDir dir_;
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<v1::BreakerAdmin::Stub> admin_;
  std::unique_ptr<v1::CircuitBreaker::Stub> stub_;
};

TEST_F(OperateUnderLoadTest, PoliciesReachAllAndNoCallIsRefusedOrLost) {
  Fleet fleet(daemon_->target(), 200);
  // Each on a connection of its own, as the workers are.
  std::vector<std::unique_ptr<Watcher>> watchers;
  for (int i = 0; i < 20; ++i) {
    watchers.push_back(std::make_unique<Watcher>(
        NewChannel(daemon_->target()),
        Text<v1::WatchRequest>("subscribe { service: 's' operation: 'o' }")));
  }
  const auto all_know = [&](uint32_t failures) {
    for (const auto& watcher : watchers) {
      if (!watcher->Await([&](const auto& updates) {
            return !updates.empty() && updates.back().policy().failure_threshold() == failures;
          })) {
        return false;
      }
    }
    return true;
  };
  ASSERT_TRUE(all_know(1));
  ASSERT_TRUE(Eventually([&] { return fleet.calls() > 1000; }));

  SwapTo(2);
  EXPECT_TRUE(all_know(2));
  grpc::ClientContext context;
  v1::PolicyEntry entry;
  ASSERT_TRUE(admin_
                  ->SetPolicy(&context,
                              Text<v1::SetPolicyRequest>(
                                  "service: 's' operation: 'o' policy { failure_threshold: 3 }"),
                              &entry)
                  .ok());
  EXPECT_TRUE(all_know(3));

  const uint64_t before = fleet.calls();
  ASSERT_TRUE(Eventually([&] { return fleet.calls() > before + 1000; }));
  fleet.Stop();
  EXPECT_EQ(fleet.refused(), 0);
  const v1::CircuitStats stats = Stats();
  EXPECT_EQ(stats.lifetime().successes(), fleet.calls());
  EXPECT_EQ(stats.lifetime().stale(), 0);
  EXPECT_EQ(stats.policy().failure_threshold(), 3);
}

TEST_F(OperateUnderLoadTest, ForcedOpenReachesAllOutlivesARestartAndEndsByItself) {
  Fleet fleet(daemon_->target(), 20);
  ASSERT_TRUE(Eventually([&] { return fleet.calls() > 1000; }));
  grpc::ClientContext context;
  v1::CircuitStats stats;
  ASSERT_TRUE(admin_
                  ->SetOverride(&context,
                                Text<v1::SetOverrideRequest>(
                                    "service: 's' operation: 'o' mode: FORCED_OPEN actor: 'ana' "
                                    "reason: 'migration' ttl { seconds: 2 }"),
                                &stats)
                  .ok());
  EXPECT_TRUE(Eventually([&] { return fleet.AllAre(false); }));
  daemon_->Restart();
  EXPECT_TRUE(Eventually([&] { return fleet.AllAre(true); }));
  fleet.Stop();

  stats = Stats();
  EXPECT_FALSE(stats.has_override());
  ASSERT_GE(stats.recent_transitions_size(), 2);
  EXPECT_EQ(stats.recent_transitions(0).cause(), v1::Transition::OVERRIDE_CLEARED);
  EXPECT_THAT(stats.recent_transitions(0).reason(), HasSubstr("expired"));
  EXPECT_EQ(stats.recent_transitions(1).cause(), v1::Transition::OVERRIDE_SET);
  EXPECT_THAT(stats.recent_transitions(1).reason(),
              HasSubstr("forced open by ana for 2s: migration"));
}

}  // namespace
}  // namespace breaker
