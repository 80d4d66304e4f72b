#include "server/log.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace breaker::server {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

constexpr WallTime kTime = WallTime::FromUnixNanos(1'795'464'000'007'999'999);

std::string Format(absl::string_view value) {
  return FormatLogLine(kTime, LogLevel::kInfo, "e", {{"k", value}});
}

TEST(LogTest, LineHasTimeLevelEventAndFields) {
  EXPECT_EQ(FormatLogLine(kTime, LogLevel::kInfo, "listening",
                          {{"address", "127.0.0.1:41234"}, {"breakers", "17"}}),
            "2026-11-23T20:00:00.007Z info listening address=127.0.0.1:41234 breakers=17\n");
  EXPECT_EQ(FormatLogLine(kTime, LogLevel::kWarning, "e", {}),
            "2026-11-23T20:00:00.007Z warning e\n");
  EXPECT_EQ(FormatLogLine(kTime, LogLevel::kError, "e", {}), "2026-11-23T20:00:00.007Z error e\n");
}

TEST(LogTest, ValueIsQuotedWhereItMustBe) {
  EXPECT_THAT(Format("a/b:c-ü"), EndsWith(" k=a/b:c-ü\n"));
  EXPECT_THAT(Format(""), EndsWith(" k=\"\"\n"));
  EXPECT_THAT(Format("a b"), EndsWith(" k=\"a b\"\n"));
  EXPECT_THAT(Format("a=b"), EndsWith(" k=\"a=b\"\n"));
}

TEST(LogTest, ValueNeverBreaksTheLineOrItsQuotes) {
  EXPECT_THAT(Format("a b \"c\""), EndsWith(R"( k="a b \"c\"")"
                                            "\n"));
  EXPECT_THAT(Format("\\"), EndsWith(R"( k="\\")"
                                     "\n"));
  EXPECT_THAT(Format("a\r\n\tb"), EndsWith(R"( k="a\r\n\tb")"
                                           "\n"));
  EXPECT_THAT(Format(absl::string_view("\0\x1b\x7f", 3)), EndsWith(R"( k="\x00\x1b\x7f")"
                                                                   "\n"));
}

TEST(LogTest, GoesToStderr) {
  testing::internal::CaptureStderr();
  Log(LogLevel::kError, "store_failing", {{"reason", "disk full"}});
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("Z error store_failing reason=\"disk full\"\n"));
}

}  // namespace
}  // namespace breaker::server
