// The server by itself: what it makes of requests, and what it answers whatever a handler says.

#include "server/http/http_server.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/http_client.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tally.h"

namespace breaker::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr size_t kMaxBody = 64 << 10;

HttpResponse Say(const std::string& body) {
  HttpResponse response;
  response.content_type = "text/plain";
  response.body = body;
  return response;
}

// Of an error: the sentence that says what is wrong.
std::string Sentence(const HttpAnswer& answer) {
  const nlohmann::json body = nlohmann::json::parse(answer.body, nullptr, false);
  return body.is_object() ? body.value("error", "") : "no error: " + answer.body;
}

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() {
    HttpRoutes routes;
    routes.Get("/hello", [](const HttpRequest&) { return Say("hello"); });
    routes.Get("/q", [](const HttpRequest& request) { return Say(request.Parameter("q")); });
    routes.Post("/body", [](const HttpRequest& request) { return Say(request.body); });
    routes.Post("/who", [](const HttpRequest& request) { return Say(request.authorization); });
    routes.Get("/fails", [](const HttpRequest&) { return HttpError(503, "not \"now\""); });
    routes.Get("/unknown", [](const HttpRequest&) { return HttpError(401, "who?"); });
    routes.Get("/together", [this](const HttpRequest&) {
      together_.Add();
      return Say(together_.Await(kTogether) ? "together" : "alone");
    });
    routes.Get("/endless", [this](const HttpRequest&) {
      HttpResponse response = Say("not this");
      response.stream = [this](HttpStream& out) {
        while (out.Write("again\n")) {
        }
        ended_.Add();
      };
      return response;
    });
    routes.Get("/two_lines", [](const HttpRequest&) {
      HttpResponse response;
      response.stream = [](HttpStream& out) {
        // A client may not stay to the end; an empty text is no end.
        (void)(out.Write("one\n") && out.Write("") && out.Write("two\n"));
      };
      return response;
    });
    auto server = HttpServer::Start("127.0.0.1:0", std::move(routes));
    EXPECT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  int port() const { return server_->port(); }
  HttpAnswer Get(const std::string& target) { return HttpGet(port(), target); }

  static constexpr int kTogether = 70;
  Tally together_;
  Tally ended_;
  std::unique_ptr<HttpServer> server_;
};

// ---------------------------------------------------------------------------------------------
// What is asked

TEST_F(HttpServerTest, ParametersAreDecoded) {
  EXPECT_EQ(Get("/q?q=plain").body, "plain");
  EXPECT_EQ(Get("/q?q=a%2Fb%3D%26c").body, "a/b=&c");
  EXPECT_EQ(Get("/q?q=a+b%20c%2B").body, "a b c+");
  EXPECT_EQ(Get("/q?q=pr%C3%BCfen").body, "prüfen");
  EXPECT_EQ(Get("/q?other=1&q=here&qq=2").body, "here");
}

TEST_F(HttpServerTest, AParameterThatIsNotThereIsEmpty) {
  for (const char* target : {"/q", "/q?", "/q?q", "/q?q=", "/q?qq=1", "/q?other=q"}) {
    const HttpAnswer answer = Get(target);
    EXPECT_EQ(answer.status, 200) << target;
    EXPECT_EQ(answer.body, "") << target;
  }
}

TEST_F(HttpServerTest, BodyAndAuthorizationComeToTheHandler) {
  EXPECT_EQ(HttpPost(port(), "/body", R"({"a": "ü"})").body, R"({"a": "ü"})");
  EXPECT_EQ(HttpPost(port(), "/body", "").body, "");
  EXPECT_EQ(HttpPost(port(), "/who", "{}", {{"Authorization", "Bearer x y"}}).body, "Bearer x y");
  EXPECT_EQ(HttpPost(port(), "/who", "{}").body, "");
}

TEST_F(HttpServerTest, ABodyMayBe64KiBAndNoMore) {
  EXPECT_EQ(HttpPost(port(), "/body", std::string(kMaxBody, 'x')).body.size(), kMaxBody);
  for (const size_t size : {kMaxBody + 1, 20 * kMaxBody}) {
    const HttpAnswer answer = HttpPost(port(), "/body", std::string(size, 'x'));
    EXPECT_EQ(answer.status, 413);
    EXPECT_EQ(Sentence(answer), "the body is longer than 65536 bytes");
  }
}

TEST_F(HttpServerTest, ABodyInChunksIsBoundedAsWell) {
  HttpConnection connection(port());
  ASSERT_TRUE(
      connection.Send("POST /body HTTP/1.1\r\nHost: localhost\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n"));
  const std::string chunk = absl::StrCat("4000\r\n", std::string(0x4000, 'x'), "\r\n");
  for (int i = 0; i < 5; ++i) connection.Send(chunk);
  connection.Send("0\r\n\r\n");
  EXPECT_EQ(connection.ReadHead().status, 413);
}

