// An operator's hand on a whole daemon's breakers over HTTP: who may, what is refused and how, and
// that what is answered is in effect, stored and told.

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/http_client.h"
#include "tests/support/messages.h"
#include "tests/support/simulated_clock.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_daemon.h"
#include "tests/support/watcher.h"

namespace breaker::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kToken[] = "correct-horse-battery";

// What the daemon's token file holds.
class TokenFile {
 public:
  TokenFile() { std::ofstream(path()) << kToken << "\n"; }
  std::string path() const { return dir_ / "token"; }

 private:
  TempDir dir_;
};

json Body(const HttpAnswer& answer) { return json::parse(answer.body, nullptr, false); }

std::string Error(const HttpAnswer& answer) {
  const json body = Body(answer);
  return body.is_object() ? body.value("error", "") : "no JSON: " + answer.body;
}

class HttpOperateTest : public ::testing::Test {
 protected:
  server::DaemonOptions Options() const {
    server::DaemonOptions options;
    options.http_admin_token_file = token_.path();
    options.max_breakers = 2;
    return options;
  }

  HttpAnswer PostAs(const std::string& authorization, const std::string& target,
                    const std::string& body) {
    return HttpPost(daemon_.http_port(), target, body, {{"Authorization", authorization}});
  }
  HttpAnswer Post(const std::string& target, const std::string& body) {
    return PostAs(absl::StrCat("Bearer ", kToken), target, body);
  }
  // Of s/o, with further fields.
  HttpAnswer Override(const std::string& fields) {
    return Post("/api/override", R"({"service": "s", "operation": "o", )" + fields + "}");
  }
  HttpAnswer ForceOpen() { return Override(R"("mode": "FORCED_OPEN")"); }

  json Get(const std::string& target) { return Body(HttpGet(daemon_.http_port(), target)); }
  bool Allowed() {
    return daemon_.Acquire(Text<v1::AcquireRequest>("service: 's' operation: 'o' worker_id: 'w'"))
        .allowed();
  }

  const std::string kKey = R"({"service": "s", "operation": "o"})";

  TokenFile token_;
  server::SimulatedClock clock_;
  TestDaemon daemon_{&clock_, Options()};
};

// ---------------------------------------------------------------------------------------------
// Who may

TEST(HttpOperateOffTest, WithoutATokenFileNobodyMay) {
  server::SimulatedClock clock;
  TestDaemon daemon(&clock);
  for (const char* target :
       {"/api/override", "/api/clear_override", "/api/reset", "/api/authorize"}) {
    for (const char* authorization : {"Bearer ", "Bearer correct-horse-battery"}) {
      const HttpAnswer answer =
          HttpPost(daemon.http_port(), target,
                   R"({"service": "s", "operation": "o", "mode": "FORCED_OPEN"})",
                   {{"Authorization", authorization}});
      EXPECT_EQ(answer.status, 403) << target;
      EXPECT_THAT(Error(answer), HasSubstr("--http_admin_token_file"));
    }
  }
  EXPECT_EQ(Body(HttpGet(daemon.http_port(), "/api/breakers"))["total"], 0);
}

TEST_F(HttpOperateTest, WithoutTheTokenNobodyMay) {
  for (const char* authorization :
       {"", "Bearer", "Bearer ", "Bearer correct-horse-batter", "Bearer correct-horse-battery2",
        "Bearer correct-horse-batterY", "Bearer  correct-horse-battery", "correct-horse-battery",
        "Basic correct-horse-battery", "Bearer correct-horse-batterycorrect-horse-battery"}) {
    for (const char* target :
         {"/api/override", "/api/clear_override", "/api/reset", "/api/authorize"}) {
      const HttpAnswer answer = PostAs(
          authorization, target, R"({"service": "s", "operation": "o", "mode": "FORCED_OPEN"})");
      EXPECT_EQ(answer.status, 401) << authorization << " for " << target;
      EXPECT_EQ(answer.header("www-authenticate"), "Bearer");
      EXPECT_THAT(Error(answer), HasSubstr("token"));
    }
  }
  EXPECT_EQ(Get("/api/breakers")["total"], 0);
}

