// What the board shows beside the breakers as they are now: history, charts and news.

#include "server/http/board_feed.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/eventually.h"
#include "tests/support/in_memory_store.h"
#include "tests/support/simulated_clock.h"
#include "tests/support/tally.h"

namespace breaker::server {
namespace {

using nlohmann::json;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using Points = std::vector<BoardFeed::Point>;

struct Event {
  std::string name;
  json data;
};

class BoardFeedTest : public ::testing::Test {
 protected:
  BoardFeedTest() { writer_.Start(store_.Open()); }
  ~BoardFeedTest() override {
    feed_.Stop();
    writer_.Stop();  // which tells the publisher of what it stores
  }

  void Start() { feed_.Start(&publisher_); }
  void Follow() { stream_ = streams_.Open(); }

  // Has the feed look at the clock now, and not within a second.
  void Wake() { feed_.OnChanges({BreakerChange{.key = Key("nobody", "waits for this")}}); }

  // The next event of that name; others before it are kept in passed_.
  std::optional<Event> Await(const std::string& name) {
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    passed_.clear();
    while (true) {
      while (!events_.empty()) {
        Event event = std::move(events_.front());
        events_.erase(events_.begin());
        if (event.name == name) return event;
        passed_.push_back(std::move(event));
      }
      const std::optional<std::string> bytes = stream_->Next(deadline - absl::Now());
      if (!bytes.has_value() || bytes->empty()) return std::nullopt;
      for (absl::string_view text : absl::StrSplit(*bytes, "\n\n", absl::SkipEmpty())) {
        absl::ConsumePrefix(&text, "event: ");
        const std::pair<std::string, std::string> parts =
            absl::StrSplit(text, absl::MaxSplits("\ndata: ", 1));
        events_.push_back({parts.first, json::parse(parts.second)});
      }
    }
  }
  json AwaitData(const std::string& name) {
    const std::optional<Event> event = Await(name);
    EXPECT_TRUE(event.has_value()) << "no " << name;
    return event.has_value() ? event->data : json::object();
  }
  // The rows that the feed tells as soon as someone follows.
  json FirstRows() {
    Wake();
    return AwaitData("rows");
  }
  // Those that it tells a second after the last ones.
  json NextRows() {
    clock_.Advance(absl::Seconds(1));
    Wake();
    return AwaitData("rows");
  }
  // Ends a chart's interval, and waits until it has ended.
  void EndInterval() {
    clock_.Advance(BoardFeed::kChartInterval);
    Wake();
    AwaitData("interval");
  }

  static Policy Jumpy() {
    Policy policy;
    policy.failure_threshold = 1;
    policy.minimum_request_count = 1;
    return policy;
  }
  void Create(const Key& key, const Policy& policy) {
    Changes changes;
    ASSERT_TRUE(registry_.Subscribe(key, &policy, clock_.Now(), &changes).ok());
    Publish(std::move(changes));
  }
  void Open(const Key& key) {
    Create(key, Jumpy());
    Report(key, Outcome::kFailure);
  }
  void Report(const Key& key, Outcome outcome, int times = 1) {
    Changes changes;
    for (int i = 0; i < times; ++i) {
      ASSERT_TRUE(registry_.Report(key, {"w", 0, outcome}, clock_.Now(), &changes).ok());
    }
    Publish(std::move(changes));
  }
  void Delete(const Key& key) {
    Changes changes;
    ASSERT_TRUE(registry_.Delete(key, &changes).ok());
    Publish(std::move(changes));
  }
  void Publish(Changes changes) {
    Tally told;
    publisher_.Publish(std::move(changes), [&told] { told.Add(); });
    ASSERT_TRUE(told.Await(1));
  }

  Points Chart(const Key& key) {
    Changes changes;
    const auto stats = registry_.GetStats(key, clock_.Now(), &changes);
    return feed_.Chart(key, stats.ok() ? stats->lifetime : LifetimeCounts());
  }