// ---------------------------------------------------------------------------------------------
// What is answered

TEST_F(HttpServerTest, WhatThereIsNotIs404) {
  const HttpAnswer answer = Get("/nothing?q=1");
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(Sentence(answer), "there is no /nothing");
  EXPECT_EQ(answer.header("content-type"), "application/json");
  for (const char* path :
       {"/", "/hello/", "/hello/more", "/HELLO", "/../etc/passwd", "/%2e%2e/x"}) {
    EXPECT_EQ(Get(path).status, 404) << path;
  }
}

TEST_F(HttpServerTest, AnotherMethodIs405) {
  const HttpAnswer answer = HttpPost(port(), "/hello", "{}");
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.header("allow"), "GET");
  EXPECT_EQ(Sentence(answer), "/hello is for GET");
  EXPECT_EQ(Sentence(Get("/body")), "/body is for POST");
  for (const char* method : {"PUT", "DELETE", "PATCH", "OPTIONS"}) {
    EXPECT_EQ(HttpConnection(port()).Ask(method, "/hello").status, 405) << method;
  }
}

TEST_F(HttpServerTest, HeadIsGetWithoutTheBody) {
  HttpConnection connection(port());
  const HttpAnswer head = connection.Ask("HEAD", "/hello");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("content-length"), "5");
  EXPECT_EQ(head.header("content-type"), "text/plain");
  EXPECT_EQ(connection.Ask("GET", "/hello").body, "hello") << "the next answer begins right after";
  EXPECT_EQ(HttpConnection(port()).Ask("HEAD", "/nothing").status, 404);
  EXPECT_EQ(HttpConnection(port()).Ask("HEAD", "/body").status, 405);
}

TEST_F(HttpServerTest, HeadOfAStreamEndsAtOnce) {
  HttpConnection connection(port());
  EXPECT_EQ(connection.Ask("HEAD", "/endless").status, 200);
  EXPECT_EQ(connection.ReadUntil("again"), std::nullopt);
  EXPECT_TRUE(connection.AwaitEnd());
  EXPECT_EQ(ended_.count(), 0);
}

TEST_F(HttpServerTest, AnErrorIsASentenceInJson) {
  const HttpAnswer answer = Get("/fails");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body, R"({"error":"not \"now\""})");
  EXPECT_EQ(HttpError(400, "no \xff UTF-8").body, "{\"error\":\"no \xef\xbf\xbd UTF-8\"}");
}

TEST_F(HttpServerTest, EveryAnswerIsSafeToShowAndIsNotKept) {
  const auto expect_safe = [](const HttpAnswer& answer) {
    EXPECT_EQ(answer.header("content-security-policy"),
              "default-src 'self'; frame-ancestors 'none'; base-uri 'none'");
    EXPECT_EQ(answer.header("x-content-type-options"), "nosniff");
    EXPECT_EQ(answer.header("referrer-policy"), "no-referrer");
    EXPECT_EQ(answer.header("cache-control"), "no-store");
    EXPECT_EQ(answer.header("access-control-allow-origin"), "");
  };
  expect_safe(Get("/hello"));
  expect_safe(Get("/nothing"));
  expect_safe(HttpPost(port(), "/body", "{}"));
  expect_safe(HttpPost(port(), "/body", std::string(kMaxBody + 1, 'x')));
  expect_safe(HttpEvents(port(), "/two_lines").head());
}

TEST_F(HttpServerTest, PagesFromElsewhereAreAllowedNothing) {
  const HttpAnswer answer = HttpConnection(port()).Ask(
      "OPTIONS", "/body",
      {{"Origin", "http://elsewhere"}, {"Access-Control-Request-Method", "POST"}});
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.header("access-control-allow-origin"), "");
  EXPECT_EQ(answer.header("access-control-allow-methods"), "");
}

TEST_F(HttpServerTest, WhoIsNotKnownIsAskedForAToken) {
  EXPECT_EQ(Get("/unknown").header("www-authenticate"), "Bearer");
  EXPECT_EQ(Get("/hello").header("www-authenticate"), "");
}

TEST_F(HttpServerTest, StrangeRequestsAreRefusedAndHarmNoOne) {
  for (const char* text :
       {"\r\n\r\n", "GET\r\n\r\n", "GET hello HTTP/1.1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "NONSENSE /hello HTTP/1.1\r\n\r\n",
        "GET /hello HTTP/9.9\r\n\r\n", "POST /body HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /body HTTP/1.1\r\nContent-Length: x\r\n\r\n"}) {
    HttpConnection connection(port());
    ASSERT_TRUE(connection.Send(text));
    EXPECT_NE(connection.ReadHead().status, 200) << text;
  }
  HttpConnection long_head(port());
  long_head.Send("GET /" + std::string(64 << 10, 'x'));
  EXPECT_NE(long_head.ReadHead().status, 200);
  EXPECT_EQ(Get("/hello").status, 200);
}