TEST_F(HttpOperateTest, WhoHasTheTokenMay) {
  const HttpAnswer answer = Post("/api/authorize", "{}");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(Body(answer), json::parse(R"({"ok": true})"));
  EXPECT_EQ(Get("/api/breakers")["admin"], true) << "so that the page shows its buttons";
}

TEST_F(HttpOperateTest, ReadingNeedsNoToken) {
  EXPECT_EQ(HttpGet(daemon_.http_port(), "/api/breakers").status, 200);
  EXPECT_EQ(HttpGet(daemon_.http_port(), "/metrics").status, 200);
  EXPECT_EQ(HttpGet(daemon_.http_port(), "/api/override").status, 405);
}

// ---------------------------------------------------------------------------------------------
// What they may

TEST_F(HttpOperateTest, AnOverrideIsAnsweredWithTheBreakerAndIsInEffect) {
  const HttpAnswer answer = Override(
      R"("mode": "FORCED_OPEN", "reason": "migration", "actor": "ana", "ttl_seconds": 20.5)");

  ASSERT_EQ(answer.status, 200) << answer.body;
  const json row = Body(answer);
  EXPECT_EQ(row["service"], "s");
  EXPECT_EQ(row["state"], "OPEN");
  EXPECT_EQ(row["override"], json::parse(R"({"mode": "FORCED_OPEN", "reason": "migration",
                                             "actor": "ana", "expires_at": 1700000020500})"));
  EXPECT_FALSE(Allowed());
  clock_.Advance(absl::Milliseconds(20'499));
  EXPECT_FALSE(Allowed());
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_TRUE(Allowed());
}

TEST_F(HttpOperateTest, WithoutATtlAnOverrideStaysUntilItIsCleared) {
  for (const char* ttl : {"", R"(, "ttl_seconds": 0)", R"(, "ttl_seconds": 0.0)"}) {
    const HttpAnswer answer = Override(absl::StrCat(R"("mode": "FORCED_CLOSED")", ttl));
    ASSERT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(Body(answer)["override"]["expires_at"], nullptr);
  }
  clock_.Advance(absl::Hours(24 * 400));
  EXPECT_EQ(Get("/api/breaker?service=s&operation=o")["override"]["mode"], "FORCED_CLOSED");

  const HttpAnswer cleared = Post("/api/clear_override", kKey);
  EXPECT_EQ(cleared.status, 200);
  EXPECT_EQ(Body(cleared)["override"], nullptr);
}

TEST_F(HttpOperateTest, ResetClosesAndForgetsTheWindow) {
  daemon_.Acquire(Text<v1::AcquireRequest>(
      "service: 's' operation: 'o' policy { failure_threshold: 1 minimum_request_count: 1 }"));
  daemon_.Report(Text<v1::ReportRequest>("service: 's' operation: 'o' outcome: FAILURE"));
  ASSERT_EQ(Get("/api/breaker?service=s&operation=o")["state"], "OPEN");

  const HttpAnswer answer = Post("/api/reset", kKey);

  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(Body(answer)["state"], "CLOSED");
  EXPECT_EQ(Body(answer)["calls"], 0);
  EXPECT_EQ(Body(answer)["last_transition"]["cause"], "RESET");
  EXPECT_TRUE(Allowed());
}

TEST_F(HttpOperateTest, ThoseWhoWatchAreToldBeforeItIsAnswered) {
  Watcher watcher(daemon_.NewChannel(), Text<v1::WatchRequest>("all: true"));
  HttpEvents events(daemon_.http_port(), "/api/events");
  ASSERT_EQ(events.head().status, 200);

  ASSERT_EQ(Override(R"("mode": "FORCED_OPEN", "actor": "ana", "reason": "migration")").status,
            200);

  EXPECT_TRUE(watcher.Await([](const auto& updates) {
    return !updates.empty() && updates.back().override().actor() == "ana" &&
           updates.back().state() == v1::OPEN;
  }));
  const auto event = events.NextNamed("transition");
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(json::parse(event->data)["row"]["override"]["actor"], "ana");
}

TEST_F(HttpOperateTest, WhoDidWhatAndWhyIsInTheHistory) {
  ASSERT_EQ(Override(R"("mode": "FORCED_OPEN", "actor": "ana", "reason": "migration")").status,
            200);
  json history;
  ASSERT_TRUE(Eventually([&] {
    history = Get("/api/history")["transitions"];
    return !history.empty();
  }));
  EXPECT_EQ(history[0]["operation"], "o");
  EXPECT_EQ(history[0]["cause"], "OVERRIDE_SET");
  EXPECT_THAT(history[0]["reason"].get<std::string>(),
              AllOf(HasSubstr("by ana"), HasSubstr("migration")));
}

// ---------------------------------------------------------------------------------------------
// What is refused

TEST_F(HttpOperateTest, WhatIsNoJsonObjectIsRefused) {
  for (const char* body : {"", "{", "[]", "\"s\"", "1", "null", "service=s&operation=o",
                           "{\"service\": \"\xff\"}", "{} {}", "{'service': 's'}"}) {
    for (const char* target :
         {"/api/override", "/api/clear_override", "/api/reset", "/api/authorize"}) {
      const HttpAnswer answer = Post(target, body);
      EXPECT_EQ(answer.status, 400) << body << " for " << target;
      EXPECT_EQ(Error(answer), "the body is no JSON object");
    }
  }
}

TEST_F(HttpOperateTest, AWrongFieldIsNamed) {
  const auto expect_refused = [&](const std::string& fields, const std::string& sentence) {
    const HttpAnswer answer = Override(fields);
    EXPECT_EQ(answer.status, 400) << fields;
    EXPECT_EQ(Error(answer), sentence);
  };
  const std::string mode = R"("mode": "FORCED_OPEN")";
  expect_refused(R"("reason": "")", R"(mode: "" is not FORCED_OPEN or FORCED_CLOSED)");
  for (const char* wrong : {"OPEN", "forced_open", "MODE_UNSPECIFIED", "1"}) {
    expect_refused(absl::StrCat(R"("mode": ")", wrong, R"(")"),
                   absl::StrCat("mode: \"", wrong, "\" is not FORCED_OPEN or FORCED_CLOSED"));
  }
  expect_refused(R"("mode": 1)", "mode: a JSON number is not a string");
  expect_refused(R"("mode": ["FORCED_OPEN"])", "mode: a JSON array is not a string");
  expect_refused(mode + R"(, "reason": {"why": "so"})", "reason: a JSON object is not a string");
  expect_refused(mode + R"(, "actor": null)", "actor: a JSON null is not a string");
  expect_refused(mode + R"(, "reason": ")" + std::string(257, 'x') + "\"",
                 "reason: a length of 257 bytes is not in [0, 256]");
  expect_refused(mode + R"(, "actor": ")" + std::string(257, 'x') + "\"",
                 "actor: a length of 257 bytes is not in [0, 256]");
  expect_refused(mode + R"(, "reason": "two\nlines")",
                 R"(reason: "two\nlines" is not free of control characters)");
  expect_refused(mode + R"(, "ttl_seconds": "20")", "ttl_seconds: a JSON string is not a number");
  for (const char* wrong : {"-1", "-0.5", "31536001", "1e+300"}) {
    const HttpAnswer answer = Override(absl::StrCat(mode, R"(, "ttl_seconds": )", wrong));
    EXPECT_EQ(answer.status, 400) << wrong;
    EXPECT_THAT(Error(answer), AllOf(HasSubstr("ttl_seconds: "), HasSubstr("in [0, 31536000]")));
  }
  EXPECT_EQ(Get("/api/breakers")["total"], 0) << "and no breaker is made";
}

