#include "server/emf_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/publisher.h"
#include "tests/support/eventually.h"
#include "tests/support/in_memory_store.h"
#include "tests/support/simulated_clock.h"
#include "tests/support/temp_dir.h"

namespace breaker::server {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// A log beside the parts of a daemon that it needs. The test moves the clock, at which the log
// looks once a second.
class EmfLogTest : public ::testing::Test {
 protected:
  EmfLogTest() { writer_.Start(store_.Open()); }
  // Before the publisher goes, whom its thread tells of what it has stored.
  ~EmfLogTest() override { writer_.Stop(); }

  void Start() {
    EmfLogOptions options;
    options.path = path_;
    log_ = std::make_unique<EmfLog>(options, EmfLog::Sources{&registry_, &writer_, &hub_, &clock_});
    publisher_ =
        std::make_unique<Publisher>(&writer_, &hub_, std::vector<ChangeListener*>{log_.get()});
    ASSERT_TRUE(log_->Start(publisher_.get()).ok());
    ASSERT_TRUE(Eventually([this] { return Lines("Breakers").size() == 1; }));
  }

  // Calls under a policy that opens after two failures.
  void Call(const Key& key, Outcome outcome, int times = 1) {
    Policy policy;
    policy.failure_threshold = 2;
    policy.minimum_request_count = 2;
    for (int i = 0; i < times; ++i) {
      Changes changes;
      const auto decision = registry_.Acquire(key, "w1", &policy, clock_.Now(), &changes);
      if (decision.ok() && decision->allowed) {
        CallReport report{"w1", decision->permit_id, outcome};
        EXPECT_TRUE(registry_.Report(key, report, clock_.Now(), &changes).ok());
      }
      publisher_->Publish(std::move(changes), [] {});
    }
  }

  // Until the daemon's next line, and so all of the interval's, is there.
  void PassInterval() {
    const size_t before = Lines("Breakers").size();
    clock_.Advance(absl::Minutes(1));
    ASSERT_TRUE(Eventually([&] { return Lines("Breakers").size() == before + 1; }));
  }

  // What the file holds, of the kind of lines that have this member, and of one breaker's if named.
  std::vector<json> Lines(const std::string& member, const std::string& operation = "") const {
    std::vector<json> lines;
    std::ifstream file(path_);
    for (std::string text; std::getline(file, text);) {
      if (file.eof()) break;  // the rest of the line is being written
      json line = json::parse(text);
      if (!line.contains(member)) continue;
      if (operation.empty() || line.value("Operation", "") == operation) lines.push_back(line);
    }
    return lines;
  }

  SimulatedClock clock_;
  const TempDir dir_;
  const std::string path_ = dir_ / "emf.log";
  InMemoryStore store_;
  Registry registry_{RegistryOptions()};
  StoreWriter writer_{&store_, &registry_, &clock_, StoreWriterOptions()};
  WatchHub hub_{absl::Seconds(1), &clock_};
  std::unique_ptr<EmfLog> log_;
  std::unique_ptr<Publisher> publisher_;
};

TEST_F(EmfLogTest, ALineNamesItsMetricsWithUnits) {
  Start();
  Call({"s", "o"}, Outcome::kSuccess);
  PassInterval();
  const json line = Lines("NotClosed").at(0);
  const json& directive = line["_aws"]["CloudWatchMetrics"].at(0);
  EXPECT_EQ(line["_aws"]["Timestamp"], absl::ToUnixMillis(clock_.Now().wall.time()));
  EXPECT_EQ(directive["Namespace"], "breakerd");
  EXPECT_EQ(directive["Dimensions"], json::parse(R"([["Service", "Operation"]])"));
  EXPECT_EQ(line["Service"], "s");
  EXPECT_EQ(line["Operation"], "o");
  for (const json& metric : directive["Metrics"]) {
    EXPECT_TRUE(line[metric["Name"].get<std::string>()].is_number()) << metric;
    EXPECT_TRUE(metric["Unit"] == "Count" || metric["Unit"] == "Percent") << metric;
  }
}

TEST_F(EmfLogTest, CountsWhatHasHappenedSinceTheLastLine) {
  Start();
  Call({"s", "o"}, Outcome::kSuccess, 3);
  PassInterval();
  Call({"s", "o"}, Outcome::kSuccess, 2);
  Call({"s", "o"}, Outcome::kFailure);
  PassInterval();
  const std::vector<json> lines = Lines("Successes");
  ASSERT_EQ(lines.size(), 2);
  EXPECT_EQ(lines[0]["Successes"], 3);
  EXPECT_EQ(lines[1]["Successes"], 2);
  EXPECT_EQ(lines[1]["Failures"], 1);
}

TEST_F(EmfLogTest, WhatWasCountedBeforeTheStartIsLeftOut) {
  Changes changes;
  const Key key("s", "o");
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(registry_.Report(key, {"w1", 0, Outcome::kSuccess}, clock_.Now(), &changes).ok());
  }
  Start();
  Call(key, Outcome::kSuccess);
  PassInterval();
  EXPECT_EQ(Lines("Successes").back()["Successes"], 1);
}