// ---------------------------------------------------------------------------------------------
// Connections

TEST_F(HttpServerTest, AConnectionServesOneRequestAfterTheOther) {
  HttpConnection connection(port());
  EXPECT_EQ(connection.Ask("GET", "/hello").body, "hello");
  EXPECT_EQ(connection.Ask("GET", "/nothing").status, 404);
  EXPECT_EQ(connection.Ask("POST", "/who", {{"Authorization", "me"}}, "not read by it").body, "me");
  EXPECT_EQ(connection.Ask("POST", "/body", {}, std::string(kMaxBody + 1, 'x')).status, 413);
  EXPECT_EQ(connection.Ask("GET", "/q?q=last").body, "last");
}

TEST_F(HttpServerTest, ManyAtOnceWaitForEachOther) {
  std::vector<std::thread> threads;
  std::atomic<int> together{0};
  for (int i = 0; i < kTogether; ++i) {
    threads.emplace_back([&] {
      if (Get("/together").body == "together") ++together;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(together, kTogether);
}

TEST_F(HttpServerTest, ManyConnectionsGetEachItsOwnAnswers) {
  constexpr int kConnections = 24;
  constexpr int kRequests = 100;
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < kConnections; ++t) {
    threads.emplace_back([&, t] {
      HttpConnection connection(port());
      for (int i = 0; i < kRequests; ++i) {
        const std::string mine = absl::StrCat(t, ".", i, std::string(10 * (i % 7), 'x'));
        const HttpAnswer answer = i % 2 == 0 ? connection.Ask("GET", "/q?q=" + mine)
                                             : connection.Ask("POST", "/body", {}, mine);
        if (answer.body == mine) ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, kConnections * kRequests);
}

// ---------------------------------------------------------------------------------------------
// Answers that last

TEST_F(HttpServerTest, AStreamLastsUntilTheClientGoesAway) {
  {
    HttpConnection connection(port());
    ASSERT_TRUE(connection.Send(HttpConnection::RequestText("GET", "/endless")));
    const HttpAnswer head = connection.ReadHead();
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.header("content-length"), "");
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(connection.ReadUntil("\n"), "again");
    EXPECT_EQ(ended_.count(), 0);
  }
  EXPECT_TRUE(ended_.Await(1));
  EXPECT_EQ(Get("/hello").status, 200);
}

TEST_F(HttpServerTest, TheEndOfAStreamIsTheEndOfItsConnection) {
  HttpConnection connection(port());
  ASSERT_TRUE(connection.Send(HttpConnection::RequestText("GET", "/two_lines") +
                              HttpConnection::RequestText("GET", "/hello")));
  EXPECT_EQ(connection.ReadHead().header("connection"), "close");
  EXPECT_EQ(connection.ReadUntil("two\n"), "one\n");
  EXPECT_EQ(connection.ReadUntil("hello"), std::nullopt) << "no one could tell it from the body";
  EXPECT_TRUE(connection.AwaitEnd());
}

// ---------------------------------------------------------------------------------------------
// Start and end

TEST_F(HttpServerTest, APortInUseIsSaidInOneSentence) {
  const std::string listen = absl::StrCat("127.0.0.1:", port());
  EXPECT_THAT(HttpServer::Start(listen, HttpRoutes()),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("cannot listen on " + listen), HasSubstr("--http_listen"))));
  EXPECT_EQ(Get("/hello").status, 200) << "the first one goes on";
}

TEST_F(HttpServerTest, AnAddressThatIsNoneIsSaidInOneSentence) {
  for (const char* listen : {"nonsense", "127.0.0.1:99999", "192.0.2.1:0", ":x"}) {
    EXPECT_THAT(HttpServer::Start(listen, HttpRoutes()),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr(listen)));
  }
}

TEST_F(HttpServerTest, ThePortIsFreeAgainAfterwards) {
  const int was = port();
  server_.reset();
  EXPECT_EQ(HttpGet(was, "/hello").status, 0);
  EXPECT_THAT(HttpServer::Start(absl::StrCat("127.0.0.1:", was), HttpRoutes()), IsOk());
}

// CivetWeb by itself looks only every two seconds whether it is to stop.
TEST(HttpServerStopTest, StopsAtOnce) {
  absl::Duration shortest = absl::InfiniteDuration();
  for (const char* listen : {"127.0.0.1:0", "0.0.0.0:0", "127.0.0.1:0", "0"}) {
    auto server = HttpServer::Start(listen, HttpRoutes());
    ASSERT_THAT(server, IsOk());
    const absl::Time began = absl::Now();
    server->reset();
    shortest = std::min(shortest, absl::Now() - began);
  }
  EXPECT_LT(shortest, absl::Seconds(1));
}

}  // namespace
}  // namespace breaker::server