TEST_F(HttpOperateTest, AWrongNameIsNamedAsWell) {
  for (const char* target : {"/api/override", "/api/clear_override", "/api/reset"}) {
    const auto expect_refused = [&](const std::string& key, const std::string& sentence) {
      const HttpAnswer answer = Post(target, "{\"mode\": \"FORCED_OPEN\", " + key + "}");
      EXPECT_EQ(answer.status, 400) << target << " " << key;
      EXPECT_EQ(Error(answer), sentence);
    };
    expect_refused(R"("operation": "o")", "service: a length of 0 bytes is not in [1, 128]");
    expect_refused(R"("service": "s")", "operation: a length of 0 bytes is not in [1, 128]");
    expect_refused(R"("service": 5, "operation": "o")", "service: a JSON number is not a string");
    expect_refused(R"("service": "s", "operation": true)",
                   "operation: a JSON boolean is not a string");
    expect_refused(R"("service": "s", "operation": "a\u0000z")",
                   R"(operation: "a\x00z" is not free of control characters)");
  }
}

TEST_F(HttpOperateTest, ManyBreakersAtATimeCannotBeForced) {
  const HttpAnswer answer =
      Post("/api/override", R"({"service": "s", "operation": "*", "mode": "FORCED_OPEN"})");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(Error(answer), "operation: \"*\" is not the name of one breaker");
  EXPECT_EQ(Get("/api/breakers")["total"], 0);
}