  SimulatedClock clock_;
  InMemoryStore store_;
  Registry registry_{RegistryOptions()};
  StoreWriter writer_{&store_, &registry_, &clock_, StoreWriterOptions()};
  WatchHub hub_{absl::Seconds(1), &clock_};
  EventStreams streams_;
  BoardFeed feed_{&registry_, &writer_, &streams_, &clock_};
  Publisher publisher_{&writer_, &hub_, {&feed_}};
  std::shared_ptr<EventStreams::Stream> stream_;
  std::vector<Event> events_;
  std::vector<Event> passed_;
};

// ---------------------------------------------------------------------------------------------
// History

class BoardHistoryTest : public BoardFeedTest {
 protected:
  // Puts in a breaker that had transitions at these seconds.
  void Restore(const Key& key, const std::vector<int>& seconds) {
    BreakerSnapshot snapshot;
    snapshot.key = key;
    snapshot.generation = 1 + seconds.size();
    for (const int second : seconds) {
      snapshot.transitions.push_back(
          {State::kClosed, State::kOpen, WallTime::FromUnixNanos(second * 1'000'000'000LL),
           Cause::kFailureRate, "3 of 4 calls failed", static_cast<uint64_t>(second)});
    }
    ASSERT_TRUE(registry_.Restore(snapshot, clock_.Now()).ok());
  }
  // "service/operation generation", newest first.
  std::vector<std::string> History(const std::string& search = "", size_t count = 1000) {
    std::vector<std::string> lines;
    for (const json& entry : feed_.History(search, count)) {
      lines.push_back(absl::StrCat(entry["service"].get<std::string>(), "/",
                                   entry["operation"].get<std::string>(), " ",
                                   entry["generation"].get<uint64_t>()));
    }
    return lines;
  }
};

TEST_F(BoardHistoryTest, BeginsWithWhatTheBreakersRememberNewestFirst) {
  Restore({"a", "1"}, {100, 400});
  Restore({"b", "2"}, {200, 300, 500});
  Start();
  EXPECT_THAT(History(), ElementsAre("b/2 500", "a/1 400", "b/2 300", "b/2 200", "a/1 100"));
  EXPECT_EQ(feed_.History("", 1),
            json::parse(R"([{"service": "b", "operation": "2", "from": "CLOSED", "to": "OPEN",
                             "time": 500000, "cause": "FAILURE_RATE",
                             "reason": "3 of 4 calls failed", "generation": 500}])"));
}

TEST_F(BoardHistoryTest, GoesOnWithWhatHappens) {
  Restore({"a", "1"}, {100});
  Start();
  Follow();
  Open({"b", "2"});
  AwaitData("transition");
  EXPECT_THAT(History(), ElementsAre("b/2 2", "a/1 100"));
  EXPECT_THAT(History("", 1), ElementsAre("b/2 2"));
  EXPECT_THAT(History("A/"), ElementsAre("a/1 100"));
  EXPECT_THAT(History("c"), IsEmpty());
  EXPECT_EQ(feed_.History("", 0), json::array());
}

TEST_F(BoardHistoryTest, HoldsTheLastThousandOnly) {
  for (int i = 0; i < 100; ++i) {
    std::vector<int> seconds;
    for (int t = 0; t < 15; ++t) seconds.push_back(1 + 100 * t + i);
    Restore({"s", absl::StrCat(i)}, seconds);
  }
  Start();
  const std::vector<std::string> seeded = History("", 10'000);
  ASSERT_THAT(seeded, SizeIs(BoardFeed::kMaxHistory));
  EXPECT_EQ(seeded.front(), "s/99 1500");
  EXPECT_EQ(seeded.back(), "s/0 501");

  Follow();
  Open({"new", "o"});
  AwaitData("transition");
  const std::vector<std::string> after = History("", 10'000);
  ASSERT_THAT(after, SizeIs(BoardFeed::kMaxHistory));
  EXPECT_EQ(after.front(), "new/o 2");
  EXPECT_EQ(after.back(), "s/1 502");
}

// Looking at the breakers at the start is what has this one go on to HALF_OPEN.
TEST_F(BoardHistoryTest, WhatHappensWhileItBeginsIsThereOnce) {
  Open({"s", "o"});
  clock_.Advance(absl::Seconds(30));
  Start();
  Follow();
  Open({"s", "later"});
  while (AwaitData("transition").value("operation", "later") != "later") {
  }
  EXPECT_THAT(History(), ElementsAre("s/later 2", "s/o 3", "s/o 2"));
}

TEST_F(BoardHistoryTest, OfADeletedBreakerStays) {
  Restore({"a", "1"}, {100});
  Start();
  Follow();
  Delete({"a", "1"});
  AwaitData("removed");
  EXPECT_THAT(History(), ElementsAre("a/1 100"));
}

// ---------------------------------------------------------------------------------------------
// Charts

using BoardChartTest = BoardFeedTest;

TEST_F(BoardChartTest, OfABreakerWithoutCallsIsEmpty) {
  Start();
  Follow();
  Create({"s", "o"}, Policy());
  EXPECT_THAT(Chart({"s", "o"}), IsEmpty());
  EndInterval();
  EXPECT_THAT(Chart({"s", "o"}), IsEmpty());
  EXPECT_THAT(Chart({"no", "breaker"}), IsEmpty());
}

TEST_F(BoardChartTest, HasAPointAnIntervalAndLastTheOneThatRuns) {
  const Key key("s", "o");
  Start();
  Follow();
  Report(key, Outcome::kSuccess, 3);
  Report(key, Outcome::kIgnored);  // no call
  EndInterval();
  Report(key, Outcome::kFailure, 2);
  EndInterval();
  Report(key, Outcome::kSuccess);
  Report(key, Outcome::kFailure);

  Points points = Chart(key);
  ASSERT_THAT(points, SizeIs(BoardFeed::kChartPoints));
  EXPECT_EQ(points[59], BoardFeed::Point(2, 1)) << "runs still";
  EXPECT_EQ(points[58], BoardFeed::Point(2, 2));
  EXPECT_EQ(points[57], BoardFeed::Point(3, 0));
  points.resize(57);
  EXPECT_THAT(points, Each(BoardFeed::Point(0, 0)));
}

TEST_F(BoardChartTest, IntervalsWithoutCallsAreZeros) {
  const Key key("s", "o");
  Start();
  Follow();
  Report(key, Outcome::kFailure);
  for (int i = 0; i < 3; ++i) EndInterval();
  Report(key, Outcome::kSuccess);
  EndInterval();

  Points points = Chart(key);
  ASSERT_THAT(points, SizeIs(BoardFeed::kChartPoints));
  points.erase(points.begin(), points.begin() + 54);
  EXPECT_THAT(points,
              ElementsAre(Pair(0, 0), Pair(1, 1), Pair(0, 0), Pair(0, 0), Pair(1, 0), Pair(0, 0)));
}

TEST_F(BoardChartTest, NeverHasMoreThanSixtyPoints) {
  const Key key("s", "o");
  Start();
  Follow();
  for (int i = 1; i <= 70; ++i) {
    Report(key, Outcome::kSuccess, i);
    EndInterval();
  }
  const Points points = Chart(key);
  ASSERT_THAT(points, SizeIs(60));
  EXPECT_EQ(points[0], BoardFeed::Point(12, 0));
  EXPECT_EQ(points[58], BoardFeed::Point(70, 0));
  EXPECT_EQ(points[59], BoardFeed::Point(0, 0));
}

TEST_F(BoardChartTest, IsEmptyAgainWhenAllItsCallsAreTooLongAgo) {
  const Key key("s", "o");
  Start();
  Follow();
  Report(key, Outcome::kFailure);
  for (int i = 0; i < 59; ++i) EndInterval();
  ASSERT_THAT(Chart(key), SizeIs(60));
  EXPECT_EQ(Chart(key)[0], BoardFeed::Point(1, 1));
  EndInterval();
  EXPECT_THAT(Chart(key), IsEmpty());
}

TEST_F(BoardChartTest, CallsBeforeTheStartAreInNone) {
  const Key key("s", "o");
  Report(key, Outcome::kFailure, 3);
  Start();
  Follow();
  EXPECT_THAT(Chart(key), IsEmpty());
  Report(key, Outcome::kSuccess, 2);
  ASSERT_THAT(Chart(key), SizeIs(60));
  EXPECT_EQ(Chart(key)[59], BoardFeed::Point(2, 0));
  EndInterval();
  EXPECT_EQ(Chart(key)[58], BoardFeed::Point(2, 0));
}

TEST_F(BoardChartTest, OfADeletedBreakerIsGoneAndOneMadeAgainCountsFromZero) {
  const Key key("s", "o");
  Start();
  Follow();
  Report(key, Outcome::kFailure, 3);
  EndInterval();
  ASSERT_THAT(Chart(key), SizeIs(60));

  Delete(key);
  EXPECT_TRUE(Eventually([&] { return Chart(key).empty(); }));

  // More calls than the first one ever had, so that its count would be taken off.
  Report(key, Outcome::kSuccess, 4);
  EndInterval();
  Points points = Chart(key);
  ASSERT_THAT(points, SizeIs(60));
  EXPECT_EQ(points[58], BoardFeed::Point(4, 0));
  EXPECT_EQ(points[57], BoardFeed::Point(0, 0));
}

// ---------------------------------------------------------------------------------------------
// News

using BoardNewsTest = BoardFeedTest;

TEST_F(BoardNewsTest, ATransitionIsToldAtOnceWithTheBreakerRightAfter) {
  Start();
  Follow();
  Open({"s", "o"});  // and no time passes

  const json event = AwaitData("transition");

  EXPECT_EQ(event.value("service", ""), "s");
  EXPECT_EQ(event.value("operation", ""), "o");
  EXPECT_EQ(event.value("from", ""), "CLOSED");
  EXPECT_EQ(event.value("to", ""), "OPEN");
  EXPECT_EQ(event.value("cause", ""), "CONSECUTIVE_FAILURES");
  EXPECT_EQ(event.value("time", 0LL), 1'700'000'000'000);
  EXPECT_EQ(event.value("generation", 0), 2);
  EXPECT_THAT(event.value("reason", ""), testing::HasSubstr("1 consecutive failure"));
  const json row = event.value("row", json());
  EXPECT_EQ(row.value("state", ""), "OPEN");
  EXPECT_EQ(row.value("failures", 0), 1);
  EXPECT_EQ(row["last_transition"].value("generation", 0), 2);
  EXPECT_FALSE(row.contains("chart"));
}

TEST_F(BoardNewsTest, ATransitionOfABreakerThatIsGoneAlreadyHasNoRow) {
  Start();
  Follow();
  Changes changes;
  const Policy policy = Jumpy();
  ASSERT_TRUE(registry_.Subscribe({"s", "o"}, &policy, clock_.Now(), &changes).ok());
  ASSERT_TRUE(
      registry_.Report({"s", "o"}, {"w", 0, Outcome::kFailure}, clock_.Now(), &changes).ok());
  ASSERT_TRUE(registry_.Delete({"s", "o"}, &changes).ok());
  Publish(std::move(changes));
  EXPECT_TRUE(AwaitData("transition")["row"].is_null());
  EXPECT_EQ(AwaitData("removed"), json::parse(R"({"service": "s", "operation": "o"})"));
}

TEST_F(BoardNewsTest, RowsAreFirstAllAndThenThoseThatChanged) {
  Start();
  Report({"s", "a"}, Outcome::kSuccess);
  Report({"s", "b"}, Outcome::kFailure);
  Follow();

  const json first = FirstRows();
  EXPECT_EQ(first["time"], 1'700'000'000'000);
  EXPECT_EQ(first["total"], 2);
  EXPECT_EQ(first["counts"], json::parse(R"({"CLOSED": 2, "OPEN": 0, "HALF_OPEN": 0})"));
  EXPECT_EQ(first["store_failing"], false);
  ASSERT_EQ(first["breakers"].size(), 2u);
  EXPECT_EQ(first["breakers"][0]["operation"], "b") << "the worst first";
  EXPECT_FALSE(first["breakers"][0].contains("chart"));

  EXPECT_EQ(NextRows()["breakers"], json::array());

  Report({"s", "a"}, Outcome::kSuccess);
  const json third = NextRows();
  ASSERT_EQ(third["breakers"].size(), 1u);
  EXPECT_EQ(third["breakers"][0]["operation"], "a");
  EXPECT_EQ(third["breakers"][0]["calls"], 2);
  EXPECT_EQ(third["total"], 2);
}

TEST_F(BoardNewsTest, RowsHaveThePointOfTheIntervalThatRuns) {
  Report({"s", "o"}, Outcome::kSuccess);
  Start();
  Follow();
  FirstRows();
  Report({"s", "o"}, Outcome::kSuccess, 2);
  Report({"s", "o"}, Outcome::kFailure);
  EXPECT_EQ(NextRows()["breakers"][0]["point"], json::parse("[3, 1]"));
}

TEST_F(BoardNewsTest, RowsComeNoMoreThanOnceASecond) {
  Start();
  Follow();
  FirstRows();
  clock_.Advance(absl::Milliseconds(999));
  // When the second one is told, the feed is done with all that it does after the first.
  for (const char* operation : {"first", "second"}) {
    Open({"s", operation});
    AwaitData("transition");
    EXPECT_THAT(passed_, IsEmpty());
  }
  clock_.Advance(absl::Milliseconds(1));
  Wake();
  const json rows = AwaitData("rows");
  EXPECT_EQ(rows["time"], 1'700'000'001'000) << "there were none in between";
}

// The feed by itself wakes every second.
TEST_F(BoardNewsTest, NoTransitionWaitsForTheNextSecond) {
  Start();
  Follow();
  const absl::Time began = absl::Now();
  for (int i = 0; i < 10; ++i) {
    Open({"s", absl::StrCat(i)});
    AwaitData("transition");
  }
  EXPECT_LT(absl::Now() - began, absl::Seconds(5));
}

TEST_F(BoardNewsTest, ADeletedBreakerIsToldOnceAndAtOnce) {
  Start();
  Report({"s", "o"}, Outcome::kSuccess);
  Follow();
  FirstRows();
  Delete({"s", "o"});
  EXPECT_EQ(AwaitData("removed"), json::parse(R"({"service": "s", "operation": "o"})"));
  EXPECT_EQ(NextRows()["total"], 0);
  EXPECT_THAT(passed_, IsEmpty()) << "it is not told again";
}

TEST_F(BoardNewsTest, TheEndOfAnIntervalIsTold) {
  Start();
  Follow();
  clock_.Advance(BoardFeed::kChartInterval - absl::Milliseconds(1));
  Wake();
  AwaitData("rows");
  EXPECT_THAT(passed_, IsEmpty());
  clock_.Advance(absl::Milliseconds(1));
  Wake();
  EXPECT_EQ(AwaitData("interval"), json::parse(R"({"time": 1700000005000})"));
}

TEST_F(BoardNewsTest, WhatTimeDoesIsToldToo) {
  Start();
  Open({"s", "o"});
  Follow();
  FirstRows();
  clock_.Advance(absl::Seconds(30));
  Wake();
  // The feed may not have told of OPEN before someone followed.
  while (AwaitData("transition").value("to", "HALF_OPEN") != "HALF_OPEN") {
  }
  EXPECT_FALSE(HasFailure());
}

}  // namespace
}  // namespace breaker::server
