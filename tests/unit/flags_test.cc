#include "server/flags.h"

#include <stdlib.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace breaker::server {
namespace {

using ::testing::HasSubstr;

ParsedFlags Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "breakerd");
  return ParseFlags(static_cast<int>(arguments.size()), arguments.data());
}

// What a wrong flag makes it say on stderr.
std::string ErrorOf(const char* argument) {
  ::testing::internal::CaptureStderr();
  const ParsedFlags parsed = Parse({argument});
  EXPECT_FALSE(parsed.options.has_value()) << argument;
  EXPECT_EQ(parsed.exit_status, 2) << argument;
  return ::testing::internal::GetCapturedStderr();
}

TEST(FlagsTest, DefaultsAreThoseOfTheOptions) {
  const ParsedFlags parsed = Parse({});
  ASSERT_TRUE(parsed.options.has_value());
  EXPECT_EQ(parsed.options->listen, "127.0.0.1:50051");
  EXPECT_EQ(parsed.options->durability, Durability::kProcess);
  EXPECT_EQ(parsed.options->snapshot_interval, absl::Seconds(1));
  EXPECT_EQ(parsed.options->max_breakers, 100'000);
}

TEST(FlagsTest, EachFlagIsRead) {
  const ParsedFlags parsed =
      Parse({"--listen=0.0.0.0:1", "--data_dir=/d", "--durability=disk", "--snapshot_interval=20ms",
             "--max_breakers=7", "--max_permits=0", "--idle_ttl=0", "--drain_timeout=1m",
             "--policies=/p.yaml", "--max_connections=3", "--max_rpc_memory=99",
             "--max_watches_per_connection=0", "--max_subscriptions=5",
             "--max_new_breakers_per_minute=6"});
  ASSERT_TRUE(parsed.options.has_value());
  EXPECT_EQ(parsed.options->listen, "0.0.0.0:1");
  EXPECT_EQ(parsed.options->data_dir, "/d");
  EXPECT_EQ(parsed.options->durability, Durability::kDisk);
  EXPECT_EQ(parsed.options->snapshot_interval, absl::Milliseconds(20));
  EXPECT_EQ(parsed.options->max_breakers, 7);
  EXPECT_EQ(parsed.options->max_permits, 0);
  EXPECT_EQ(parsed.options->idle_ttl, absl::ZeroDuration());
  EXPECT_EQ(parsed.options->drain_timeout, absl::Minutes(1));
  EXPECT_EQ(parsed.options->policies, "/p.yaml");
  EXPECT_EQ(parsed.options->max_connections, 3);
  EXPECT_EQ(parsed.options->max_rpc_memory, 99);
  EXPECT_EQ(parsed.options->max_watches_per_connection, 0);
  EXPECT_EQ(parsed.options->max_subscriptions, 5);
  EXPECT_EQ(parsed.options->max_new_breakers_per_minute, 6);
}

TEST(FlagsTest, EnvironmentCountsWhereTheCommandLineIsSilent) {
  setenv("BREAKERD_MAX_BREAKERS", "11", 1);
  setenv("BREAKERD_MAX_PERMITS", "12", 1);
  const ParsedFlags parsed = Parse({"--max_permits=13"});
  unsetenv("BREAKERD_MAX_BREAKERS");
  unsetenv("BREAKERD_MAX_PERMITS");
  ASSERT_TRUE(parsed.options.has_value());
  EXPECT_EQ(parsed.options->max_breakers, 11);
  EXPECT_EQ(parsed.options->max_permits, 13);
}

TEST(FlagsTest, WrongValueIsNamedWithWhatIsAllowed) {
  EXPECT_THAT(ErrorOf("--durability=tape"),
              HasSubstr("--durability: \"tape\" is not process or disk"));
  EXPECT_THAT(ErrorOf("--max_breakers=0"),
              HasSubstr("--max_breakers: \"0\" is not a whole number in [1, 100000000]"));
  EXPECT_THAT(ErrorOf("--snapshot_interval=1"),
              HasSubstr("--snapshot_interval: \"1\" is not a length of time of at least 10ms"));
  EXPECT_THAT(ErrorOf("--drain_timeout=-1s"), HasSubstr("--drain_timeout: \"-1s\" is not"));
  EXPECT_THAT(ErrorOf("--nope"), HasSubstr("--nope"));
}

}  // namespace
}  // namespace breaker::server