TEST_F(HttpOperateTest, ABreakerThatIsNotThereIsNotFound) {
  for (const char* target : {"/api/clear_override", "/api/reset"}) {
    const HttpAnswer answer = Post(target, kKey);
    EXPECT_EQ(answer.status, 404) << target;
    EXPECT_EQ(Error(answer), "no breaker s/o");
  }
  ASSERT_TRUE(Allowed());
  const HttpAnswer answer = Post("/api/clear_override", kKey);
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(Error(answer), "breaker s/o has no override");
}

TEST_F(HttpOperateTest, PastTheBoundOfBreakersNoneIsMade) {
  daemon_.Acquire(Text<v1::AcquireRequest>("service: 's' operation: '1'"));
  EXPECT_EQ(Post("/api/override",
                 R"({"service": "s", "operation": "2", "mode": "FORCED_OPEN", "ttl_seconds": 60})")
                .status,
            200)
      << "the second, which its source would have to leave to others";
  const HttpAnswer answer = ForceOpen();
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(Error(answer), HasSubstr("--max_breakers"));
}

// ---------------------------------------------------------------------------------------------
// What is answered is stored

TEST(HttpOperateKillTest, AnOverrideOutlivesKillRightAfterItsAnswer) {
  const TokenFile token;
  // Nothing is stored but what a call has stored.
  DaemonProcess daemon({"--snapshot_interval=1h", "--http_admin_token_file=" + token.path()});
  const auto port = [&] {
    int number = 0;
    EXPECT_TRUE(absl::SimpleAtoi(daemon.http().substr(daemon.http().rfind(':') + 1), &number));
    return number;
  };
  const HttpAnswer answer =
      HttpPost(port(), "/api/override",
               R"({"service": "s", "operation": "o", "mode": "FORCED_CLOSED", "actor": "ana"})",
               {{"Authorization", absl::StrCat("Bearer ", kToken)}});
  daemon.Kill();
  ASSERT_EQ(answer.status, 200) << answer.body;

  daemon.Restart();

  const json breaker = Body(HttpGet(port(), "/api/breaker?service=s&operation=o"));
  EXPECT_EQ(breaker["override"]["actor"], "ana");
  EXPECT_EQ(breaker["override"]["mode"], "FORCED_CLOSED");
}

}  // namespace
}  // namespace breaker::testing