TEST_F(EmfLogTest, EveryBreakerHasALineAnInterval) {
  Start();
  Call({"s", "idle"}, Outcome::kSuccess);
  Call({"s", "open"}, Outcome::kFailure, 2);
  PassInterval();
  PassInterval();
  const std::vector<json> idle = Lines("NotClosed", "idle");
  ASSERT_EQ(idle.size(), 2);
  EXPECT_EQ(idle[1]["NotClosed"], 0);
  EXPECT_EQ(idle[1]["Successes"], 0);  // since the last line
  const std::vector<json> open = Lines("NotClosed", "open");
  ASSERT_EQ(open.size(), 2);
  EXPECT_EQ(open[1]["Failures"], 0);
  EXPECT_EQ(open[1]["NotClosed"], 1);
  EXPECT_THAT(open[1]["Reason"].get<std::string>(), HasSubstr("2 consecutive failures"));
  EXPECT_EQ(Lines("Breakers").back()["Breakers"], 2);
}

TEST_F(EmfLogTest, ATransitionHasALineAtOnce) {
  Start();
  Call({"s", "o"}, Outcome::kFailure, 2);
  ASSERT_TRUE(Eventually([this] { return !Lines("Transitions").empty(); }));
  const json line = Lines("Transitions").at(0);
  EXPECT_EQ(line["Transitions"], 1);
  EXPECT_EQ(line["Opened"], 1);
  EXPECT_EQ(line["From"], "CLOSED");
  EXPECT_EQ(line["To"], "OPEN");
  EXPECT_EQ(line["Cause"], "CONSECUTIVE_FAILURES");
  EXPECT_THAT(line["Reason"].get<std::string>(), HasSubstr("2 consecutive failures"));
}

TEST_F(EmfLogTest, StopWritesWhatIsLeft) {
  Start();
  Call({"s", "o"}, Outcome::kSuccess, 7);
  log_->Stop();
  ASSERT_EQ(Lines("Successes").size(), 1);
  EXPECT_EQ(Lines("Successes")[0]["Successes"], 7);
}

TEST_F(EmfLogTest, AFileThatWasMovedAwayIsMadeAnew) {
  Start();
  std::filesystem::rename(path_, dir_ / "emf.log.1");
  Call({"s", "o"}, Outcome::kSuccess);
  clock_.Advance(absl::Minutes(1));
  ASSERT_TRUE(Eventually([this] { return !Lines("Breakers").empty(); }));
  EXPECT_EQ(Lines("Successes").size(), 1);
}

TEST_F(EmfLogTest, AFileThatCannotBeWrittenCostsItsLinesOnly) {
  Start();
  std::filesystem::rename(path_, dir_ / "emf.log.1");
  std::filesystem::create_directory(path_);  // nothing can be written there
  ::testing::internal::CaptureStderr();
  Call({"s", "o"}, Outcome::kFailure, 2);
  // The transition's line cannot be written, which the log says once.
  std::string log;
  clock_.Advance(absl::Minutes(1));
  log_->Stop();
  log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("emf_log_failing"));
  EXPECT_EQ(log.find("emf_log_failing"), log.rfind("emf_log_failing"));
}

TEST_F(EmfLogTest, AFileThatCannotBeOpenedIsAnError) {
  EmfLogOptions options;
  options.path = dir_ / "missing/emf.log";
  EmfLog log(options, {&registry_, &writer_, &hub_, &clock_});
  Publisher publisher(&writer_, &hub_);
  const absl::Status status = log.Start(&publisher);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--emf_log: cannot write to"));
}

}  // namespace
}  // namespace breaker::server
