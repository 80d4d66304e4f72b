// The daemon as a stranger finds it, with grpcurl and nothing but its address.

#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/daemon_process.h"
#include "tests/support/subprocess.h"

namespace breaker::testing {
namespace {

using ::testing::HasSubstr;

class GrpcurlTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(GRPCURL_PATH)) {
      GTEST_SKIP() << "there is no grpcurl: tests/run.sh builds it where there is Go";
    }
  }

  // What it prints; the call must succeed.
  std::string Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {GRPCURL_PATH, "-plaintext"});
    Subprocess grpcurl(arguments);
    EXPECT_EQ(grpcurl.Wait(), 0) << grpcurl.err();
    return grpcurl.out();
  }
  nlohmann::json Call(const std::string& method, const std::string& request) {
    return nlohmann::json::parse(Run({"-emit-defaults", "-d", request, daemon_.target(),
                                      "breaker.v1.CircuitBreaker/" + method}));
  }

  DaemonProcess daemon_;
};

TEST_F(GrpcurlTest, ListNamesTheServices) {
  const std::string services = Run({daemon_.target(), "list"});
  EXPECT_THAT(services, HasSubstr("breaker.v1.BreakerAdmin\n"));
  EXPECT_THAT(services, HasSubstr("breaker.v1.CircuitBreaker\n"));
  EXPECT_THAT(services, HasSubstr("grpc.health.v1.Health\n"));
}

TEST_F(GrpcurlTest, DescribeShowsServicesAndMessages) {
  EXPECT_THAT(Run({daemon_.target(), "describe"}), HasSubstr("rpc Acquire"));
  EXPECT_THAT(Run({daemon_.target(), "describe", "breaker.v1.Policy"}),
              HasSubstr("minimum_failing_workers = 16"));
}

TEST_F(GrpcurlTest, AcquireReportAndStatsByReflection) {
  const std::string key = R"("service": "db", "operation": "query", "worker_id": "w1")";
  const nlohmann::json acquired =
      Call("Acquire", "{" + key +
                          R"(, "policy": {"failure_threshold": 1, )"
                          R"("minimum_request_count": 1, "recovery_timeout": "20s"}})");
  EXPECT_EQ(acquired["allowed"], true);
  EXPECT_EQ(acquired["state"], "CLOSED");
  const std::string permit = acquired["permit_id"];
  const nlohmann::json reported =
      Call("Report", "{" + key + R"(, "outcome": "FAILURE", "error": "Timeout", "permit_id": ")" +
                         permit + "\"}");
  EXPECT_EQ(reported["disposition"], "COUNTED");
  EXPECT_EQ(reported["state"], "OPEN");
  const nlohmann::json stats = Call("GetStats", R"({"service": "db", "operation": "query"})");
  EXPECT_EQ(stats["state"], "OPEN");
  EXPECT_EQ(stats["policy"]["recovery_timeout"], "20s");
  EXPECT_EQ(stats["recent_transitions"][0]["reason"],
            "1 consecutive failure (threshold 1) with 1 call in 60s (minimum 1), 1 worker failing");
}

TEST_F(GrpcurlTest, HealthCheckSaysServing) {
  EXPECT_THAT(Run({daemon_.target(), "grpc.health.v1.Health/Check"}), HasSubstr("SERVING"));
}

}  // namespace
}  // namespace breaker::testing
